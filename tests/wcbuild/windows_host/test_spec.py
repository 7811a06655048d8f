"""Documents for a Windows host, compared whole: nobody here can try them."""

from pathlib import Path

import pytest

from wcbuild.errors import SandboxError
from wcbuild.graph.ops import Network
from wcbuild.sandbox.base import RunSpec, SandboxMount
from wcbuild.windows_host import ctr
from wcbuild.windows_host.spec import (
    HostLayer,
    command_line,
    hcs_document,
    process_document,
    runtime_spec,
)

RUN = RunSpec(
    args=("cmd", "/S", "/C", 'mkdir "C:\\a b" && echo %X%'),
    env=("X=1", "Y=a=b"),
    cwd="/app/bin",
    user="ContainerUser",
    hostname="build",
    mounts=(
        SandboxMount(target="/ctx", source=Path("D:\\context"), read_only=True),
        SandboxMount(target="/cache", source=Path("D:\\cache")),
    ),
    memory=2 << 30,
    cpus=1.5,
)
LAYERS = ("C:\\l\\2", "C:\\l\\1", "C:\\l\\scratch")


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (("cmd", "/S", "/C", 'echo "a b"'), 'cmd /S /C echo "a b"'),
        (("C:\\Windows\\System32\\CMD.EXE", "/c", "x y"), "C:\\Windows\\System32\\CMD.EXE /c x y"),
        (("cmd", "x", "/c", "a b"), 'cmd x /c "a b"'),
        (("a.exe", "/c", "a b"), 'a.exe /c "a b"'),
        (("C:\\my app\\a.exe", "x"), '"C:\\my app\\a.exe" x'),
        (("a", 'say "hi"', "end\\", ""), 'a "say \\"hi\\"" end\\ ""'),
        (("powershell", "-Command", "exit 3"), 'powershell -Command "exit 3"'),
    ],
)
def test_a_command_line_is_what_the_program_takes_apart(args, line):
    assert command_line(args) == line


def test_the_runtime_spec_of_a_run():
    assert runtime_spec(RUN, LAYERS, processors=4) == {
        "ociVersion": "1.1.0",
        "hostname": "build",
        "process": {
            "commandLine": 'cmd /S /C mkdir "C:\\a b" && echo %X%',
            "cwd": "C:\\app\\bin",
            "env": ["X=1", "Y=a=b"],
            "user": {"username": "ContainerUser"},
        },
        "root": {},
        "mounts": [
            {"source": "D:\\context", "destination": "C:\\ctx", "options": ["ro"]},
            {"source": "D:\\cache", "destination": "C:\\cache", "options": ["rw"]},
        ],
        "windows": {
            "layerFolders": list(LAYERS),
            "resources": {"memory": {"limit": 2 << 30}, "cpu": {"maximum": 3750}},
        },
    }


def test_a_line_that_is_written_stays_as_it_is():
    bare = RunSpec(args=("powershell", "-Command", 'echo "a  b"'), verbatim=True)
    line = 'powershell -Command echo "a  b"'
    assert runtime_spec(bare, LAYERS)["process"]["commandLine"] == line
    assert process_document(bare)["CommandLine"] == line


def test_isolation_by_a_virtual_machine_and_without_a_network():
    bare = RunSpec(args=("a",), network=Network.NONE)
    document = runtime_spec(bare, LAYERS, hyperv=True)
    assert document["windows"] == {
        "layerFolders": list(LAYERS),
        "hyperv": {},
        "network": {"allowUnqualifiedDNSQuery": False},
    }
    assert document["process"]["user"] == {}
    assert document["process"]["cwd"] == "C:\\"


def test_the_documents_of_the_host_compute_service():
    layers = [HostLayer("1-2", LAYERS[0]), HostLayer("3-4", LAYERS[1])]
    volume = "\\\\?\\Volume{5}\\"
    document = hcs_document(RUN, layers, volume, namespace="n", processors=1)
    assert document == {
        "SchemaVersion": {"Major": 2, "Minor": 1},
        "Owner": "wcbuild",
        "ShouldTerminateOnLastHandleClosed": True,
        "Container": {
            "GuestOs": {"HostName": "build"},
            "Storage": {
                "Path": volume,
                "Layers": [
                    {"Id": "1-2", "Path": "C:\\l\\2"},
                    {"Id": "3-4", "Path": "C:\\l\\1"},
                ],
            },
            "MappedDirectories": [
                {"HostPath": "D:\\context", "ContainerPath": "C:\\ctx", "ReadOnly": True},
                {"HostPath": "D:\\cache", "ContainerPath": "C:\\cache", "ReadOnly": False},
            ],
            "Memory": {"SizeInMB": 2048},
            "Processor": {"Maximum": 10000},
            "Networking": {"Namespace": "n"},
        },
    }
    assert process_document(RUN) == {
        "CommandLine": 'cmd /S /C mkdir "C:\\a b" && echo %X%',
        "WorkingDirectory": "C:\\app\\bin",
        "User": "ContainerUser",
        "Environment": {"X": "1", "Y": "a=b"},
        "CreateStdInPipe": False,
        "CreateStdOutPipe": True,
        "CreateStdErrPipe": True,
    }


def test_what_ctr_is_asked():
    start = ["ctr", "--namespace", "wcbuild"]
    snapshots = [*start, "snapshots", "--snapshotter", "windows"]
    assert ctr.import_image("a.tar", "base:1") == [
        *(*start, "images", "import", "--snapshotter", "windows", "--index-name", "base:1", "a.tar")
    ]
    assert ctr.prepare("step", "sha256:1") == [*snapshots, "prepare", "step", "sha256:1"]
    assert ctr.mounts("step", "X") == [*snapshots, "mounts", "X", "step"]
    assert ctr.run("step", "spec.json") == [*start, "run", "--config", "spec.json", "step"]
    assert ctr.diff("step")[-3:] == [
        *("--media-type", "application/vnd.oci.image.layer.v1.tar", "step")
    ]
    assert ctr.remove("step", "step") == [
        [*start, "containers", "rm", "step"],
        [*snapshots, "rm", "step"],
    ]


def test_what_ctr_answers():
    text = (
        "mount -t windows-layer C:\\Program Data\\snapshots\\9 X "
        '-o rw,parentLayerPaths=["C:\\\\s\\\\8","C:\\\\s\\\\1"]\n'
    )
    layers = ctr.read_mounts(text, "X")
    assert layers == ("C:\\s\\8", "C:\\s\\1", "C:\\Program Data\\snapshots\\9")
    for bad in ("", "mount -t overlay overlay X -o ro", "mount -t windows-layer a X -o rw"):
        with pytest.raises(SandboxError, match="ctr printed"):
            ctr.read_mounts(bad, "X")
