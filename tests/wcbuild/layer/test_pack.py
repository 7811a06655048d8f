"""`pack`: changes become a deterministic tar that everybody reads alike."""

import hashlib
import io
import os
import shutil
import subprocess
import tarfile

import pytest

from wcbuild.errors import ContextChangedError, LayerError
from wcbuild.layer.changes import (
    BLOCK,
    CHARACTER,
    DIRECTORY,
    FIFO,
    FILE,
    HARDLINK,
    SYMLINK,
    BlobRange,
    Change,
    HostFile,
    Inline,
    Meta,
)
from wcbuild.layer.pack import pack

MEBIBYTE = 1 << 20


def packed(*changes, epoch=None):
    """Return the tar's bytes and what `pack` says of them, having checked that the two agree."""
    out = io.BytesIO()
    result = pack(changes, out, epoch=epoch)
    data = out.getvalue()
    assert result.size == len(data)
    assert result.diff_id == "sha256:" + hashlib.sha256(data).hexdigest()
    return data, result


def members(data):
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return archive.getmembers()


def names(data):
    return [member.name for member in members(data)]


def folder(path, **fields):
    return Change(path, Meta(DIRECTORY, fields.pop("mode", 0o755), **fields))


def file(path, data=b"", **fields):
    mode = fields.pop("mode", 0o644)
    return Change(path, Meta(FILE, mode, size=len(data), **fields), Inline(data))


def link(path, target):
    return Change(path, Meta(HARDLINK, 0o644, link=target))


def test_no_changes_are_the_empty_layer_everybody_knows():
    data, result = packed()
    assert data == bytes(1024)
    assert result.diff_id == (
        "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"
    )
    assert result.entries == ()


def test_is_deterministic_whatever_the_order_of_changes():
    changes = [folder("a"), file("a/b", b"1"), file("a-b", b"2"), folder("z"), Change("y", None)]
    assert packed(*changes)[0] == packed(*reversed(changes))[0]


def test_orders_names_in_byte_order_with_subtrees_behind_their_parents():
    data, _ = packed(
        file("a-b"),
        file("a/x/y"),
        folder("a"),
        folder("a/x"),
        file("a/x.z"),
        file("\udcff"),
        file("é"),
    )
    assert names(data) == ["a", "a/x", "a/x/y", "a/x.z", "a-b", "é", "\udcff"]


def test_puts_whiteouts_before_their_siblings():
    data, result = packed(folder("d"), file("d/a"), Change("d/z", None), Change("b", None))
    assert names(data) == [".wh.b", "d", "d/.wh.z", "d/a"]
    assert [(e.path, e.meta is None) for e in result.entries] == [
        ("b", True),
        ("d", False),
        ("d/z", True),
        ("d/a", False),
    ]


def test_whiteouts_are_empty_files_of_nobody_and_no_time():
    (marker,) = members(packed(Change("gone", None))[0])
    assert (marker.mode, marker.uid, marker.gid, marker.size, marker.mtime) == (0, 0, 0, 0, 0)
    assert marker.isreg()


def test_puts_the_opaque_marker_right_behind_its_directory():
    data, result = packed(
        Change("d", Meta(DIRECTORY, 0o755), opaque=True), Change("d/x", None), file("d/.a")
    )
    assert names(data) == ["d", "d/.wh..wh..opq", "d/.wh.x", "d/.a"]
    assert result.entries[0].opaque


def test_does_not_invent_parents():
    assert names(packed(file("a/b/c"))[0]) == ["a/b/c"]


def test_writes_directories_with_a_slash_and_the_root_as_dot():
    data, _ = packed(folder("", mode=0o700), folder("d"))
    assert data.startswith(b"./\0")
    assert data[512:].startswith(b"d/\0")


def test_clamps_times_to_the_epoch():
    data, result = packed(file("new", mtime=2000), file("old", mtime=500), epoch=1000)
    assert [member.mtime for member in members(data)] == [1000, 500]
    assert [entry.meta.mtime for entry in result.entries] == [1000, 500]


