"""RUN in Windows images, under Wine, from the Dockerfile to the layer."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import windowsprograms
from dissect.regf import RegistryHive

from .conftest import ROOT, Wcbuild, call
from .test_windows import WINDOWS, Image, write_context

sys.path.insert(0, str(ROOT / "fixtures"))

import make_windows_base
from tiny_program import program

pytestmark = [
    pytest.mark.wine,
    pytest.mark.slow,
    pytest.mark.userns,
    pytest.mark.usefixtures("userns", "wine"),
]

WINE = ("--isolation", "wine")


@pytest.fixture(scope="session")
def wine() -> None:
    if reason := windowsprograms.reason_against():
        pytest.skip(reason)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A store for all tests here: its template takes seconds to make."""
    root = tmp_path_factory.mktemp("wine") / "store"
    yield Wcbuild(root)
    if os.geteuid():
        script = "import shutil, sys; from wcbuild.machine import Machine\n"
        script += "with Machine.start(): shutil.rmtree(sys.argv[1], ignore_errors=True)"
        call(sys.executable, "-c", script, root, check=False)


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    layout = tmp_path_factory.mktemp("base") / "layout"
    make_windows_base.write_layout(layout, entries=300)
    return layout


@pytest.fixture
def build(store, base, tmp_path):
    """Give a function that builds a Dockerfile for Windows and returns the image, or what was said."""

    def run(dockerfile, *flags, files=None, check=True, isolation=WINE):
        folder = write_context(tmp_path / "context", f"# escape=`\n{dockerfile}", files or {})
        out = tmp_path / f"image{len(list(tmp_path.iterdir()))}"
        done = store(
            *("build", "--progress", "plain", *WINDOWS, *isolation, "--build-context"),
            *(f"base=oci-layout://{base}", *flags),
            *("-o", f"type=oci,tar=false,compression=uncompressed,dest={out}", folder),
            check=check,
        )
        return Image.read(out) if check else done

    return run


def files_of(image: Image, layer: int = -1) -> list[str]:
    return [name for name in image.entries(layer) if name not in ("Hives", "Files")]


def test_run_becomes_a_layer_of_windows(build):
    image = build('FROM base\nRUN mkdir "C:\\foo bar" && echo hi> "C:\\foo bar\\x.txt"\n')
    assert files_of(image) == ["Files/foo bar", "Files/foo bar/x.txt"]
    assert image.content("Files/foo bar/x.txt") == b"hi\r\n"
    records = image.entries()["Files/foo bar/x.txt"].pax_headers
    assert records["MSWINDOWS.fileattr"] == "32"
    assert "MSWINDOWS.rawsd" in records


def test_what_the_base_says_of_folders_and_files_is_kept(build):
    image = build('FROM base\nRUN echo x> "C:\\program files\\x.txt" & echo y>> C:\\LICENSE.TXT\n')
    with tarfile.open(fileobj=io.BytesIO(make_windows_base.base_layer(300))) as archive:
        drive = archive.getmember("Files")
    after = image.entries()
    assert files_of(image) == [
        "Files/License.txt",
        "Files/Program Files",
        "Files/Program Files/x.txt",
    ]
    folder = after["Files/Program Files"].pax_headers
    assert folder["MSWINDOWS.rawsd"] == make_windows_base.descriptor("folder")
    assert folder["LIBARCHIVE.creationtime"] == make_windows_base.CREATED
    assert after["Files/License.txt"].pax_headers[
        "MSWINDOWS.rawsd"
    ] == make_windows_base.descriptor("file")
    assert after["Files"].pax_headers == drive.pax_headers


def test_deletions_are_whiteouts(build):
    image = build("FROM base\nRUN del C:\\license.txt\n")
    assert files_of(image) == ["Files/.wh.License.txt"]


def test_attributes_and_spellings(build):
    image = build(
        "FROM base\nRUN echo x> C:\\a.txt & attrib +r C:\\a.txt & ren C:\\License.txt tmp & ren C:\\tmp LICENSE.TXT\n"
    )
    assert files_of(image) == ["Files/LICENSE.TXT", "Files/a.txt"]
    assert image.entries()["Files/a.txt"].pax_headers["MSWINDOWS.fileattr"] == "33"


