"""`apply`: a layer tar becomes files, as other runtimes would unpack it."""

import io
import os
import stat
import subprocess
import sys

import pytest
from rawtar import (
    BLOCK,
    CHARACTER,
    DIRECTORY,
    FIFO,
    HARDLINK,
    SYMLINK,
    archive,
    base256,
    entry,
    pax,
)

from wcbuild.errors import UnsafeArchiveError
from wcbuild.layer.apply import apply

IS_ROOT = os.geteuid() == 0
needs_root = pytest.mark.skipif(not IS_ROOT, reason="needs real root")


@pytest.fixture
def root(tmp_path):
    path = tmp_path / "root"
    path.mkdir()
    return path


def unpack(root, *parts, ownership=False, devices=False):
    apply(io.BytesIO(archive(*parts)), root, ownership=ownership, devices=devices)


def tree(root):
    """Return what is below a directory: kinds, contents and link targets."""
    found = {}
    for base, folders, files in os.walk(root):
        for name in folders + files:
            path = os.path.join(base, name)
            shown = os.path.relpath(path, root)
            mode = os.lstat(path).st_mode
            if stat.S_ISLNK(mode):
                found[shown] = f"-> {os.readlink(path)}"
            elif stat.S_ISDIR(mode):
                found[shown] = "directory"
            elif stat.S_ISFIFO(mode):
                found[shown] = "fifo"
            else:
                with open(path, "rb") as file:
                    found[shown] = file.read()
    return found


def folder(name, **fields):
    return entry(f"{name}/", kind=DIRECTORY, **fields)


def test_unpacks_files_directories_symlinks_and_fifos(root):
    unpack(
        root,
        folder("d"),
        entry("d/f", b"content"),
        entry("d/empty"),
        entry("d/big", b"x" * 3_000_000),
        entry("s", kind=SYMLINK, link="/d/f"),
        entry("p", kind=FIFO),
    )
    assert tree(root) == {
        "d": "directory",
        "d/f": b"content",
        "d/empty": b"",
        "d/big": b"x" * 3_000_000,
        "s": "-> /d/f",
        "p": "fifo",
    }


def test_sets_modes_whatever_the_umask_and_times_to_the_second(root):
    before = os.umask(0o077)
    try:
        unpack(
            root,
            folder("d", mode=0o1777, mtime=111),
            entry("d/f", b"x", mode=0o4755, mtime=222),
            entry("d/p", kind=FIFO, mode=0o666, mtime=333),
            entry("d/s", kind=SYMLINK, link="f", mtime=444),
            entry("implied/f"),
        )
    finally:
        os.umask(before)
    modes = {name: stat.S_IMODE(os.lstat(root / name).st_mode) for name in ("d", "d/f", "d/p")}
    assert modes == {"d": 0o1777, "d/f": 0o4755, "d/p": 0o666}
    times = [os.lstat(root / name).st_mtime_ns for name in ("d", "d/f", "d/p", "d/s")]
    assert times == [seconds * 10**9 for seconds in (111, 222, 333, 444)]
    assert stat.S_IMODE((root / "implied").stat().st_mode) == 0o755


def test_takes_times_far_away(root):
    unpack(root, entry("f", mtime=base256(1 << 60, 12)), entry("g", mtime=base256(-5, 12)))
    assert (root / "g").stat().st_mtime == -5


def test_takes_an_open_directory_as_root(root):
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        apply(io.BytesIO(archive(entry("f", b"x"))), fd, ownership=False, devices=False)
        os.fstat(fd)
    finally:
        os.close(fd)
    assert tree(root) == {"f": b"x"}


def test_an_entry_for_the_root_sets_its_metadata(root):
    unpack(root, folder(".", mode=0o700, mtime=5), entry("f"))
    assert stat.S_IMODE(root.stat().st_mode) == 0o700
    assert root.stat().st_mtime == 5


