"""`read_entries`: every format in use is read, and what readers disagree about is refused."""

import io
import os
import shutil
import subprocess
import tarfile

import pytest
from rawtar import (
    BLOCK,
    CHARACTER,
    CONTIGUOUS,
    DIRECTORY,
    FIFO,
    GLOBAL,
    GNU,
    HARDLINK,
    LONG_LINK,
    SPARSE,
    SYMLINK,
    V7,
    archive,
    base256,
    entry,
    header,
    long_name,
    pax,
    raw_pax,
)

from wcbuild.errors import UnsafeArchiveError
from wcbuild.layer import changes
from wcbuild.layer.changes import Meta
from wcbuild.layer.tar import read_entries
from wcbuild.layer.tar.format import MAX_PAX_BYTES


def entries(data):
    return [(e.path, e.meta, e.read()) for e in read_entries(io.BytesIO(data))]


def one(*parts):
    ((path, meta, data),) = entries(archive(*parts))
    return path, meta, data


def refusal(*parts, end=bytes(1024)):
    with pytest.raises(UnsafeArchiveError) as caught:
        entries(archive(*parts, end=end))
    assert "\n" not in str(caught.value)
    return str(caught.value)


class Trickle(io.RawIOBase):
    """A stream that gives a few bytes at a time, as sockets do."""

    def __init__(self, data):
        self._data = io.BytesIO(data)

    def read(self, size=-1):
        return self._data.read(min(size, 7))


def test_reads_all_kinds():
    got = entries(
        archive(
            entry("d/", kind=DIRECTORY, mode=0o40755),
            entry("f", b"abc", mode=0o104755, uid=1000, gid=100, mtime=12345),
            entry("h", kind=HARDLINK, link="./f"),
            entry("s", kind=SYMLINK, link="../f", mode=0o777),
            entry("c", kind=CHARACTER, major=1, minor=3),
            entry("b", kind=BLOCK, major=8, minor=1),
            entry("p", kind=FIFO),
            entry("7", b"x", kind=CONTIGUOUS),
            entry("0", b"y", kind=b"\0", magic=V7),
            entry("old/", kind=b"\0", magic=V7),
        )
    )
    assert got == [
        ("d", Meta(changes.DIRECTORY, 0o755), b""),
        ("f", Meta(changes.FILE, 0o4755, 1000, 100, 3, 12345), b"abc"),
        ("h", Meta(changes.HARDLINK, 0o644, link="f"), b""),
        ("s", Meta(changes.SYMLINK, 0o777, link="../f"), b""),
        ("c", Meta(changes.CHARACTER, 0o644, major=1, minor=3), b""),
        ("b", Meta(changes.BLOCK, 0o644, major=8, minor=1), b""),
        ("p", Meta(changes.FIFO, 0o644), b""),
        ("7", Meta(changes.FILE, 0o644, size=1), b"x"),
        ("0", Meta(changes.FILE, 0o644, size=1), b"y"),
        ("old", Meta(changes.DIRECTORY, 0o644), b""),
    ]


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("/a/b", "a/b"),
        ("./a", "a"),
        (".//./a//b/.", "a/b"),
        ("...", "..."),
        (".hidden/..x", ".hidden/..x"),
        ("a\\..\\b", "a\\..\\b"),
        ("new\nline", "new\nline"),
        (b"\xff\xfe", "\udcff\udcfe"),
    ],
)
def test_makes_names_relative_to_the_root(name, path):
    assert one(entry(name, b"x"))[0] == path


def test_the_root_itself_is_the_empty_path():
    for name in (".", "./", "/", "//.//"):
        assert one(entry(name, kind=DIRECTORY))[0] == ""


def test_joins_the_ustar_prefix():
    assert one(entry("b", prefix="a/x"))[0] == "a/x/b"


def test_gnu_and_v7_headers_have_no_prefix():
    assert one(entry("b", prefix=b"\x31\x32", magic=GNU))[0] == "b"
    assert one(entry("b", prefix="junk", magic=V7))[0] == "b"