def test_keeps_all_metadata_as_others_read_it():
    data, _ = packed(
        file("f", b"x", mode=0o4755, uid=1000, gid=100, mtime=1_700_000_000),
        Change("l", Meta(SYMLINK, 0o777, link="../t")),
        Change("p", Meta(FIFO, 0o600)),
        Change("c", Meta(CHARACTER, 0o666, major=1, minor=3)),
        Change("b", Meta(BLOCK, 0o660, gid=6, major=8, minor=17)),
    )
    got = {member.name: member for member in members(data)}
    f = got["f"]
    assert (f.mode, f.uid, f.gid, f.size, f.mtime) == (0o4755, 1000, 100, 1, 1_700_000_000)
    assert (f.uname, f.gname, f.pax_headers) == ("", "", {})
    assert (got["l"].issym(), got["l"].linkname) == (True, "../t")
    assert got["p"].isfifo()
    assert (got["c"].ischr(), got["c"].devmajor, got["c"].devminor) == (True, 1, 3)
    assert (got["b"].isblk(), got["b"].devmajor, got["b"].devminor) == (True, 8, 17)


def test_splits_long_names_as_ustar_does_and_uses_pax_beyond():
    short = "d" * 99
    data, _ = packed(
        file(f"{short}/{'f' * 100}"),
        file("f" * 101),
        file(f"{'a/' * 100}{'é' * 20}"),
        Change("l", Meta(SYMLINK, 0o777, link="t" * 101)),
    )
    got = members(data)
    assert [sorted(member.pax_headers) for member in got] == [["path"], [], ["path"], ["linkpath"]]
    assert {m.name for m in got} == {
        f"{short}/{'f' * 100}",
        "f" * 101,
        f"{'a/' * 100}{'é' * 20}",
        "l",
    }
    assert got[3].linkname == "t" * 101


def test_uses_pax_for_numbers_that_octal_digits_do_not_hold():
    data, _ = packed(file("f", uid=0o10000000, gid=4_000_000_000, mtime=-5))
    (member,) = members(data)
    assert (member.uid, member.gid, member.mtime) == (0o10000000, 4_000_000_000, -5)


def test_stores_extended_attributes_with_any_bytes():
    capability = b"\1\0\0\2\0\x20\0\0=\n" + bytes(10)
    data, _ = packed(file("f", b"x", xattrs=(("security.capability", capability),)))
    assert b"SCHILY.xattr.security.capability=" + capability + b"\n" in data
    (member,) = members(data)
    assert list(member.pax_headers) == ["SCHILY.xattr.security.capability"]


def test_keeps_names_that_are_not_utf8_byte_by_byte():
    data, _ = packed(file("caf\udce9"))
    assert b" path=caf\xe9\n" in data
    assert names(data) == ["caf\udce9"]


def test_the_first_path_of_hard_links_is_the_file():
    data, result = packed(
        file("m", b"content", mode=0o600),
        link("z", "m"),
        link("b", "z"),
        link("n", "m"),
        folder("a"),
    )
    got = [(m.name, m.isreg(), m.linkname) for m in members(data) if not m.isdir()]
    assert got == [("b", True, ""), ("m", False, "b"), ("n", False, "b"), ("z", False, "b")]
    assert {m.mode for m in members(data) if not m.isdir()} == {0o600}
    assert [e.meta.kind for e in result.entries] == [DIRECTORY, FILE, HARDLINK, HARDLINK, HARDLINK]


@pytest.mark.parametrize(
    "changes",
    [
        [link("a", "b")],
        [link("a", "b"), link("b", "a")],
        [link("a", "a")],
        [link("a", "b"), Change("b", None)],
    ],
)
def test_rejects_a_hard_link_that_leads_to_no_file_of_the_layer(changes):
    with pytest.raises(LayerError, match="not in the same layer"):
        packed(*changes)