def test_step_after_step(build):
    image = build(
        "FROM base\nWORKDIR C:\\app\nCOPY tool.exe .\nENV GREETING=hello\n"
        "RUN echo %GREETING%> said.txt\nRUN type said.txt && tool.exe > out.txt\nUSER ContainerUser\n"
        'RUN ["cmd", "/C", "copy", "out.txt", "a copy.txt"]\n',
        files={"tool.exe": program("from the tool", 0)},
    )
    assert files_of(image) == ["Files/app", "Files/app/a copy.txt"]
    assert image.content("Files/app/a copy.txt") == b"from the tool\r\n"


def test_squashed_steps_are_one_layer(build):
    image = build(
        "FROM base\nRUN echo 1> C:\\a.txt & del C:\\license.txt\nRUN del C:\\A.TXT & mkdir C:\\b\n",
        "--squash",
    )
    assert files_of(image) == ["Files/.wh.License.txt", "Files/b"]
    assert len(image.config["rootfs"]["diff_ids"]) == 2


def test_history_and_metadata_say_wine(build, tmp_path):
    image = build(
        "FROM base\nRUN mkdir C:\\said\nLABEL a=b\n", "--metadata-file", tmp_path / "metadata"
    )
    run, label = image.config["history"][-2:]
    assert run["created_by"] == "RUN cmd /S /C mkdir C:\\said # buildkit"
    assert run["comment"].startswith("run under wine-")
    assert label["comment"] == "buildkit.dockerfile.v0"
    metadata = json.loads((tmp_path / "metadata").read_bytes())
    assert metadata["wcbuild.isolation"] == "wine"
    assert metadata["wcbuild.wine.version"].startswith("wine-")


def test_known_steps_are_not_run_again(build):
    dockerfile = "FROM base\nRUN mkdir C:\\known\n"
    first = build(dockerfile)
    assert "CACHED" in build(dockerfile, check=False).stderr
    assert build(dockerfile).config == first.config
    # With other things kept it is another step.
    assert "#2 CACHED" not in build(dockerfile, "--wine-registry", check=False).stderr


def test_failing_step_tells_its_code_and_line(build):
    done = build("FROM base\nRUN echo before && exit 1603\n", check=False)
    assert done.returncode != 0
    assert "Dockerfile:3" in done.stderr
    assert "exit code: 1603" in done.stderr


def test_without_wine_asked_for_nothing_is_built(build):
    done = build("FROM base\nRUN mkdir C:\\x\n", check=False, isolation=())
    assert done.returncode != 0
    assert "Dockerfile:3: RUN of a Windows image cannot run on Linux" in done.stderr
    for way in ("--isolation=wine", "COPY --from", "Windows machine"):
        assert way in done.stderr
    assert "#1" not in done.stderr


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("RUN mklink a b", "mklink makes no link"),
        ('SHELL ["powershell", "-Command"]\nRUN Get-Date', "Wine has no PowerShell"),
        ("RUN if exist a b && c", 'cannot stand in or behind the body of "if"'),
        ("RUN --mount=type=ssh ver", "cannot have an SSH agent"),
        ("USER a|b\nRUN ver", 'become user "a|b": that is no name of a Windows account'),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_built(build, lines, said):
    done = build(f"FROM base\n{lines}\n", check=False)
    assert done.returncode != 0
    assert said in done.stderr
    assert f"Dockerfile:{2 + len(lines.splitlines())}" in done.stderr
    assert "#1" not in done.stderr


def test_linux_stages_run_as_ever(build, machine_base):
    image = build(
        "FROM --platform=linux/amd64 linux AS work\nRUN echo linux > /made\n"
        "FROM base\nCOPY --from=work /made C:\\made\nRUN type C:\\made\n",
        *("--build-context", f"linux=oci-layout://{machine_base}"),
    )
    assert files_of(image, -2) == ["Files/made"]


def test_registry_is_told_and_thrown_away_unless_kept(build):
    done = build("FROM base\nRUN reg add HKLM\\Software\\Mine /v A /d B\n", check=False)
    assert "wcbuild: not kept: 1 registry key (Software\\Mine)" in done.stderr


def test_registry_is_kept_as_a_delta_hive(build):
    image = build(
        'FROM base\nRUN reg add "HKLM\\Software\\My Key" /v A /d B\n'
        'RUN reg query "HKLM\\Software\\My Key" /v A && mkdir C:\\found\n',
        "--wine-registry",
    )
    assert files_of(image) == ["Files/found"]
    assert "Hives/Software_Delta" in image.entries(-2)
    hive = RegistryHive(io.BytesIO(image.content("Hives/Software_Delta", -2)))
    assert hive.open("My Key").value("A").value == "B"


