"""What a layer's tar holds, as Python's `tarfile` reads it."""

import base64
import hashlib
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from windowslayers import NOW, file, folder, members, packed

from wcbuild.errors import LayerError
from wcbuild.layer.changes import (
    CHARACTER,
    DIRECTORY,
    FILE,
    HARDLINK,
    STREAM,
    SYMLINK,
    Change,
    Inline,
    Meta,
)
from wcbuild.layer.scan import scan
from wcbuild.layer.windows import records
from wcbuild.layer.windows.read import read_files

FILE_DESCRIPTOR = (
    "AQAEgBQAAAAkAAAAAAAAADAAAAABAgAAAAAABSAAAAAgAgAAAQEAAAAAAAUSAAAAAgBMAAMAAAAAABgA/wEfAAECAAAAAAAFIAAAACAC"
    "AAAAABQA/wEfAAEBAAAAAAAFEgAAAAAAGACpABIAAQIAAAAAAAUgAAAAIQIAAA=="
)


def test_a_layer_has_its_hives_and_its_files():
    data, _ = packed([folder("app"), file("app/tool.exe", b"MZ")])
    found = members(data)
    assert list(found) == ["Hives", "Files", "Files/app", "Files/app/tool.exe"]
    assert [oct(each.mode) for each in found.values()] == ["0o40755"] * 3 + ["0o100644"]
    assert all(each.mtime == NOW for each in found.values())
    assert found["Hives"].pax_headers == {
        "LIBARCHIVE.creationtime": str(NOW),
        "MSWINDOWS.fileattr": "16",
    }
    assert found["Files"].pax_headers == found["Files/app"].pax_headers
    assert found["Files/app/tool.exe"].pax_headers == {
        "LIBARCHIVE.creationtime": str(NOW),
        "MSWINDOWS.fileattr": "32",
        "MSWINDOWS.rawsd": FILE_DESCRIPTOR,
    }
    assert len(found["Files/app"].pax_headers["MSWINDOWS.rawsd"]) == 288


def test_the_bytes_of_a_small_layer():
    data, result = packed([file("a.txt", b"x")])
    # A PAX header, its records and the entry, three times; the content; the end.
    assert len(data) == 512 * (3 * 3 + 1 + 2)
    assert data[0:100].rstrip(b"\0") == b"PaxHeaders.0/Hives"
    assert data[512:].startswith(
        b"38 LIBARCHIVE.creationtime=1700000000\n25 MSWINDOWS.fileattr=16\n"
    )
    assert data[1024:1124].rstrip(b"\0") == b"Hives/"
    assert data[1024 + 100 : 1024 + 108] == b"0040755\0"
    assert data[1024 + 156 : 1024 + 157] == b"5"
    assert result.diff_id == (
        "sha256:55bc402ed8461a2a46675c268153219f0a76df0cec2aab54a9a159d29a63aa8e"
    )


def test_the_bytes_of_a_layer_with_everything():
    own = {
        "LIBARCHIVE.creationtime": b"1619524800.000005",
        "MSWINDOWS.fileattr": b"22",
        "MSWINDOWS.rawsd": records.from_sddl("O:SYG:SYD:PAI(A;OICI;FA;;;SY)"),
        "MSWINDOWS.xattr.$EA": b"AAA=",
        "mtime": f"{NOW}.5".encode(),
    }
    junction = (("MSWINDOWS.fileattr", b"1040"), ("MSWINDOWS.mountpoint", b"1"))
    changes = [
        folder("Windows", own),
        Change("Windows/gone.dll", None),
        file("Windows/a.dll", b"MZ", own),
        Change("Windows/a.dll:s", Meta(STREAM, 0, size=1), Inline(b"s")),
        Change("b.dll", Meta(HARDLINK, 0o644, link="Windows/a.dll")),
        Change("j", Meta(SYMLINK, 0o777, mtime=NOW, link="/Windows", xattrs=junction)),
        Change("l", Meta(SYMLINK, 0o777, mtime=NOW, link="Windows/a.dll")),
    ]
    data, _ = packed(changes, NOW + 1)
    assert list(members(data)) == [
        *("Hives", "Files", "Files/Windows", "Files/Windows/.wh.gone.dll", "Files/Windows/a.dll"),
        *("Files/Windows/a.dll:s", "Files/b.dll", "Files/j", "Files/l"),
    ]
    assert hashlib.sha256(data).hexdigest() == (
        "661541422d5c8d11c79a1004ecafdc074835fbbf8593840dc07017ee7bca9c67"
    )
    assert packed(reversed(changes), NOW + 1)[0] == data