def test_directories_without_write_permission_can_be_filled(root):
    unpack(root, folder("d", mode=0o555), folder("d/e", mode=0o500), entry("d/e/f", b"x"))
    assert tree(root)["d/e/f"] == b"x"
    assert stat.S_IMODE((root / "d").stat().st_mode) == 0o555


@pytest.mark.parametrize("old", ["file", "directory", "symlink", "fifo", "dangling"])
@pytest.mark.parametrize("new", ["file", "directory", "symlink", "fifo", "hardlink"])
def test_replaces_what_is_in_its_place(root, old, new):
    def put_directory():
        (root / "x/y").mkdir(parents=True)
        (root / "x/y/z").write_bytes(b"old")

    (root / "other").mkdir()
    (root / "other/kept").write_bytes(b"kept")
    {
        "file": lambda: (root / "x").write_bytes(b"old"),
        "directory": put_directory,
        "symlink": lambda: (root / "x").symlink_to("other"),
        "dangling": lambda: (root / "x").symlink_to("nowhere"),
        "fifo": lambda: os.mkfifo(root / "x"),
    }[old]()
    parts, expected = {
        "file": ([entry("x", b"new")], b"new"),
        "directory": ([folder("x")], "directory"),
        "symlink": ([entry("x", kind=SYMLINK, link="t")], "-> t"),
        "fifo": ([entry("x", kind=FIFO)], "fifo"),
        "hardlink": ([entry("x", kind=HARDLINK, link="other/kept")], b"kept"),
    }[new]
    unpack(root, *parts)
    rest = {"x/y": "directory", "x/y/z": b"old"} if old == new == "directory" else {}
    assert tree(root) == {"other": "directory", "other/kept": b"kept", "x": expected, **rest}


def test_replacing_one_of_two_hard_links_leaves_the_other(root):
    (root / "a").write_bytes(b"old")
    os.link(root / "a", root / "b")
    unpack(root, entry("a", b"new"))
    assert tree(root) == {"a": b"new", "b": b"old"}


def test_follows_symlinks_on_the_way_inside_the_root(root):
    (root / "usr/lib").mkdir(parents=True)
    (root / "lib").symlink_to("/usr/lib")
    unpack(root, entry("lib/x", b"1"))
    assert tree(root)["usr/lib/x"] == b"1"
    assert (root / "lib").is_symlink()


def test_a_parent_that_changes_between_entries_is_looked_up_again(root):
    (root / "b").mkdir()
    unpack(
        root,
        entry("a/x", b"1"),
        entry("a", kind=SYMLINK, link="b"),
        entry("a/x", b"2"),
        folder("a"),
        entry("a/x", b"3"),
    )
    assert tree(root) == {"a": "directory", "a/x": b"3", "b": "directory", "b/x": b"2"}


def test_a_directory_that_becomes_a_link_to_itself_is_no_more(root):
    (root / "d").mkdir()
    unpack(
        root,
        folder("e"),
        entry("d/f"),
        entry("e/f"),
        *(entry(name, kind=SYMLINK, link=name) for name in "de"),
    )
    assert tree(root) == {"d": "-> d", "e": "-> e"}


def test_keeps_few_directories_open(root):
    unpack(root, *(entry(f"d{n}/f", b"x") for n in range(3000)))
    assert len(os.listdir(root)) == 3000


def test_makes_deep_directories(root):
    name = "a/" * 1500 + "f"
    unpack(root, pax(path=name), entry("f", b"deep"))
    unpack(root, entry("a", b"flat"))
    assert tree(root) == {"a": b"flat"}


@pytest.mark.parametrize("link", ["d/f", "/d/f", "./d//f"])
def test_hard_links_share_their_file(root, link):
    unpack(root, entry("d/f", b"x", mode=0o600), entry("h", kind=HARDLINK, link=link, mode=0o777))
    assert os.path.samefile(root / "d/f", root / "h")
    assert stat.S_IMODE((root / "h").stat().st_mode) == 0o600