def test_rejects_a_path_that_is_there_twice():
    with pytest.raises(LayerError, match=r'"a".*twice'):
        packed(file("a"), Change("a", None))


@pytest.mark.parametrize("path", [".wh.a", "d/.wh..wh..opq", ".wh.d/f"])
def test_rejects_names_that_would_be_deletions(path):
    with pytest.raises(LayerError, match="deletion"):
        packed(file(path))


@pytest.mark.parametrize(
    "path", ["..", "../x", "d/../x", "d/..", ".", "./x", "d/./x", "/x", "d//x"]
)
@pytest.mark.parametrize("deleted", [False, True])
def test_rejects_paths_that_lead_elsewhere(path, deleted):
    with pytest.raises(LayerError, match="is not the path of a file"):
        packed(Change(path, None) if deleted else file(path))


def test_takes_names_that_begin_with_dots():
    _, found = packed(file(".a"), file("..a"), file("..."), file("d/.b"), file("d/..b"))
    assert len(found.entries) == 5


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (file("a\0b"), "zero byte"),
        (file("x/" * 2048 + "x"), "longer than 4096"),
        (file("x" * 256), "component longer than 255"),
        (file("f", uid=0xFFFFFFFF), "no user"),
        (file("f", uid=-1), "no user"),
        (file("f", xattrs=(("user.a=b", b""),)), "extended attribute"),
        (file("f", xattrs=(("user.a", bytes(MEBIBYTE)),)), "extended attributes"),
        (Change("f", Meta(FILE, 0o644, size=1)), "no content"),
    ],
)
def test_rejects_what_no_reader_would_take_back(change, reason):
    with pytest.raises(LayerError, match=reason):
        packed(change)


@pytest.mark.parametrize(
    "size", [0, 1, 511, 512, 513, 128 * 1024, 128 * 1024 + 1, 5 * MEBIBYTE + 7]
)
def test_reads_content_from_files_blobs_and_memory_alike(tmp_path, size):
    content = os.urandom(size)
    (tmp_path / "whole").write_bytes(content)
    (tmp_path / "part").write_bytes(b"before" + content + b"after")
    meta = Meta(FILE, 0o644, size=size)
    tars = set()
    for source in (
        HostFile(tmp_path / "whole"),
        BlobRange(str(tmp_path / "part"), 6),
        Inline(content),
    ):
        data, result = packed(Change("f", meta, source))
        tars.add(data)
        (entry,) = result.entries
        assert entry.digest == hashlib.sha256(content).hexdigest()
        assert data[entry.offset : entry.offset + size] == content
    assert len(tars) == 1


def test_keeps_the_digests_of_large_and_small_files_apart(tmp_path):
    contents = [os.urandom(n) for n in (3 * MEBIBYTE, 10, 200_000, MEBIBYTE, 0, 9 * MEBIBYTE)]
    changes = []
    for number, content in enumerate(contents):
        (tmp_path / str(number)).write_bytes(content)
        meta = Meta(FILE, 0o644, size=len(content))
        changes.append(Change(str(number), meta, HostFile(tmp_path / str(number))))
    data, result = packed(*changes)
    for entry, content in zip(result.entries, contents, strict=True):
        assert entry.digest == hashlib.sha256(content).hexdigest()
        assert data[entry.offset : entry.offset + len(content)] == content


@pytest.mark.parametrize("size", [100, 300_000])
@pytest.mark.parametrize("difference", [-1, 1])
def test_a_file_that_grew_or_shrank_is_an_error_that_names_it(tmp_path, size, difference):
    (tmp_path / "f").write_bytes(bytes(size + difference))
    with pytest.raises(
        LayerError, match=rf"{tmp_path}/f: changed while it was read: expected {size}"
    ):
        packed(Change("f", Meta(FILE, 0o644, size=size), HostFile(tmp_path / "f")))