def test_reads_gnu_long_names():
    name = "long/" * 100 + "name"
    target = "target/" * 50 + "x"
    got = one(
        long_name(target, LONG_LINK),
        long_name(name),
        entry(name[:100], kind=SYMLINK, link=target[:100], magic=GNU),
    )
    assert (got[0], got[1].link) == (name, target)


def test_reads_base_256_numbers():
    _, meta, _ = one(entry("f", uid=base256(4_000_000_000, 8), mtime=base256(-100, 12), magic=GNU))
    assert (meta.uid, meta.mtime) == (4_000_000_000, -100)
    _, meta, data = one(entry("f", b"abc", size=base256(3, 12), magic=GNU))
    assert (meta.size, data) == (3, b"abc")


def test_reads_numbers_padded_with_spaces_and_empty_ones():
    _, meta, _ = one(
        entry("f", b"a", mode=b"   644 \0", size=b"          1 ", uid=b"", gid=b"     ")
    )
    assert (meta.mode, meta.size, meta.uid, meta.gid) == (0o644, 1, 0, 0)


def test_reads_pax_records():
    capability = b"\1\0\0\2=\n" + bytes(14)
    path, meta, _ = one(
        pax(
            path="né/" * 90 + "f",
            uid="3000000000",
            gid="7",
            mtime="1700000000.999999999",
            atime="1",
            comment="hello=there",
            SCHILY__xattr__user__note="x",
            SCHILY__xattr__security__capability=capability,
        ),
        entry("short"),
    )
    assert path == "né/" * 90 + "f"
    assert (meta.uid, meta.gid, meta.mtime) == (3_000_000_000, 7, 1_700_000_000)
    assert meta.xattrs == (("security.capability", capability), ("user.note", b"x"))


@pytest.mark.parametrize(
    ("text", "seconds"), [("-5", -5), ("-5.5", -6), ("-0.1", -1), ("1.", 1), (".5", 0)]
)
def test_times_are_whole_seconds_towards_the_past(text, seconds):
    assert one(pax(mtime=text), entry("f"))[1].mtime == seconds


def test_pax_speaks_for_one_entry_only():
    got = entries(archive(pax(path="long", uid="5"), entry("a"), entry("b")))
    assert [(path, meta.uid) for path, meta, _ in got] == [("long", 5), ("b", 0)]


def test_empty_pax_values_mean_nothing():
    assert one(pax(path="", linkpath="", uid="", mtime=""), entry("a", uid=3))[1].uid == 3


def test_global_headers_with_comments_are_passed_over():
    assert one(pax(GLOBAL, comment="0123456789abcdef"), entry("a"))[0] == "a"


def test_leaves_out_attributes_that_belong_to_file_systems_and_machines():
    records = {
        f"SCHILY__xattr__{name}": "x"
        for name in (
            "trusted__overlay__opaque",
            "user__overlay__opaque",
            "security__selinux",
            "security__ima",
            "system__posix_acl_access",
        )
    }
    assert one(pax(**records, SCHILY__xattr__user__keep="y"), entry("a"))[1].xattrs == (
        ("user.keep", b"y"),
    )


def test_content_can_be_left_alone_read_whole_or_in_blocks(tmp_path):
    big = os.urandom(3_000_000)
    data = archive(entry("a", b"1" * 700), entry("b", big), entry("c", big), entry("d", b"end"))
    for stream in (io.BytesIO(data), Trickle(data)):
        got = {}
        for each in read_entries(stream):
            assert data[each.offset : each.offset + each.meta.size] in {
                b"1" * 700,
                big,
                b"end",
            }
            if each.path == "b":
                got["b"] = b"".join(each.blocks())
            elif each.path == "d":
                got["d"] = each.read()
                assert each.read() == b""
        assert got == {"b": big, "d": b"end"}


def test_reads_the_stream_to_its_end():
    stream = io.BytesIO(archive(entry("a", b"x")) + bytes(100_000) + b"junk")
    list(read_entries(stream))
    assert stream.read() == b""


