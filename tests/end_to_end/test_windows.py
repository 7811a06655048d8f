"""Windows images, built here: the example that the project grew from, and what its users do next."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import sys
import tarfile
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from dissect.regf import RegistryHive

from registry.layout import OciLayout
from registry.oci import mediatypes
from registry.oci.config import ImageConfig
from registry.oci.descriptor import Descriptor
from registry.oci.manifest import Index, Manifest, parse, parse_manifest
from registry.store import read_all
from wcbuild.layer.windows import sddl
from wcbuild.layer.windows.accounts import owned_by
from wcbuild.layer.windows.records import FILE_SDDL

from .conftest import ROOT, Wcbuild, call, need

sys.path.insert(0, str(ROOT / "fixtures"))

import make_windows_base
from tiny_program import program

pytestmark = [pytest.mark.userns, pytest.mark.usefixtures("userns")]

EPOCH = ("--build-arg", "SOURCE_DATE_EPOCH=1750000000")
LTSC2019, LTSC2022 = "10.0.17763.5936", make_windows_base.DEFAULT_VERSION
WINDOWS = ("--platform", "windows/amd64")
EXAMPLE = """\
# escape=`
FROM windowsservercore
WORKDIR \\
COPY bin\\Debug\\ \\Deapp
CMD \\Deapp\\Demoapp.exe
"""


@pytest.fixture(scope="session")
def servercore(tmp_path_factory) -> Path:
    layout = tmp_path_factory.mktemp("windows") / "layout"
    make_windows_base.write_layout(layout, (LTSC2019, LTSC2022), entries=300)
    return layout


@pytest.fixture
def build(wcbuild: Wcbuild, servercore, tmp_path):
    """Give a function that builds a Dockerfile for Windows and returns the image."""

    def run(dockerfile, *flags, files=None, check=True, platform=WINDOWS):
        folder = write_context(tmp_path / "context", dockerfile, files or {})
        out = tmp_path / f"image{len(list(tmp_path.iterdir()))}"
        done = wcbuild(
            *("build", "--progress", "plain", *platform, *EPOCH, "--build-context"),
            *(f"windowsservercore=oci-layout://{servercore}", *flags),
            *("-o", f"type=oci,tar=false,compression=uncompressed,dest={out}", folder),
            check=check,
        )
        return Image.read(out) if check else done

    return run


def write_context(folder: Path, dockerfile: str, files: dict[str, bytes]) -> Path:
    for name, data in {"Dockerfile": dockerfile.encode(), **files}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


@dataclass(frozen=True)
class Image:
    """An image in a layout, its layers as Python's tarfile reads them."""

    config: dict
    layers: list[bytes]

    @classmethod
    def read(cls, layout: Path) -> Image:
        store = OciLayout(layout)
        descriptor = store.resolve("latest")
        manifest = parse(read_all(store, descriptor), descriptor.media_type)
        layers = [store.open(layer).read() for layer in manifest.layers]
        config = store.open(manifest.config).read()
        ImageConfig.parse(config)
        return cls(json.loads(config), [data for data in layers if data[:2] != b"\x1f\x8b"])

    def entries(self, layer: int = -1) -> dict[str, tarfile.TarInfo]:
        with tarfile.open(fileobj=io.BytesIO(self.layers[layer])) as archive:
            return {member.name: member for member in archive}

    def content(self, name: str, layer: int = -1) -> bytes:
        with tarfile.open(fileobj=io.BytesIO(self.layers[layer])) as archive:
            return archive.extractfile(name).read()


def test_the_example_gives_the_image_that_its_author_meant(build):
    demo = program("demo", 0)
    image = build(
        EXAMPLE, files={"bin/Debug/Demoapp.exe": demo, "bin/Debug/data/a.txt": b"text\r\n"}
    )
    entries = image.entries()
    assert list(entries) == [
        *("Hives", "Files", "Files/Deapp", "Files/Deapp/Demoapp.exe"),
        *("Files/Deapp/data", "Files/Deapp/data/a.txt"),
    ]
    assert image.content("Files/Deapp/Demoapp.exe") == demo
    assert entries["Files/Deapp/Demoapp.exe"].mtime == 1750000000
    assert image.config["os"] == "windows"
    assert image.config["os.version"] == LTSC2019  # nobody asked for another: the index's first
    assert image.config["os.features"] == ["win32k"]
    inner = image.config["config"]
    assert inner["WorkingDir"] == "C:\\"
    assert inner["Cmd"] == ["cmd /S /C \\Deapp\\Demoapp.exe"]
    assert inner["ArgsEscaped"] is True
    assert not inner.get("Env")