@pytest.mark.parametrize("size", [100, 300_000])
def test_a_file_that_may_grow_is_packed_up_to_its_size(tmp_path, size):
    (tmp_path / "f").write_bytes(b"x" * size + b"later")
    content = HostFile(tmp_path / "f", inode=os.stat(tmp_path / "f").st_ino)
    data, result = packed(Change("f", Meta(FILE, 0o644, size=size), content))
    (entry,) = result.entries
    assert entry.digest == hashlib.sha256(b"x" * size).hexdigest()
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        assert archive.extractfile("f").read() == b"x" * size


@pytest.mark.parametrize("size", [100, 300_000])
@pytest.mark.parametrize(("difference", "other"), [(-1, 0), (1, 1)])
def test_a_file_that_may_grow_may_not_shrink_or_be_another_one(tmp_path, size, difference, other):
    (tmp_path / "f").write_bytes(bytes(size + difference))
    content = HostFile(tmp_path / "f", inode=os.stat(tmp_path / "f").st_ino + other)
    with pytest.raises(ContextChangedError, match=rf"{tmp_path}/f.*\.dockerignore"):
        packed(Change("f", Meta(FILE, 0o644, size=size), content))


@pytest.mark.parametrize("size", [100, 300_000])
@pytest.mark.parametrize("becomes", ["nothing", "symlink", "fifo", "directory"])
def test_a_file_that_became_something_else_is_an_error_that_names_it(tmp_path, size, becomes):
    path = tmp_path / "f"
    (tmp_path / "other").write_bytes(bytes(size))
    {
        "nothing": lambda: None,
        "symlink": lambda: path.symlink_to("other"),
        "fifo": lambda: os.mkfifo(path),
        "directory": path.mkdir,
    }[becomes]()
    with pytest.raises(LayerError, match=f"{path}: c"):
        packed(Change("f", Meta(FILE, 0o644, size=size), HostFile(path)))


def test_leaves_no_thread_and_no_open_file_when_the_disk_is_full(tmp_path):
    import threading

    class Full:
        def write(self, data):
            raise OSError(28, "No space left on device")

    (tmp_path / "f").write_bytes(bytes(MEBIBYTE))
    change = Change("f", Meta(FILE, 0o644, size=MEBIBYTE), BlobRange(tmp_path / "f", 0))
    before = threading.active_count(), os.listdir("/proc/self/fd")
    with pytest.raises(OSError, match="No space left"):
        pack([change], Full(), epoch=None)
    assert (threading.active_count(), os.listdir("/proc/self/fd")) == before


@pytest.mark.skipif(shutil.which("tar") is None, reason="needs GNU tar")
def test_gnu_tar_lists_the_same(tmp_path):
    data, _ = packed(
        folder("d", mode=0o1777, uid=7),
        file("d/f", b"abc", mode=0o640, uid=5_000_000, gid=3, mtime=86400),
        link("d/g", "d/f"),
        file("d/" + "long/" * 60 + "n", mtime=1),
        Change("s", Meta(SYMLINK, 0o777, link="d/f")),
        Change("c", Meta(CHARACTER, 0o600, major=5, minor=1)),
    )
    listing = (
        subprocess.run(
            ["tar", "--numeric-owner", "--full-time", "-tvf", "-"],
            input=data,
            capture_output=True,
            check=True,
            env={"TZ": "UTC", "LC_ALL": "C", "PATH": os.environ["PATH"]},
        )
        .stdout.decode()
        .splitlines()
    )
    assert [" ".join(line.split()) for line in listing] == [
        "crw------- 0/0 5,1 1970-01-01 00:00:00 c",
        "drwxrwxrwt 7/0 0 1970-01-01 00:00:00 d/",
        "-rw-r----- 5000000/3 3 1970-01-02 00:00:00 d/f",
        "hrw-r----- 5000000/3 0 1970-01-02 00:00:00 d/g link to d/f",
        f"-rw-r--r-- 0/0 0 1970-01-01 00:00:01 d/{'long/' * 60}n",
        "lrwxrwxrwx 0/0 0 1970-01-01 00:00:00 s -> d/f",
    ]