def test_an_empty_layer_is_one_too():
    data, _ = packed([])
    assert list(members(data)) == ["Hives", "Files"]
    assert packed([])[0] == data


def test_links_lead_where_windows_looks_for_them():
    found = members(
        packed(
            [
                file("a.txt", b"x"),
                Change("b.txt", Meta(HARDLINK, 0o644, link="a.txt")),
                Change("c", Meta(SYMLINK, 0o777, link="a.txt")),
                Change("d", Meta(SYMLINK, 0o777, link="../up/a.txt")),
                Change("e", Meta(SYMLINK, 0o777, link="/ProgramData/x")),
                Change("f", Meta(SYMLINK, 0o777, link="D:/other/drive")),
            ]
        )[0]
    )
    assert found["Files/b.txt"].linkname == "Files/a.txt"
    assert found["Files/b.txt"].pax_headers == {}
    assert found["Files/b.txt"].mode == 0o644
    targets = [found[f"Files/{name}"].linkname for name in "cdef"]
    assert targets == ["a.txt", "../up/a.txt", "C:/ProgramData/x", "D:/other/drive"]
    assert found["Files/c"].pax_headers["MSWINDOWS.fileattr"] == str(0x420)
    assert found["Files/c"].mode == 0o120777


def test_a_deletion_is_an_empty_file_before_what_lies_beside_it():
    found = members(packed([folder("d"), file("d/a"), Change("d/z", None)])[0])
    assert list(found)[2:] == ["Files/d", "Files/d/.wh.z", "Files/d/a"]
    assert found["Files/d/.wh.z"].pax_headers == {}
    assert found["Files/d/.wh.z"].size == 0


def test_streams_follow_their_file_at_once():
    def stream(path):
        return Change(path, Meta(STREAM, 0, size=1), Inline(b"s"))

    changes = [
        *(file("a"), file("a.b"), file("a b"), stream("a:y"), stream("a:x")),
        *(folder("d"), file("d/f"), Change("d/gone", None), stream("d:s")),
    ]
    found = members(packed(changes)[0])
    assert list(found)[2:] == [
        *("Files/a", "Files/a:x", "Files/a:y", "Files/a b", "Files/a.b"),
        *("Files/d", "Files/d:s", "Files/d/.wh.gone", "Files/d/f"),
    ]
    assert found["Files/a:x"].pax_headers == {}


def test_what_was_read_is_written_again():
    own = {
        "LIBARCHIVE.creationtime": b"1619524800.000005",
        "MSWINDOWS.fileattr": b"6",
        "MSWINDOWS.mountpoint": b"1",
        "MSWINDOWS.rawsd": records.from_sddl("O:S-1-5-80"),
        "MSWINDOWS.xattr.$KERNEL.X": b"AAA=",
        "atime": b"1700000001.5",
        "ctime": b"1700000002",
        "mtime": f"{NOW}.1234567".encode(),
    }
    found = members(packed([folder("d", own)])[0])["Files/d"]
    assert found.pax_headers == {name: value.decode() for name, value in own.items()}
    assert found.mtime == pytest.approx(NOW + 0.1234567)


def test_no_time_is_later_than_the_epoch():
    own = {
        "LIBARCHIVE.creationtime": b"1800000000.5",
        "atime": b"1600000000.5",
        "mtime": f"{NOW}.5".encode(),
    }
    changes = [folder("d", own), file("d/f")]
    found = members(packed(changes, epoch=NOW - 10)[0])
    assert {each.mtime for each in found.values()} == {NOW - 10}
    assert {each.pax_headers["LIBARCHIVE.creationtime"] for each in found.values()} == {
        str(NOW - 10)
    }
    assert found["Files/d"].pax_headers["atime"] == "1600000000.5"
    assert packed(changes, epoch=NOW - 10)[0] == packed(changes, epoch=NOW - 10)[0]


def test_a_fraction_goes_with_the_second_it_belongs_to():
    own = {"mtime": f"{NOW - 1}.75".encode()}
    found = members(packed([file("f", b"", own)])[0])["Files/f"]
    assert "mtime" not in found.pax_headers
    assert found.mtime == NOW


def test_attributes_and_owners_of_linux_stay_behind():
    meta = Meta(FILE, 0o4755, 1000, 1000, xattrs=(("security.capability", b"x"), ("user.a", b"y")))
    found = members(packed([Change("f", meta)])[0])["Files/f"]
    assert (found.uid, found.gid) == (0, 0)
    assert set(found.pax_headers) == {
        *("LIBARCHIVE.creationtime", "MSWINDOWS.fileattr", "MSWINDOWS.rawsd")
    }