def test_a_base_that_is_for_windows_alone_needs_no_platform(build):
    image = build(EXAMPLE, platform=(), files={"bin/Debug/Demoapp.exe": program("demo", 0)})
    assert (image.config["os"], image.config["os.version"]) == ("windows", LTSC2019)


def test_the_example_is_read_as_meant_without_its_first_line_if_asked(build):
    files = {"bin/Debug/Demoapp.exe": program("demo", 0)}
    meant = build(EXAMPLE, files=files)
    asked = build(EXAMPLE.partition("\n")[2], "--compat", "2015", files=files)
    assert asked.config == meant.config
    assert asked.layers[-1] == meant.layers[-1]


def test_the_example_without_its_first_line_is_told_apart(build):
    files = {"bin/Debug/Demoapp.exe": program("demo", 0)}
    built = build(EXAMPLE.partition("\n")[2], "--progress", "plain", files=files)
    assert built.config["config"]["WorkingDir"] == "C:\\COPY binDebug Deapp"


def test_there_is_one_way_back(build):
    failed = build(EXAMPLE, "--compat", "2016", check=False)
    assert '--compat "2016": there is only 2015' in failed.stderr


def test_twice_the_same_bytes(build):
    files = {"a": b"1", "b/c": b"2"}
    once = build("FROM windowsservercore\nCOPY . C:/app\n", "--no-cache", files=files)
    again = build("FROM windowsservercore\nCOPY . C:/app\n", "--no-cache", files=files)
    assert once == again


def test_directories_of_the_base_keep_what_they_are(build):
    image = build(
        "# escape=`\nFROM windowsservercore\nCOPY a.dll C:\\WINDOWS\\system32\\\n"
        "WORKDIR /program files/Common Files/mine\nCOPY a.dll \\users\\x.dll\n",
        files={"a.dll": b"MZ"},
    )
    with tarfile.open(fileobj=io.BytesIO(make_windows_base.base_layer(300))) as base:
        theirs = {member.name: member.pax_headers for member in base}
    for layer, names in ((-3, ("Windows", "Windows/System32")), (-2, ("Program Files",))):
        ours = image.entries(layer)
        for name in names:
            assert ours[f"Files/{name}"].pax_headers == theirs[f"Files/{name}"]
    assert "Files/Windows/System32/a.dll" in image.entries(-3)
    assert "Files/Program Files/Common Files/mine" in image.entries(-2)
    assert list(image.entries(-1))[2:] == ["Files/Users", "Files/Users/x.dll"]
    for layer in (-3, -2, -1):
        assert image.entries(layer)["Files"].pax_headers == theirs["Files"]


def test_a_workdir_that_is_there_leaves_the_drive_as_it_is(build):
    image = build("FROM windowsservercore\nWORKDIR C:/users/public\n")
    with tarfile.open(fileobj=io.BytesIO(make_windows_base.base_layer(300))) as base:
        drive = base.getmember("Files")
    assert list(image.entries()) == ["Hives", "Files"]
    assert image.entries()["Files"].pax_headers == drive.pax_headers


def test_owners_modes_heredocs_archives_and_parents(build):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        info = tarfile.TarInfo("windows/system32/from-archive.dll")
        info.size = 2
        archive.addfile(info, io.BytesIO(b"MZ"))
    image = build(
        "FROM windowsservercore\n"
        "COPY --chown=ContainerUser a.txt /data/\n"
        "COPY --chmod=444 a.txt /ro.txt\n"
        "COPY <<Run.cmd C:/app/\n@echo off\nRun.cmd\n"
        "ADD files.tar.gz /\n"
        "COPY --parents deep/er/b.txt /app/\n",
        files={"a.txt": b"x", "files.tar.gz": stream.getvalue(), "deep/er/b.txt": b"y"},
    )
    descriptor = base64.b64encode(owned_by("S-1-5-93-2-2")).decode()
    owned = image.entries(-5)
    for name in ("Files/data", "Files/data/a.txt"):
        assert owned[name].pax_headers["MSWINDOWS.rawsd"] == descriptor
    assert image.entries(-4)["Files/ro.txt"].pax_headers["MSWINDOWS.fileattr"] == "33"
    assert image.content("Files/app/Run.cmd", -3) == b"@echo off\n"
    assert "Files/Windows/System32/from-archive.dll" in image.entries(-2)
    assert "Files/app/deep/er/b.txt" in image.entries(-1)