def test_hard_links_reach_into_lower_layers_and_name_symlinks_themselves(root):
    (root / "usr").mkdir()
    (root / "usr/f").write_bytes(b"lower")
    (root / "bin").symlink_to("usr")
    unpack(
        root,
        entry("h", kind=HARDLINK, link="bin/f"),
        entry("s", kind=SYMLINK, link="usr/f"),
        entry("t", kind=HARDLINK, link="s"),
    )
    assert tree(root)["h"] == b"lower"
    assert tree(root)["t"] == "-> usr/f"


def test_a_hard_link_that_is_there_already_stays(root):
    (root / "a").write_bytes(b"x")
    os.link(root / "a", root / "b")
    unpack(root, entry("b", kind=HARDLINK, link="a"), entry("a", kind=HARDLINK, link="a"))
    assert tree(root) == {"a": b"x", "b": b"x"}


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ([entry("h", kind=HARDLINK, link="later"), entry("later")], "which is not there"),
        ([entry("h", kind=HARDLINK, link="no/such")], "which is not there"),
        ([entry("h", kind=HARDLINK, link="h")], "which is not there"),
        ([entry("f"), entry("h", kind=HARDLINK, link="f/x")], "which is not there"),
        ([folder("d"), entry("h", kind=HARDLINK, link="d")], "hard link to a directory"),
        ([entry("f"), entry("f/x")], "not a directory"),
        ([entry("s", kind=SYMLINK, link="nowhere"), entry("s/x")], "symlink to nowhere"),
        ([entry("s", kind=SYMLINK, link="s"), entry("s/x")], "symbolic links"),
    ],
)
def test_refuses_entries_that_have_no_place(root, parts, reason):
    with pytest.raises(UnsafeArchiveError, match=reason):
        unpack(root, *parts)


class TestWhiteouts:
    @pytest.fixture
    def lower(self, root):
        (root / "d/sub").mkdir(parents=True)
        (root / "d/f").write_bytes(b"lower")
        (root / "d/sub/g").write_bytes(b"lower")
        (root / "keep").write_bytes(b"lower")
        (root / "link").symlink_to("keep")
        return root

    def test_delete_files_directories_and_links(self, lower):
        unpack(lower, entry("d/.wh.f"), entry("d/.wh.sub"), entry(".wh.link"))
        assert tree(lower) == {"d": "directory", "keep": b"lower"}

    def test_of_what_is_not_there_mean_nothing(self, lower):
        before = tree(lower)
        unpack(lower, entry("d/.wh.none"), entry("none/.wh.x"), entry("keep/.wh.x"))
        assert tree(lower) == before

    def test_leave_alone_what_the_same_layer_brings(self, lower):
        unpack(
            lower,
            entry("d/sub/new", b"1"),
            entry("d/.wh.sub"),
            entry("keep", b"2"),
            entry(".wh.keep"),
        )
        assert tree(lower) == {
            "d": "directory",
            "d/f": b"lower",
            "d/sub": "directory",
            "d/sub/new": b"1",
            "keep": b"2",
            "link": "-> keep",
        }

    def test_opaque_hides_what_lower_layers_have(self, lower):
        unpack(lower, folder("d"), entry("d/.wh..wh..opq"), entry("d/new", b"1"))
        assert tree(lower) == {"d": "directory", "d/new": b"1", "keep": b"lower", "link": "-> keep"}

    def test_opaque_leaves_alone_what_the_same_layer_brought_before(self, lower):
        unpack(
            lower,
            entry("d/new", b"1"),
            entry("d/sub/deep", b"2"),
            entry("d/out", kind=SYMLINK, link="../"),
            entry("d/.wh..wh..opq"),
        )
        assert tree(lower) == {
            "d": "directory",
            "d/new": b"1",
            "d/sub": "directory",
            "d/sub/deep": b"2",
            "d/out": "-> ../",
            "keep": b"lower",
            "link": "-> keep",
        }

    def test_opaque_root_hides_everything(self, lower):
        unpack(lower, entry(".wh..wh..opq"), entry("new", b"1"))
        assert tree(lower) == {"new": b"1"}

    def test_replace_a_directory_by_a_new_one(self, lower):
        unpack(lower, entry(".wh.d"), folder("d"), entry("d/n", b"1"))
        assert tree(lower)["d/n"] == b"1"
        assert "d/f" not in tree(lower)

    def test_delete_directories_full_of_links_without_following_them(self, lower):
        (lower / "d/sub/out").symlink_to("../../keep")
        (lower / "d/sub/up").symlink_to("../..")
        unpack(lower, entry(".wh.d"))
        assert tree(lower) == {"keep": b"lower", "link": "-> keep"}

    def test_restore_the_time_of_the_directory_around(self, lower):
        os.utime(lower / "d", (1000, 1000))
        os.utime(lower, (2000, 2000))
        unpack(lower, entry("d/.wh.f"), entry("d/sub/x"), entry("y"))
        assert ((lower / "d").stat().st_mtime, lower.stat().st_mtime) == (1000, 2000)