@pytest.mark.parametrize(
    ("changes", "what", "reason"),
    [
        ([file("app/aux.txt")], "app/aux.txt", '"aux.txt" is the name of a device'),
        ([file("a:b")], "a:b", "data stream"),
        ([file("d/x.")], "d/x.", "dot or space"),
        ([file("a?")], "a?", "?"),
        ([file("Lib"), file("lib")], "lib", 'from "Lib" in capital letters only'),
        ([folder("D"), file("D/x"), file("d/X")], "d/X", 'from "D/x"'),
        ([Change("null", Meta(CHARACTER, 0o666, major=1, minor=3))], "null", "device or pipe"),
        ([Change("d", Meta(DIRECTORY, 0o755), opaque=True)], "d", "hides what is below"),
        ([Change("l", Meta(SYMLINK, 0o777, link="a/b|c"))], "l", 'in its target, "b|c"'),
        ([Change("gone?", None)], "gone?", "?"),
    ],
)
def test_refuses_what_windows_cannot_have(changes, what, reason):
    with pytest.raises(LayerError) as caught:
        packed(changes)
    assert str(caught.value).startswith(f'"{what}"')
    assert reason in str(caught.value)


@pytest.mark.parametrize(("seconds", "expected"), [(0, "0"), (-1, "-1"), (1 << 33, str(1 << 33))])
def test_times_of_every_age(seconds, expected):
    found = members(packed([file("f", mtime=seconds)])[0])["Files/f"]
    assert found.pax_headers["LIBARCHIVE.creationtime"] == expected
    assert found.mtime == seconds


# -- there and back

NAMES = st.text(
    st.characters(codec="utf-8", exclude_characters='<>:"/\\|?*.', exclude_categories=["C", "Z"]),
    min_size=1,
    max_size=12,
).map(lambda name: f"n{name}x")
RECORDS = st.fixed_dictionaries(
    {},
    optional={
        "MSWINDOWS.fileattr": st.integers(0, 0xFFFF).map(lambda bits: b"%d" % bits),
        "MSWINDOWS.rawsd": st.integers(0, 9).map(lambda n: records.from_sddl(f"O:S-1-5-{n}")),
        "MSWINDOWS.xattr.A": st.binary(max_size=40).map(base64.b64encode),
        "LIBARCHIVE.creationtime": st.sampled_from([b"1.5", b"12", b"-3", b"x", b"1700000000.0"]),
        "mtime": st.sampled_from([b"1700000000.25", b"1.5", b"2", b""]),
        "atime": st.sampled_from([b"1600000000.000001", b"bad"]),
        "user.linux": st.binary(max_size=4),
    },
)


@st.composite
def layers(draw):
    paths = draw(st.lists(NAMES, max_size=6, unique_by=lambda name: name.casefold()))
    changes = []
    for path in paths:
        xattrs = tuple(sorted(draw(RECORDS).items()))
        kind = draw(st.sampled_from([FILE, DIRECTORY, SYMLINK, None]))
        mtime = draw(st.sampled_from([NOW, NOW + 5, 1, -7]))
        if kind is None:
            changes.append(Change(path, None))
        elif kind == FILE:
            data = draw(st.binary(max_size=20))
            meta = Meta(FILE, 0o640, 7, 7, len(data), mtime, xattrs=xattrs)
            changes.append(Change(path, meta, Inline(data) if data else None))
            if data and draw(st.booleans()):
                changes.append(Change(f"{path}:s", Meta(STREAM, 0, size=2), Inline(b"ss")))
        else:
            link = draw(st.sampled_from(["/a/b", "../c", "d"])) if kind == SYMLINK else ""
            changes.append(Change(path, Meta(kind, 0o755, mtime=mtime, link=link, xattrs=xattrs)))
    return changes


@given(layers(), st.sampled_from([None, NOW + 1]))
def test_what_is_packed_is_what_is_read(changes, epoch):
    data, result = packed(changes, epoch)
    assert tuple(scan(io.BytesIO(data), read=read_files)) == result.entries
    again, _ = packed(
        [
            Change(
                entry.path,
                entry.meta,
                Inline(data[entry.offset : entry.offset + entry.meta.size])
                if entry.meta and entry.meta.size
                else None,
            )
            for entry in result.entries
        ],
        epoch,
    )
    assert again == data


def test_every_record_that_is_kept_is_known_to_the_format():
    assert records.keep({b"SCHILY.xattr.user.a": b"1", b"comment": b"2", b"path": b"p"}, "f") == ()