def test_installer_runs(build, tmp_path):
    image = build(
        "FROM base\nCOPY demo.msi C:\\\nRUN msiexec /i C:\\demo.msi /qn\n",
        files={"demo.msi": windowsprograms.installer(tmp_path / "msi")},
    )
    assert files_of(image) == [
        *("Files/Program Files", "Files/Program Files/Demo", "Files/Program Files/Demo/hello.txt")
    ]


def test_folders_of_the_base_are_renamed(build):
    image = build(
        "FROM base\nCOPY tool.exe C:\\old\\sub\\\n"
        "RUN move C:\\old C:\\new && ren C:\\new\\sub bin && C:\\new\\bin\\tool.exe\n",
        files={"tool.exe": program("moved", 0)},
    )
    assert files_of(image) == [
        *("Files/.wh.old", "Files/new", "Files/new/bin", "Files/new/bin/tool.exe")
    ]


def test_what_no_layer_keeps_is_told(build):
    done = build(
        "FROM base\nRUN echo x> C:\\a.txt& echo y> C:\\a.txt:z& attrib +h C:\\a.txt\n", check=False
    )
    assert done.returncode == 0
    told = "wcbuild: not kept: 1 data stream (a.txt:z); 1 hidden or system attribute (a.txt)"
    assert told in done.stderr


def test_names_that_windows_has_not_are_told_with_their_line(build):
    done = build('FROM base\nRUN echo x> "\\\\?\\C:\\aux.txt"\nRUN ver\n', check=False)
    assert 'Dockerfile:3: "aux.txt": Windows has no such file' in done.stderr


def test_folders_of_windows_are_kept_if_named(build):
    image = build(
        "FROM base\nRUN mkdir C:\\Windows\\Fonts\\new & echo x> C:\\Windows\\lost.txt\n",
        *("--wine-keep", "C:\\Windows\\Fonts"),
    )
    assert files_of(image) == ["Files/Windows", "Files/Windows/Fonts", "Files/Windows/Fonts/new"]
    done = build(
        "FROM base\nRUN mkdir C:\\a\n", "--wine-keep", "C:\\Windows\\System32", check=False
    )
    assert "Wine needs its own" in done.stderr


def test_deleting_the_whole_drive_harms_neither_base_nor_the_next_build(build):
    build("FROM base\nRUN rd /s /q C:\\ & exit 0\n")
    image = build("FROM base\nRUN dir C:\\License.txt && ver && mkdir C:\\fine\n", "--no-cache")
    assert files_of(image) == ["Files/fine"]


def test_killed_build_leaves_nothing_that_the_next_does_not_remove(store, base, build, tmp_path):
    probe = windowsprograms.probe(tmp_path)
    folder = write_context(
        tmp_path / "killed",
        "# escape=`\nFROM base\nCOPY probe.exe C:\\\nRUN C:\\probe.exe sleep 60000\n",
        {"probe.exe": probe},
    )
    words = ("build", "--progress", "plain", *WINDOWS, *WINE, "--build-context")
    command = store.command(*words, f"base=oci-layout://{base}", folder)
    with subprocess.Popen(command, env=store.env, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr:
            if "RUN C:" in line:
                break
        runs = store.root / "wine/run"
        while not (runs.is_dir() and any(runs.iterdir())):
            assert process.poll() is None
        process.kill()
    build("FROM base\nRUN mkdir C:\\after\n")
    assert not any(runs.iterdir())


def test_builds_at_the_same_time_make_one_template(wcbuild, base, tmp_path):
    folder = write_context(tmp_path / "twice", "# escape=`\nFROM base\nRUN mkdir C:\\x\n", {})
    words = ("build", *WINDOWS, *WINE, "--build-context", f"base=oci-layout://{base}", folder)
    builds = [subprocess.Popen(wcbuild.command(*words), env=wcbuild.env) for _ in range(2)]
    assert [build.wait() for build in builds] == [0, 0]
    made = [
        path.name for path in (wcbuild.root / "wine").iterdir() if path.name.startswith("wine-")
    ]
    assert len(made) == 1


def test_prune_removes_the_template(wcbuild, base, tmp_path):
    folder = write_context(tmp_path / "pruned", "# escape=`\nFROM base\nRUN mkdir C:\\x\n", {})
    wcbuild("build", *WINDOWS, *WINE, "--build-context", f"base=oci-layout://{base}", folder)
    assert (wcbuild.root / "wine").is_dir()
    wcbuild("prune", "-a")
    assert not (wcbuild.root / "wine").exists()