def test_sets_attributes_of_files_and_directories(root):
    try:
        os.setxattr(root, "user.probe", b"")
    except OSError:
        pytest.skip("this file system has no user attributes")
    unpack(
        root,
        pax(SCHILY__xattr__user__note="a\0b"),
        entry("f"),
        pax(SCHILY__xattr__user__note="d"),
        folder("d"),
    )
    assert os.getxattr(root / "f", "user.note") == b"a\0b"
    assert os.getxattr(root / "d", "user.note") == b"d"


@pytest.mark.root
@needs_root
def test_sets_owners_and_keeps_setuid_and_capabilities(root):
    capability = bytes.fromhex("0100000200200000000000000000000000000000")
    unpack(
        root,
        folder("d", uid=5, gid=6),
        entry("d/su", b"x", uid=1000, gid=100, mode=0o6755),
        pax(SCHILY__xattr__security__capability=capability),
        entry("ping", b"x", uid=7, gid=8),
        entry("s", kind=SYMLINK, link="d", uid=9, gid=10),
        entry("p", kind=FIFO, uid=11, gid=12, mode=0o4777),
        ownership=True,
    )
    owners = {
        name: os.lstat(root / name)[stat.ST_UID : stat.ST_GID + 1]
        for name in ("d", "d/su", "ping", "s", "p")
    }
    assert owners == {"d": (5, 6), "d/su": (1000, 100), "ping": (7, 8), "s": (9, 10), "p": (11, 12)}
    assert stat.S_IMODE((root / "d/su").stat().st_mode) == 0o6755
    assert stat.S_IMODE(os.lstat(root / "p").st_mode) == 0o4777
    assert os.getxattr(root / "ping", "security.capability") == capability


@pytest.mark.root
@needs_root
def test_makes_devices_when_asked(root):
    unpack(
        root,
        entry("null", kind=CHARACTER, mode=0o666, major=1, minor=3),
        entry("loop", kind=BLOCK, mode=0o660, gid=6, major=7, minor=300),
        ownership=True,
        devices=True,
    )
    null, loop = os.lstat(root / "null"), os.lstat(root / "loop")
    assert (null.st_mode, null.st_rdev) == (stat.S_IFCHR | 0o666, os.makedev(1, 3))
    assert (loop.st_mode, loop.st_rdev) == (stat.S_IFBLK | 0o660, os.makedev(7, 300))


def test_leaves_devices_out_otherwise_with_what_they_replaced(root):
    (root / "null").write_bytes(b"old")
    unpack(root, entry("null", kind=CHARACTER, major=1, minor=3), entry("sda", kind=BLOCK, major=8))
    assert tree(root) == {}