@pytest.mark.parametrize("end", [b"", bytes(512), bytes(1024), bytes(10240)])
def test_an_archive_may_end_with_or_without_blocks_of_zeros(end):
    assert len(entries(archive(entry("a"), entry("b", b"x"), end=end))) == 2


def test_agrees_with_gnu_tar_and_tarfile_about_their_own_archives(tmp_path):
    tree = tmp_path / "tree"
    (tree / ("d" * 120) / ("e" * 120)).mkdir(parents=True)
    (tree / ("d" * 120) / ("e" * 120) / "f").write_bytes(b"content")
    (tree / "ünï").write_bytes(b"x" * 5000)
    (tree / "link").symlink_to("t" * 150)
    os.link(tree / "ünï", tree / "hard")
    expected = sorted(
        os.path.relpath(os.path.join(base, name), tree)
        for base, folders, files in os.walk(tree)
        for name in folders + files
    )
    archives = []
    for kind in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=kind) as file:
            file.add(tree, arcname=".")
        archives.append(out.getvalue())
    if shutil.which("tar"):
        archives += [
            subprocess.run(
                ["tar", "-C", str(tree), f"--format={kind}", "-cf", "-", "."],
                capture_output=True,
                check=True,
            ).stdout
            for kind in ("gnu", "oldgnu", "posix")
        ]
    for data in archives:
        got = entries(data)
        assert sorted(path for path, _, _ in got if path) == expected
        with tarfile.open(fileobj=io.BytesIO(data)) as file:
            for (_, meta, _), member in zip(got, file.getmembers(), strict=True):
                assert meta.mtime == int(member.mtime)
                assert meta.mode == member.mode
                assert meta.size == member.size


def test_names_in_messages_are_printable_and_short():
    message = refusal(entry("\x1b[31m\n../" + "x" * 80 + "/../b"))
    assert message.startswith(r'entry "\x1b[31m\n../xxx')
    assert len(refusal(pax(path="../" + "y/" * 2000), entry("a"))) < 400