def test_files_go_from_linux_to_windows_and_back(build, machine_base):
    image = build(
        "FROM windowsservercore AS windows\n"
        "FROM --platform=linux/amd64 base AS tools\n"
        "COPY script.sh /out/bin/run\n"
        "COPY --from=windows /WINDOWS/system32/CMD.EXE /out/\n"
        "FROM windowsservercore\n"
        "COPY --from=tools /out C:/tools\n",
        *("--build-context", f"base=oci-layout://{machine_base}"),
        files={"script.sh": b"#!/bin/sh\n"},
    )
    entries = image.entries()
    assert image.content("Files/tools/bin/run") == b"#!/bin/sh\n"
    assert image.content("Files/tools/cmd.exe")[:2] == b"MZ"
    # What came through Linux has no records of its own any more.
    assert set(entries["Files/tools/cmd.exe"].pax_headers) == {
        *("LIBARCHIVE.creationtime", "MSWINDOWS.fileattr", "MSWINDOWS.rawsd")
    }


def test_a_linux_stage_takes_files_of_a_windows_one(wcbuild, servercore, tmp_path):
    folder = write_context(
        tmp_path / "context",
        "FROM --platform=windows/amd64 windowsservercore AS win\n"
        "COPY a.txt C:/data/\n"
        "FROM scratch\n"
        "COPY --from=win /DATA/*.TXT /LICENSE.txt /\n",
        {"a.txt": b"x"},
    )
    wcbuild(
        *("build", "--build-context", f"windowsservercore=oci-layout://{servercore}"),
        *("-o", tmp_path / "out", folder),
    )
    found = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "out").iterdir()}
    assert found == {"a.txt": 0o644, "License.txt": 0o644}


def test_between_windows_stages_records_and_streams_stay(build):
    image = build(
        "FROM windowsservercore AS one\nCOPY a.txt /a.txt\n"
        "FROM windowsservercore\n"
        "COPY --from=one /license.TXT /windows/system32/NOTEPAD.exe /copied/\n",
        files={"a.txt": b"x"},
    )
    entries = image.entries()
    assert image.content("Files/copied/License.txt:Zone.Identifier").startswith(b"[ZoneTransfer]")
    kept = entries["Files/copied/notepad.exe"].pax_headers
    assert kept["LIBARCHIVE.creationtime"] == make_windows_base.CREATED
    assert "MSWINDOWS.xattr.$KERNEL.PURGE.ESBCACHE" in kept


def test_scratch_is_a_base_with_hives(build):
    image = build("FROM scratch\nCOPY a.exe /\nCMD a.exe\n", files={"a.exe": program()})
    hive = image.content("Files/Windows/System32/config/SYSTEM", 0)
    assert RegistryHive(io.BytesIO(hive)).root().name == "ROOT"
    assert list(image.entries()) == ["Hives", "Files", "Files/a.exe"]
    lines = image.config["history"]
    assert [line["created_by"] for line in lines if not line.get("empty_layer")] == [
        "FROM scratch # empty registry hives",
        "COPY a.exe / # buildkit",
    ]
    assert "os.version" not in image.config


def test_versions_are_chosen_and_kept_in_an_index(wcbuild, servercore, tmp_path):
    folder = write_context(tmp_path / "context", "FROM windowsservercore\nCOPY a /a\n", {"a": b"1"})
    wcbuild(
        *("build", "--build-context", f"windowsservercore=oci-layout://{servercore}"),
        *("--platform", "windows(10.0.17763)/amd64,windows/amd64:10.0.20348"),
        *("-o", f"type=oci,tar=false,dest={tmp_path / 'out'}", folder),
    )
    store = OciLayout(tmp_path / "out")
    descriptor = store.resolve("latest")
    index = parse(read_all(store, descriptor), descriptor.media_type)
    assert isinstance(index, Index)
    platforms = [entry.platform for entry in index.manifests]
    assert [each.os_version for each in platforms] == [LTSC2019, LTSC2022]
    assert {each.os_features for each in platforms} == {("win32k",)}


