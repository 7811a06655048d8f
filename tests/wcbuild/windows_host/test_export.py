"""Folders as Windows exports them, synthesised from the documented structures."""

import base64
import io
import os
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from windowslayers import members

from wcbuild.errors import LayerError
from wcbuild.layer.scan import scan
from wcbuild.layer.windows.read import read_files
from wcbuild.layer.windows.records import FILE_SDDL, from_sddl
from wcbuild.windows_host.backup import read_backup
from wcbuild.windows_host.export import pack_export, read_export

DATA, EXTENDED, SECURITY, ALTERNATE, REPARSE, SPARSE = 1, 2, 3, 4, 8, 9
WHEN = 1_700_000_000


def part(kind, body, name=""):
    encoded = name.encode("utf-16-le")
    return struct.pack("<IIQI", kind, 0, len(body), len(encoded)) + encoded + body


def backup(attributes, *parts):
    return struct.pack("<I", attributes) + b"".join(parts)


def attribute(name, value, following=0):
    return struct.pack("<IBBH", following, 0, len(name), len(value)) + name + b"\0" + value


def reparse(tag, target, shown=""):
    names = target.encode("utf-16-le"), shown.encode("utf-16-le")
    sizes = (0, len(names[0]), len(names[0]), len(names[1]))
    flags = struct.pack("<I", 0) if tag == 0xA000000C else b""
    body = struct.pack("<HHHH", *sizes) + flags + b"".join(names)
    return part(REPARSE, struct.pack("<IHH", tag, len(body), 0) + body)


SD = part(SECURITY, base64.b64decode(from_sddl(FILE_SDDL)))


@pytest.fixture
def exported(tmp_path):
    files = {
        "Files/app.$wcidirs$": backup(16, SD),
        "Files/app/a.txt": backup(33, SD, part(DATA, b"text"), part(ALTERNATE, b"zz", ":z:$DATA")),
        "Files/app/big.bin": backup(
            32,
            part(EXTENDED, attribute(b"ONE", b"1", 16).ljust(16, b"\0") + attribute(b"TWO", b"22")),
            part(DATA, b"x" * 300_000),
        ),
        "Files/app/empty": backup(32, SD),
        "Files/app/link": backup(1040, reparse(0xA000000C, "\\??\\C:\\Users", "C:\\Users")),
        "Files/app/relative": backup(1024, reparse(0xA000000C, "..\\x")),
        "Files/junction.$wcidirs$": backup(1040, reparse(0xA0000003, "\\??\\C:\\ProgramData")),
        "Files/$Recycle.Bin/S-1/x": backup(32),
        "Hives/System_Delta": b"regf system",
        "Hives/Software_Delta": b"regf software",
        "tombstones.txt": "\ufeffVersion 1.0\r\n\\Windows\\Temp\\old.log\r\n\\gone\r\n".encode(),
    }
    for name, data in files.items():
        place = tmp_path / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
        os.utime(place, (WHEN, WHEN))
    (tmp_path / "Files/junction").mkdir()
    return tmp_path


def test_an_exported_folder_becomes_a_layer(exported):
    out = io.BytesIO()
    packed = pack_export(exported, out, epoch=None)
    found = members(out.getvalue())
    assert list(found) == [
        *("Hives", "Hives/Software_Delta", "Hives/System_Delta", "Files"),
        *("Files/.wh.gone", "Files/Windows/Temp/.wh.old.log", "Files/app", "Files/app/a.txt"),
        *("Files/app/a.txt:z", "Files/app/big.bin", "Files/app/empty", "Files/app/link"),
        *("Files/app/relative", "Files/junction"),
    ]
    assert found["Files/app"].pax_headers["MSWINDOWS.fileattr"] == "16"
    text = found["Files/app/a.txt"].pax_headers
    assert text["MSWINDOWS.fileattr"] == "33"
    assert text["MSWINDOWS.rawsd"] == from_sddl(FILE_SDDL).decode()
    assert found["Files/app/a.txt"].mtime == WHEN
    big = found["Files/app/big.bin"]
    assert big.size == 300_000
    assert base64.b64decode(big.pax_headers["MSWINDOWS.xattr.ONE"]) == b"1"
    assert base64.b64decode(big.pax_headers["MSWINDOWS.xattr.TWO"]) == b"22"
    assert found["Files/app/link"].linkname == "C:/Users"
    assert found["Files/app/relative"].linkname == "../x"
    assert found["Files/junction"].linkname == "C:/ProgramData"
    assert found["Files/junction"].pax_headers["MSWINDOWS.mountpoint"] == "1"
    again = tuple(scan(io.BytesIO(out.getvalue()), read=read_files))
    assert again == packed.entries


def test_times_are_no_later_than_the_epoch(exported):
    out = io.BytesIO()
    pack_export(exported, out, epoch=WHEN - 5)
    assert max(each.mtime for each in members(out.getvalue()).values()) == WHEN - 5


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("Files/x", b"\0", "ends before its attributes"),
        ("Files/x", backup(32, part(DATA, b"text"))[:-1], "is truncated"),
        ("Files/x", backup(32, b"\1\0\0"), "is damaged"),
        ("Files/x", backup(32, part(77, b"")), "unknown kind 77"),
        ("Files/x", backup(32, part(SPARSE, bytes(8))), "sparse file"),
        ("Files/x", backup(1024, reparse(0x80000017, "x")), "unknown kind 0x80000017"),
        ("Files/x", backup(32, part(SECURITY, bytes(70_000))), "metadata of more than"),
        ("tombstones.txt", b"Version 2.0\r\n", "does not begin with"),
        ("tombstones.txt", b"", "does not begin with"),
    ],
)
def test_damaged_folders_are_refused(exported, name, data, reason):
    (exported / name).write_bytes(data)
    with pytest.raises(LayerError, match=reason) as caught:
        list(read_export(exported))
    assert name.rpartition("/")[2] in str(caught.value)


def test_a_folder_that_nothing_was_exported_to_is_refused(tmp_path):
    with pytest.raises(LayerError, match='no folder "Files"'):
        list(read_export(tmp_path))


def test_a_directory_needs_its_description(exported):
    (exported / "Files/undescribed").mkdir()
    with pytest.raises(LayerError, match=r"no \"\.\$wcidirs\$\" file"):
        list(read_export(exported))


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data):
    try:
        found = read_backup(io.BytesIO(data), "x")
    except LayerError:
        return
    assert found.data is None or found.data.start + found.data.size <= len(data)