class TestTruncation:
    whole = archive(
        pax(path="p/" * 150 + "q", SCHILY__xattr__user__x="y" * 2000),
        entry("a", b"x" * 3000),
        end=b"",
    )

    @pytest.mark.parametrize(
        "kept", [1, 511, 513, 1000, 2559, 3100, 3584, 3585, 6000, len(whole) - 1]
    )
    def test_is_noticed_wherever_it_is(self, kept):
        with pytest.raises(UnsafeArchiveError, match="is truncated"):
            entries(self.whole[:kept])

    def test_is_noticed_after_an_extended_header(self):
        assert "is truncated" in refusal(pax(path="x"), end=b"")
        assert "is truncated" in refusal(long_name("x"))

    def test_is_noticed_at_once_when_the_size_is_a_lie(self):
        assert "is truncated" in refusal(entry("a", b"x", size=0o77777777777))
        assert "is truncated" in refusal(entry("a", b"x", size=base256((1 << 63) - 1, 12)))

    def test_is_noticed_while_blocks_are_read(self):
        (raw,) = [next(read_entries(io.BytesIO(entry("a", b"x" * 10, size=5000))))]
        with pytest.raises(UnsafeArchiveError, match='"a" is truncated'):
            list(raw.blocks())


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ([b"\x1f\x8b" + bytes(510)], "not a tar header"),
        ([os.urandom(512)], "not a tar header"),
        ([entry("a", checksum=b"0000000\0")], "not a tar header"),
        ([entry("a", mode=b"0000-44\0")], "not a tar header"),
        ([entry("a", uid=b"0_1\0")], "not a tar header"),
        ([entry("a", size=b"9\0")], "not a tar header"),
        ([entry("a", size=base256(-1, 12))], "size of -1"),
        ([entry("a", size=base256(1 << 70, 12))], "cannot have"),
        ([entry("a", uid=base256(-1, 8))], "no user"),
        ([entry("a", uid=base256(1 << 32, 8))], "no user"),
        ([entry("a", mtime=base256(1 << 80, 12))], "no time"),
        ([entry("a", kind=b"Z")], 'unknown type "Z"'),
        ([entry("a", kind=CHARACTER, major=base256(1 << 40, 8))], "device number"),
        ([entry("a", kind=CHARACTER, minor=b"?")], "no device number"),
        ([entry("a", kind=SYMLINK)], "symlink"),
        ([raw_pax(b"7 a=b\n"), entry("a")], "damaged extended header"),
        ([raw_pax(b"a=b\n"), entry("a")], "damaged extended header"),
        ([raw_pax(b"99999999 a=b\n"), entry("a")], "damaged extended header"),
        ([raw_pax(b"5 =b\n"), entry("a")], "damaged extended header"),
        ([raw_pax(b"6 a=b "), entry("a")], "damaged extended header"),
        ([raw_pax(b"-6 a=b\n"), entry("a")], "damaged extended header"),
        ([raw_pax(b"0 a=b\n"), entry("a")], "damaged extended header"),
        ([pax(uid="-1"), entry("a")], "uid that is no number"),
        ([pax(size="1e3"), entry("a")], "size that is no number"),
        ([pax(size="9" * 30), entry("a")], "size that is no number"),
        ([pax(mtime="now"), entry("a")], "time that is no number"),
        ([pax(mtime="9" * 25), entry("a")], "time that is no number"),
        ([pax(path="a\0b"), entry("a")], "zero byte"),
        ([pax(linkpath="a\0b"), entry("a", kind=SYMLINK, link="x")], "symlink"),
        ([pax(path="a" * 5000), entry("a")], "too long"),
        ([pax(path="a/" * 2049), entry("a")], "too long"),
        ([pax(path="a" * 256), entry("a")], "too long"),
        ([pax(linkpath="a" * 4096), entry("a", kind=SYMLINK, link="x")], "symlink"),
        ([header("x", kind=b"x", size=MAX_PAX_BYTES + 1)], "at most 1048576"),
        ([header("x", kind=b"L", size=0o77777777777, magic=GNU)], "at most 1048576"),
    ],
)
def test_refuses_what_is_damaged_or_beyond_a_limit(parts, reason):
    assert reason in refusal(*parts)


@pytest.mark.parametrize(
    "parts",
    [
        [entry("a", kind=SPARSE, magic=GNU)],
        [pax(GNU__sparse__major="1", GNU__sparse__minor="0"), entry("a")],
        [pax(GNU__sparse__map="0,1"), entry("a")],
    ],
)
def test_refuses_sparse_files_and_says_what_helps(parts):
    assert "without --sparse" in refusal(*parts)


def test_refuses_gnu_tars_sparse_archives(tmp_path):
    if shutil.which("tar") is None:
        pytest.skip("needs GNU tar")
    with open(tmp_path / "holes", "wb") as file:
        file.seek(10_000_000)
        file.write(b"x")
    for kind in ("gnu", "posix"):
        made = subprocess.run(
            ["tar", "-C", str(tmp_path), "-S", f"--format={kind}", "-cf", "-", "holes"],
            capture_output=True,
            check=True,
        )
        with pytest.raises(UnsafeArchiveError, match="without --sparse"):
            entries(made.stdout)


def test_a_checksum_of_signed_bytes_is_taken():
    block = bytearray(header(b"\xe9" * 10))
    block[148:156] = b" " * 8
    total = sum(byte - 256 if byte > 127 else byte for byte in block)
    block[148:156] = b"%06o\0 " % total
    assert one(bytes(block))[0] == "\udce9" * 10


def test_star_headers_have_a_shorter_prefix():
    block = bytearray(header("name", prefix=b"p" * 131 + b"00000000000 00000000000"))
    block[508:512] = b"tar\0"
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    assert one(bytes(block))[0] == "p" * 131 + "/name"


def test_the_ustar_size_may_be_useless_when_pax_has_one_too_large_for_it():
    stream = io.BytesIO(archive(pax(size=str(9 << 30)), entry("a", size=0), end=b""))
    assert next(read_entries(stream)).meta.size == 9 << 30