def test_a_version_that_nothing_matches_tells_what_there_is(build):
    failed = build(
        "FROM windowsservercore\n",
        check=False,
        platform=("--platform", "windows(10.0.14393)/amd64"),
    )
    assert failed.returncode == 1
    assert "Dockerfile:1" in failed.stderr
    offered = f"windows({LTSC2019}+win32k)/amd64, windows({LTSC2022}+win32k)/amd64"
    assert f"has {offered}" in failed.stderr


@pytest.mark.parametrize(
    ("dockerfile", "files", "message"),
    [
        ("COPY . /app", {"aux.h": b""}, '"app/aux.h": Windows has no such file'),
        ("COPY . /app", {"a": b"", "A": b""}, "capital letters only"),
        ("COPY --chown=bob a /a", {"a": b""}, 'account "bob" cannot be resolved'),
        ("COPY a /a:b", {"a": b""}, "data stream"),
        ("WORKDIR C:/lpt1.d", {}, '"lpt1.d" is the name of a device on Windows'),
    ],
)
def test_what_windows_refuses_is_told_with_its_line(build, dockerfile, files, message):
    failed = build(f"FROM windowsservercore\n{dockerfile}\n", files=files, check=False)
    assert failed.returncode == 1
    assert "Dockerfile:2" in failed.stderr
    assert message in failed.stderr


def test_a_base_for_another_system_is_refused(build, machine_base):
    failed = build(
        "FROM base\n", "--build-context", f"base=oci-layout://{machine_base}", check=False
    )
    assert "Dockerfile:1" in failed.stderr
    assert "linux" in failed.stderr
    failed = build("FROM --platform=linux/amd64 windowsservercore\n", check=False)
    assert "windows" in failed.stderr


