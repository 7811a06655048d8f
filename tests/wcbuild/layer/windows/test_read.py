"""Layers as others write them."""

import base64
import io
import tarfile

import pytest
from rawtar import DIRECTORY, HARDLINK, SYMLINK, archive, entry, pax

from wcbuild.errors import LayerError, UnsafeArchiveError
from wcbuild.layer.apply import apply
from wcbuild.layer.changes import STREAM
from wcbuild.layer.scan import scan
from wcbuild.layer.windows import records
from wcbuild.layer.windows.read import read_as_linux, read_files
from wcbuild.layer.windows.sddl import format_descriptor


def read(*parts):
    return list(scan(io.BytesIO(archive(*parts)), read=read_files))


FILES = entry("Files", kind=DIRECTORY)
SYSTEMS = records.from_sddl("O:SY").decode()


def test_only_the_drive_is_read_and_the_rest_is_passed_over():
    found = read(
        entry("Hives", kind=DIRECTORY),
        entry("Hives/Software_Delta", b"regf"),
        FILES,
        entry("Files/Windows", kind=DIRECTORY, mode=0o40000),
        entry("Files/Windows/a.dll", b"MZ", mode=0o100000),
        entry("UtilityVM/Files/EFI/x", b"x"),
        entry("License.txt", b"x"),
    )
    assert [each.path for each in found] == ["", "Windows", "Windows/a.dll"]
    assert [each.meta.mode for each in found] == [0o755, 0, 0]


def test_targets_become_paths_of_the_drive():
    def link(target):
        (found,) = read(entry("Files/l", kind=SYMLINK, link=target))
        return found.meta.link

    assert link("C:/Users") == "/Users"
    assert link("c:\\Users\\x") == "/Users/x"
    assert link("C:") == "/"
    assert link("..\\a") == "../a"
    assert link("\\??\\C:\\ProgramData") == "/ProgramData"
    assert link("D:/x") == "D:/x"
    assert link("//?/Volume{1}/") == "//?/Volume{1}/"


def test_hard_links_lead_to_the_drive_or_nowhere():
    _, found = read(entry("Files/a", b"x"), entry("Files/b", kind=HARDLINK, link="Files/a"))
    assert found.meta.link == "a"
    with pytest.raises(LayerError, match='hard link to "UtilityVM/Files/a", outside the drive'):
        read(FILES, entry("Files/b", kind=HARDLINK, link="UtilityVM/Files/a"))


def test_descriptors_in_text_become_bytes():
    (found,) = read(pax(**{"MSWINDOWS.sd": "O:BAG:SYD:(A;;FA;;;BA)"}), entry("Files/a"))
    ((name, value),) = found.meta.xattrs
    assert name == records.DESCRIPTOR
    assert value == records.from_sddl("O:BAG:SYD:(A;;FA;;;BA)")
    raw = records.from_sddl("O:BA").decode()
    (both,) = read(pax(**{"MSWINDOWS.sd": "nonsense", "MSWINDOWS.rawsd": raw}), entry("Files/a"))
    assert both.meta.xattrs == ((records.DESCRIPTOR, raw.encode()),)


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("sd", "O:nobody", '"O:nobody": has "nobody", which is no account'),
        ("rawsd", "words!", '"words!": is not base64'),
        ("rawsd", "AAAA", '"000000": is truncated'),
        ("rawsd", base64.b64encode(bytes(20)).decode(), "is not self-relative"),
    ],
)
def test_a_descriptor_that_is_none_is_told_with_its_file(key, value, reason):
    with pytest.raises(LayerError) as caught:
        read(pax(**{f"MSWINDOWS.{key}": value}), entry("Files/a"))
    assert str(caught.value).startswith('"Files/a": security descriptor "')
    assert reason in str(caught.value)


def test_streams_are_told_from_files():
    _, stream = read(entry("Files/a.txt", b"x"), entry("Files/a.txt:Zone.Identifier", b"zone"))
    assert stream.path == "a.txt:Zone.Identifier"
    assert (stream.meta.kind, stream.meta.size) == (STREAM, 4)


def test_opaque_markers_hide_nothing():
    found = read(FILES, entry("Files/d", kind=DIRECTORY), entry("Files/d/.wh..wh..opq"))
    assert [(each.path, each.opaque) for each in found] == [("", False), ("d", False)]
    (gone,) = read(entry("Files/d/.wh.old"))
    assert (gone.path, gone.meta) == ("d/old", None)


def test_a_layer_of_linux_is_refused():
    with pytest.raises(LayerError, match=r'"etc": no layer of a Windows image has that'):
        read(entry("etc", kind=DIRECTORY), entry("etc/passwd", b"root"))
    assert read() == []
    assert read(entry("Hives", kind=DIRECTORY)) == []


def test_a_name_that_leaves_the_drive_is_refused():
    with pytest.raises(UnsafeArchiveError, match=r'"\.\."'):
        read(entry("Files/../../etc/passwd", b"x"))


def test_unpacked_on_linux_it_is_what_its_files_are(tmp_path):
    data = archive(
        entry("Hives", kind=DIRECTORY),
        FILES,
        entry("Files/Windows", kind=DIRECTORY, mode=0o40000),
        pax(**{"MSWINDOWS.fileattr": "33", "MSWINDOWS.rawsd": SYSTEMS}),
        entry("Files/Windows/a.dll", b"MZ", mode=0o100000),
        entry("Files/Windows/a.dll:s", b"stream"),
        entry("Files/link", kind=SYMLINK, link="C:/Windows"),
    )
    apply(io.BytesIO(data), tmp_path, ownership=False, devices=False, read=read_as_linux)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["Windows", "a.dll", "link"]
    assert (tmp_path / "Windows/a.dll").read_bytes() == b"MZ"
    assert (tmp_path / "Windows/a.dll").stat().st_mode & 0o777 == 0o644
    assert (tmp_path / "Windows").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "link").readlink().as_posix() == "/Windows"


def test_the_synthetic_base_is_read_whole(windows_base_layer):
    found = {each.path: each for each in scan(io.BytesIO(windows_base_layer), read=read_files)}
    with tarfile.open(fileobj=io.BytesIO(windows_base_layer)) as raw:
        names = [name for name in raw.getnames() if name.startswith("Files/")]
    assert len(found) == len(names) + 1
    junction = found["Documents and Settings"].meta
    assert junction.link == "/Users"
    own = dict(junction.xattrs)
    assert own["MSWINDOWS.mountpoint"] == b"1"
    assert own["MSWINDOWS.fileattr"] == b"1046"
    assert own["LIBARCHIVE.creationtime"] == b"1619524800.123456"
    assert format_descriptor  # the fixture's own descriptors are read in test_sddl