def test_leaves_owners_alone_when_there_is_but_one(root):
    unpack(root, entry("f", uid=12345, gid=54321))
    assert (root / "f").stat().st_uid == os.geteuid()


def test_a_full_disk_stays_an_error_of_the_machine(root):
    import resource
    import signal

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError, match="file too large") as caught:
            unpack(root, entry("d/f", b"x" * 2000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    assert caught.value.filename == "d/f"


def test_leaves_no_directory_open(root):
    before = sorted(os.listdir("/proc/self/fd"))
    unpack(root, entry("a/b/c"), entry("d/e"))
    with pytest.raises(UnsafeArchiveError):
        unpack(root, entry("a/x"), entry("../x"))
    with pytest.raises(UnsafeArchiveError, match="truncated"):
        apply(
            io.BytesIO(entry("f", b"x" * 10_000_000)[:-600]), root, ownership=False, devices=False
        )
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_reads_the_stream_to_its_end(root):
    stream = io.BytesIO(archive(entry("f")) + bytes(50_000))
    apply(stream, root, ownership=False, devices=False)
    assert stream.read() == b""


@pytest.mark.root
@needs_root
def test_deletes_and_replaces_through_a_mounted_overlay(tmp_path):
    from wcbuild.kernel import mount, umount

    lower, upper, work, merged = (tmp_path / name for name in ("lower", "upper", "work", "merged"))
    for path in (lower / "d/sub", lower / "usr/lib", lower / "old", upper, work, merged):
        path.mkdir(parents=True)
    (lower / "lib").symlink_to("usr/lib")
    for path in ("d/f", "d/sub/g", "usr/lib/x", "old/f", "gone"):
        (lower / path).write_bytes(b"lower")
    options = f"lowerdir={lower},upperdir={upper},workdir={work}"
    try:
        mount("overlay", str(merged), "overlay", 0, options)
    except OSError as error:
        pytest.skip(f"no overlay can be mounted here: {error}")
    try:
        unpack(
            merged,
            entry(".wh.gone"),
            folder("d"),
            entry("d/.wh..wh..opq"),
            entry("d/new", b"1"),
            entry(".wh.old"),
            folder("old"),
            entry("lib/y", b"2"),
            entry("linked", kind=HARDLINK, link="lib/x"),
            ownership=True,
        )
        assert tree(merged) == {
            "d": "directory",
            "d/new": b"1",
            "lib": "-> usr/lib",
            "linked": b"lower",
            "old": "directory",
            "usr": "directory",
            "usr/lib": "directory",
            "usr/lib/x": b"lower",
            "usr/lib/y": b"2",
        }
        assert os.path.samefile(merged / "linked", merged / "usr/lib/x")
        with pytest.raises(UnsafeArchiveError, match="deletion"):
            unpack(merged, entry("d", kind=CHARACTER), ownership=True, devices=True)
    finally:
        umount(str(merged))
    assert (lower / "d/sub/g").read_bytes() == b"lower"


@pytest.mark.userns
def test_owners_that_a_namespace_lacks_are_explained(root):
    if not can_unshare():
        pytest.skip("this kernel lets nobody make user namespaces")
    code = (
        "import io, sys; from pathlib import Path; from wcbuild.layer.apply import apply\n"
        "data = io.BytesIO(sys.stdin.buffer.read())\n"
        "try: apply(data, Path(sys.argv[1]), ownership=True, devices=False)\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    shown = subprocess.run(
        ["unshare", "-r", sys.executable, "-c", code, str(root)],
        input=archive(entry("etc/shadow", uid=0, gid=42)),
        capture_output=True,
        check=True,
    ).stdout.decode()
    assert shown.startswith('LayerError "etc/shadow": is owned by 0:42, which this user namespace')
    assert "/etc/subuid" in shown


def can_unshare():
    try:
        return (
            subprocess.run(["unshare", "-r", "true"], capture_output=True, check=False).returncode
            == 0
        )
    except FileNotFoundError:
        return False