def one_layer(tmp_path, *members: tarfile.TarInfo) -> tuple[Path, str]:
    """Write a layout of a Windows image; return it and the digest of its only layer."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for member in members:
            archive.addfile(member)
    layout = make_windows_base.Layout(tmp_path / "odd")
    diff_id, blob = layout.layer(stream.getvalue())
    layout.finish([layout.image([(diff_id, blob)], LTSC2022)])
    return tmp_path / "odd", str(blob.digest)


@pytest.mark.parametrize(
    ("name", "records", "message"),
    [
        ("etc/passwd", {}, '"etc/passwd": no layer of a Windows image has that'),
        ("Files/a", {"MSWINDOWS.sd": "O:BA:"}, '"Files/a": security descriptor "O:BA:": has'),
        ("Files/a", {"MSWINDOWS.rawsd": "AQAEgA=="}, '"Files/a": security descriptor "01000480"'),
    ],
)
def test_a_base_that_is_none_is_told_with_its_line_and_layer(
    build, tmp_path, name, records, message
):
    member = tarfile.TarInfo(name)
    member.pax_headers = records
    layout, digest = one_layer(tmp_path, member)
    failed = build(
        "FROM odd\nCOPY Dockerfile C:/x\n",
        *("--build-context", f"odd=oci-layout://{layout}"),
        check=False,
    )
    assert failed.returncode == 1
    assert f"ERROR: Dockerfile:2: layer {digest}: {message}" in failed.stderr


def test_inspect_history_and_outputs_understand_windows(wcbuild, servercore, tmp_path):
    folder = write_context(
        tmp_path / "context", "FROM windowsservercore\nCOPY a C:/app/\n", {"a": b"1"}
    )
    flags = ("--build-context", f"windowsservercore=oci-layout://{servercore}", *WINDOWS)
    wcbuild(
        *("build", *flags, "-t", "win:1", "-o", f"type=local,dest={tmp_path / 'out'}"),
        *("-o", f"type=tar,dest={tmp_path / 'out.tar'}", folder),
    )
    (shown,) = json.loads(wcbuild("inspect", "win:1").stdout)
    assert (shown["Os"], shown["OsVersion"]) == ("windows", LTSC2019)
    assert "COPY a C:/app/" in wcbuild("history", "win:1").stdout
    refused = wcbuild("run", "win:1", "cmd", check=False)
    assert "is a Windows image" in refused.stderr
    assert (tmp_path / "out/app/a").read_text() == "1"
    assert (tmp_path / "out/Windows/System32/cmd.exe").read_bytes()[:2] == b"MZ"
    with tarfile.open(tmp_path / "out.tar") as archive:
        names = archive.getnames()
    assert "app/a" in names
    assert not [name for name in names if ":" in name or name.startswith(("Files", "Hives"))]
    wcbuild("copy", "store:win:1", f"oci:{tmp_path / 'copy'}:1")
    store = OciLayout(tmp_path / "copy")
    assert parse(read_all(store, store.resolve("1")), store.resolve("1").media_type).layers


def test_diff_reads_records_and_finds_any_spelling(wcbuild, servercore, tmp_path):
    flags = ("--build-context", f"windowsservercore=oci-layout://{servercore}", *WINDOWS)
    copies = {
        "one": ("COPY a C:/app/", "COPY --chmod=600 a C:/windows/a"),
        "two": ("COPY --chown=ContainerUser a C:/APP/", "COPY --chmod=644 a C:/WINDOWS/A"),
    }
    for name, lines in copies.items():
        dockerfile = "\n".join(("FROM windowsservercore", *lines, ""))
        folder = write_context(tmp_path / name, dockerfile, {"a": b"1"})
        wcbuild("build", *flags, "-t", name, folder)
    found = json.loads(
        wcbuild("diff", "--format", "json", "store:one", "store:two", check=False).stdout
    )
    assert [(each["path"], each["state"]) for each in found["files"]] == [
        ("APP", "changed"),
        ("APP/a", "changed"),
        ("Windows/A", "changed"),
    ]
    assert "S-1-5-93-2-2" in found["files"][1]["attributes"]["MSWINDOWS.sd"]["new"]
    assert found["files"][2]["attributes"] == {"name": {"old": "a", "new": "A"}}


# -- nothing is unpacked, and what nobody reads is not fetched


@pytest.fixture
def remote_base(servercore, simulator):
    """Put the base into a registry; give its name and the digest of its layer."""
    layer = put_into(simulator, servercore, tag="ltsc")
    return f"{simulator.host}/windows/servercore:ltsc", layer.digest


def put_into(simulator, layout: Path, *, tag: str) -> Descriptor:
    """Put the index of a layout into a registry; return the layer of its last image."""
    store = OciLayout(layout)
    descriptor = store.resolve("latest")
    index = parse(read_all(store, descriptor), descriptor.media_type)
    for entry in index.manifests:
        manifest = parse(read_all(store, entry), entry.media_type)
        for blob in (manifest.config, *manifest.layers):
            simulator.add_blob("windows/servercore", store.open(blob).read())
        simulator.add_manifest("windows/servercore", manifest.raw, manifest.media_type)
    simulator.add_manifest("windows/servercore", index.raw, index.media_type, tag=tag)
    (layer,) = manifest.layers
    return layer


def gets(simulator, digest: str) -> int:
    return len(simulator.sent("GET", f"/blobs/{digest}"))


def test_a_version_is_not_that_of_the_build_before(wcbuild, simulator, tmp_path):
    versions = (LTSC2022, "10.0.26100.1742")
    make_windows_base.write_layout(tmp_path / "layout", versions, entries=30)
    put_into(simulator, tmp_path / "layout", tag="two")
    base = f"{simulator.host}/windows/servercore:two"
    folder = write_context(tmp_path / "context", f"FROM {base}\nLABEL a=b\n", {})

    def built(version):
        wcbuild("build", "--platform", f"windows({version})/amd64", "-t", "app:1", folder)
        (shown,) = json.loads(wcbuild("inspect", "app:1").stdout)
        return shown["OsVersion"]

    # A machine with the newer one runs the older one's image, which the first build leaves here.
    assert [built("10.0.20348"), built("10.0.26100")] == list(versions)
    # And it is taken where the registry has nothing better to give.
    assert built("10.0.20348") == LTSC2022
    simulator.repositories["windows/servercore"].tags.clear()
    assert built("10.0.26100") == LTSC2022


def test_squashed_there_is_one_layer_on_the_base(build):
    dockerfile = """\
# escape=`
FROM windowsservercore
COPY a \\app\\a.txt
COPY a \\WINDOWS\\a.txt
COPY b \\App\\A.TXT
ADD tree.tar C:\\
"""
    files = {"a": b"1", "b": b"22", "tree.tar": replacing_tar()}
    plain, one = (build(dockerfile, *more, files=files) for more in ((), ("--squash",)))
    diff_ids = [image.config["rootfs"]["diff_ids"] for image in (plain, one)]
    assert diff_ids[1][:-1] == diff_ids[0][:-4]
    names = one.entries().keys()
    assert list(names)[:2] == ["Hives", "Files"]
    assert "Files/app/a.txt" in names
    assert one.content("Files/app/a.txt") == b"22"
    assert "Files/Windows/a.txt" in names
    assert one.config["history"][-1]["created_by"] == "squash 4 layers"
    assert [line.get("empty_layer") for line in one.config["history"][-5:]] == [True] * 4 + [None]
    assert one.config["config"] == plain.config["config"]
    again = build(dockerfile, "--squash", files=files)
    assert again.config == one.config


def replacing_tar() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("app/more.txt"))
    return out.getvalue()


def test_squashed_from_scratch_it_stands_on_the_empty_registry(build, tmp_path):
    dockerfile = "FROM scratch\nCOPY a /a\nCOPY a /b\n"
    one = build(dockerfile, "--squash", files={"a": b"1"})
    assert len(one.config["rootfs"]["diff_ids"]) == 2
    assert [line.get("empty_layer", False) for line in one.config["history"]] == [
        *(False, True, True, False)
    ]
    assert list(one.entries()) == ["Hives", "Files", "Files/a", "Files/b"]
    plan = build("FROM scratch\nCOPY a /a\n", "--squash", "--print-plan=json", check=False)
    assert json.loads(plan.stdout)["images"][0]["squash"] is False


def test_a_linked_copy_never_fetches_its_base(wcbuild, simulator, remote_base, tmp_path):
    base, layer = remote_base
    folder = write_context(
        tmp_path / "context", f"FROM {base}\nCOPY --link a C:/app/\nCMD a\n", {"a": b"1"}
    )
    app = f"{simulator.host}/team/app:1"
    wcbuild("build", *WINDOWS, "-t", app, "--push", folder)
    assert gets(simulator, layer) == 0
    assert not [
        path for path in (wcbuild.root / "blobs/sha256").iterdir() if path.name == layer[7:]
    ]
    pushed = next(iter(simulator.repositories["team/app"].manifests.values()))[1]
    assert layer in pushed.decode()
    assert layer in simulator.repositories["team/app"].blobs
    # It comes when somebody asks for it, and then it is there.
    wcbuild("save", "-o", tmp_path / "saved.tar", app)
    assert gets(simulator, layer) == 1
    wcbuild("save", "-o", tmp_path / "saved.tar", app)
    assert gets(simulator, layer) == 1


def test_a_copy_reads_its_base_once_and_unpacks_nothing(wcbuild, simulator, remote_base, tmp_path):
    base, layer = remote_base
    for text in ("1", "2"):
        folder = write_context(
            tmp_path / "context",
            f"FROM {base}\nCOPY a C:/windows/system32/\nWORKDIR /app\n",
            {"a": text.encode()},
        )
        wcbuild("build", *WINDOWS, "-t", "app:1", folder)
    assert gets(simulator, layer) == 1
    indexes = [path.name for path in (wcbuild.root / "indexes").iterdir()]
    assert [name for name in indexes if name.endswith(".windows")]
    (config,) = json.loads(wcbuild("inspect", "app:1").stdout)
    base_tar = config["RootFS"]["Layers"][0].removeprefix("sha256:")
    assert not (wcbuild.root / "blobs/sha256" / base_tar).exists()
    assert not [*(wcbuild.root / "snapshots").glob("*/*/*")]


def test_a_base_that_may_not_be_distributed_is_fetched_and_not_pushed(
    wcbuild, simulator, servercore, tmp_path
):
    store = OciLayout(servercore)
    descriptor = store.resolve("latest")
    entry = parse(read_all(store, descriptor), descriptor.media_type).manifests[0]
    manifest = parse(read_all(store, entry), entry.media_type)
    (layer,) = manifest.layers
    foreign = replace(
        layer,
        media_type=mediatypes.DOCKER_FOREIGN_LAYER_GZIP,
        urls=("https://downloads.invalid/layer",),
    )
    base = Manifest.build(config=manifest.config, layers=[foreign])
    for blob in (manifest.config, layer):
        simulator.add_blob("windows/old", store.open(blob).read())
    simulator.add_manifest("windows/old", base.raw, base.media_type, tag="1")
    folder = write_context(
        tmp_path / "context",
        f"FROM {simulator.host}/windows/old:1\nCOPY a C:/windows/\n",
        {"a": b"1"},
    )
    wcbuild("build", *WINDOWS, "-t", f"{simulator.host}/team/app:1", "--push", folder)
    assert gets(simulator, layer.digest) == 1
    team = simulator.repositories["team/app"]
    assert layer.digest not in team.blobs
    (pushed,) = (parse_manifest(raw) for _, raw in team.manifests.values())
    assert pushed.layers[0] == foreign
    assert pushed.layers[1].media_type == mediatypes.OCI_LAYER_GZIP
    # Only registries distribute: an archive is whole.
    app = f"{simulator.host}/team/app:1"
    wcbuild("save", "-o", tmp_path / "saved.tar", app)
    with tarfile.open(tmp_path / "saved.tar") as archive:
        assert f"blobs/sha256/{layer.digest.hex}" in archive.getnames()
    wcbuild("push", "--allow-nondistributable-artifacts", app, f"{simulator.host}/mirror/app:1")
    mirror = simulator.repositories["mirror/app"]
    assert layer.digest in mirror.blobs
    assert parse_manifest(next(iter(mirror.manifests.values()))[1]).layers[0] == foreign
    wcbuild("copy", "--make-distributable", f"store:{app}", f"{simulator.host}/ordinary/app:1")
    (made,) = (
        parse_manifest(raw) for _, raw in simulator.repositories["ordinary/app"].manifests.values()
    )
    assert made.layers[0] == replace(foreign, media_type=mediatypes.OCI_LAYER_GZIP, urls=())


# -- with peers


@pytest.mark.peers
def test_a_registry_and_skopeo_take_it_and_tarfile_reads_it_back(
    wcbuild, servercore, registry, tmp_path
):
    need("skopeo")
    folder = write_context(
        tmp_path / "context", EXAMPLE, {"bin/Debug/Demoapp.exe": program("demo")}
    )
    image = f"{registry}/windows/example:1"
    wcbuild(
        *("build", "--build-context", f"windowsservercore=oci-layout://{servercore}"),
        *(*WINDOWS, "-t", image, "--push", folder),
    )
    call(
        *("skopeo", "--override-os", "windows", "copy", "--insecure-policy", "--quiet"),
        *("--src-tls-verify=false", f"docker://{image}", f"dir:{tmp_path / 'dir'}"),
    )
    manifest = json.loads((tmp_path / "dir/manifest.json").read_bytes())
    config = json.loads((tmp_path / "dir" / manifest["config"]["digest"][7:]).read_bytes())
    assert config["os.version"] == LTSC2019
    base, layer = (tmp_path / "dir" / each["digest"][7:] for each in manifest["layers"])
    assert hashlib.sha256(layer.read_bytes()).hexdigest() == layer.name
    with tarfile.open(layer) as archive:
        members = {member.name: member for member in archive}
        assert archive.extractfile("Files/Deapp/Demoapp.exe").read() == program("demo")
    records = members["Files/Deapp/Demoapp.exe"].pax_headers
    descriptor = base64.b64encode(sddl.encode(sddl.parse(FILE_SDDL))).decode()
    assert (records["MSWINDOWS.fileattr"], records["MSWINDOWS.rawsd"]) == ("32", descriptor)
    assert re.fullmatch(r"\d{10}(\.\d*[1-9])?", records["LIBARCHIVE.creationtime"])
    assert members["Files/Deapp"].pax_headers["MSWINDOWS.fileattr"] == "16"
    with tarfile.open(base) as archive:
        for name in make_windows_base.HIVES:
            hive = archive.extractfile(f"Files/Windows/System32/config/{name}").read()
            assert RegistryHive(io.BytesIO(hive)).root().name == "ROOT"
    shown = call(
        *("skopeo", "--override-os", "windows", "inspect", "--tls-verify=false"),
        f"docker://{image}",
    )
    assert json.loads(shown.stdout)["Os"] == "windows"
