"""What every snapshotter must do. `CASES` are run for each of them, in whatever process it needs.

Most cases are a row of a table: what a command does to a tree, and the changes this is. The tree that
commands start from has two layers, so that there is something to shine through and something hidden.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import socket
from collections.abc import Callable, Iterable
from pathlib import Path

from registry.oci.digest import ChainId, sha256
from wcbuild.layer.changes import HARDLINK, Change, HostFile
from wcbuild.snapshot.base import Snapshot, Snapshotter

OLD = 1_000_000_000
"""When everything in the tree was made; what commands make is newer."""

CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000")
"""cap_net_bind_service=ep"""

CASES: dict[str, Callable[[Snapshotter], None]] = {}
COMMANDS: dict[str, Callable[[Path], None]] = {}
PRIVILEGED: set[str] = set()
"""Cases that need root, if only that of a user namespace."""


def case(function: Callable[[Snapshotter], None]) -> Callable[[Snapshotter], None]:
    CASES[function.__name__.replace("_", " ")] = function
    return function


def command(expected: dict[str, str], *, privileged: bool = False):
    def add(function: Callable[[Path], None]) -> Callable[[Path], None]:
        name = function.__name__.replace("_", " ")
        COMMANDS[name] = function
        if privileged:
            PRIVILEGED.add(name)

        def run(snapshots: Snapshotter) -> None:
            got = describe(run_command(snapshots, function))
            assert got == expected, f"expected {expected}\n     got {got}"

        CASES[name] = run
        return function

    return add


# -- the tree


def write(path: Path, data: str, mtime: float = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(data)
    if mtime:
        os.utime(path, (mtime, mtime))


def first_layer(root: Path) -> None:
    write(root / "bin/sh", "#!")
    os.chmod(root / "bin/sh", 0o755)
    write(root / "etc/passwd", "root")
    write(root / "etc/shadowed", "first")
    write(root / "etc/gone", "deleted by the second layer")
    write(root / "etc/conf.d/a", "a")
    write(root / "etc/conf.d/b", "b")
    os.symlink("passwd", root / "etc/link")
    os.symlink("conf.d", root / "etc/dirlink")
    write(root / "usr/one", "linked")
    os.link(root / "usr/one", root / "usr/two")
    write(root / "usr/lib/deep/er/file", "deep")
    write(root / "usr/v1/file", "111")
    write(root / "usr/v2/file", "222")
    write(root / "var/replaced/old", "old")
    write(root / "var/deleted/file", "file")
    (root / "var/empty").mkdir()
    os.mkfifo(root / "var/fifo")
    (root / "tmp").mkdir()
    os.chmod(root / "tmp", 0o1777)
    settle(root)


def second_layer(root: Path) -> None:
    os.unlink(root / "etc/gone")
    os.unlink(root / "etc/shadowed")
    write(root / "etc/shadowed", "second")
    write(root / "etc/second", "second")
    shutil.rmtree(root / "var/deleted")
    shutil.rmtree(root / "var/replaced")
    write(root / "var/replaced/new", "new")
    settle(root)


def settle(root: Path) -> None:
    for directory, directories, files in os.walk(root):
        for name in (*directories, *files, "."):
            path = Path(directory) / name
            if path.lstat().st_mtime != OLD:
                os.utime(path, (OLD, OLD), follow_symlinks=False)


def two_layers(snapshots: Snapshotter) -> Snapshot:
    snapshot = None
    for fill in (first_layer, second_layer):
        snapshot = snapshots.prepare(snapshot)
        with snapshots.mounted(snapshot) as root:
            fill(root)
    return snapshot


def run_command(snapshots: Snapshotter, function: Callable[[Path], None]) -> list[Change]:
    snapshot = snapshots.prepare(two_layers(snapshots))
    with snapshots.mounted(snapshot) as root:
        function(root)
    return list(snapshots.changes(snapshot))


def describe(changes: Iterable[Change]) -> dict[str, str]:
    """Return changes in short: `-`, or kind, mode, and what is in it."""
    result = {}
    for path, meta, content, opaque in changes:
        assert path not in result, f"{path!r} is there twice"
        assert not opaque
        if meta is None:
            result[path] = "-"
            continue
        text = f"{meta.kind} {meta.mode:o}" if meta.kind not in "lh" else meta.kind
        if content is not None:
            assert isinstance(content, HostFile)
            data = Path(content.path).read_bytes()
            assert len(data) == meta.size
            text += f" {data.decode()}"
        if meta.link:
            text += f" {meta.link}"
        if meta.xattrs:
            text += " " + " ".join(f"{name}={value.hex()}" for name, value in meta.xattrs)
        result[path] = text
    for path in result:
        parent = path.rpartition("/")[0]
        assert not parent or result[parent].startswith("d"), f"the parent of {path!r} is missing"
    return result


def move(source: Path, target: Path) -> None:
    """Do as mv does."""
    try:
        os.rename(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        shutil.copytree(source, target, symlinks=True)
        shutil.rmtree(source)


# -- what commands do, and what this changes


@command({})
def nothing(root: Path) -> None:
    pass


@command({})
def reading_everything(root: Path) -> None:
    for path in root.rglob("*"):
        if path.is_file() and not path.is_symlink():
            path.read_bytes()


@command({"added": "f 644 data"})
def a_new_file_in_the_root(root: Path) -> None:
    write(root / "added", "data")


@command({"etc": "d 755", "etc/empty": "f 644"})
def a_new_empty_file(root: Path) -> None:
    (root / "etc/empty").touch()


@command(
    {
        "var": "d 755",
        "var/x": "d 755",
        "var/x/y": "d 750",
        "var/x/y/file": "f 644 data",
        "var/x/z": "d 755",
    }
)
def new_directories(root: Path) -> None:
    write(root / "var/x/y/file", "data")
    os.chmod(root / "var/x/y", 0o750)
    (root / "var/x/z").mkdir()


@command({"etc": "d 755", "etc/passwd": "f 644 root:x"})
def writing_to_a_file(root: Path) -> None:
    write(root / "etc/passwd", "root:x")


@command({"etc": "d 755", "etc/passwd": "f 644 toor"})
def other_bytes_of_same_size_and_time(root: Path) -> None:
    write(root / "etc/passwd", "toor", OLD)


@command({})
def the_same_bytes_and_time_again(root: Path) -> None:
    write(root / "etc/passwd", "root", OLD)


@command({})
def the_same_file_by_another_inode(root: Path) -> None:
    write(root / "etc/passwd.new", "root", OLD)
    os.rename(root / "etc/passwd.new", root / "etc/passwd")


@command({})
def a_time_that_differs_by_less_than_a_second(root: Path) -> None:
    os.utime(root / "etc/passwd", (OLD + 0.5, OLD + 0.5))


@command({"etc": "d 755", "etc/passwd": "f 644 root"})
def touch(root: Path) -> None:
    os.utime(root / "etc/passwd")


@command({"etc": "d 755", "etc/link": "l passwd"})
def touching_a_symlink(root: Path) -> None:
    os.utime(root / "etc/link", follow_symlinks=False)


@command({})
def touching_a_directory(root: Path) -> None:
    os.utime(root / "etc")


@command({"etc": "d 755", "etc/passwd": "f 600 root"})
def chmod(root: Path) -> None:
    os.chmod(root / "etc/passwd", 0o600)


@command({})
def chmod_there_and_back(root: Path) -> None:
    os.chmod(root / "etc/passwd", 0o600)
    os.chmod(root / "etc/passwd", 0o644)
    os.chmod(root / "var", 0o700)
    os.chmod(root / "var", 0o755)


@command({"usr": "d 755", "usr/lib": "d 755", "usr/lib/deep": "d 2755"})
def chmod_of_a_directory(root: Path) -> None:
    os.chmod(root / "usr/lib/deep", 0o2755)


@command({"": "d 700"})
def chmod_of_the_root(root: Path) -> None:
    os.chmod(root, 0o700)


@command({"bin": "d 755", "bin/sh": "f 6755 #!"})
def setuid_and_setgid(root: Path) -> None:
    os.chmod(root / "bin/sh", 0o6755)


@command({"etc": "d 755", "etc/second": "-", "etc/passwd": "-"})
def deleting_files(root: Path) -> None:
    os.unlink(root / "etc/second")
    os.unlink(root / "etc/passwd")


@command({"etc": "d 755", "etc/shadowed": "-"})
def deleting_a_file_that_shadows_one(root: Path) -> None:
    os.unlink(root / "etc/shadowed")


@command({"etc": "d 755", "etc/gone": "f 644 again"})
def making_a_deleted_file_again(root: Path) -> None:
    write(root / "etc/gone", "again")


@command({"usr": "d 755", "usr/lib": "-"})
def deleting_a_directory(root: Path) -> None:
    shutil.rmtree(root / "usr/lib")


@command(dict.fromkeys(("bin", "etc", "tmp", "usr", "var"), "-"))
def deleting_everything(root: Path) -> None:
    for path in root.iterdir():
        shutil.rmtree(path)


@command({})
def making_and_deleting(root: Path) -> None:
    write(root / "var/x/y", "data")
    shutil.rmtree(root / "var/x")
    write(root / "etc/temporary", "data")
    os.unlink(root / "etc/temporary")


@command({})
def deleting_and_making_the_same_directory(root: Path) -> None:
    shutil.rmtree(root / "etc/conf.d")
    write(root / "etc/conf.d/a", "a", OLD)
    write(root / "etc/conf.d/b", "b", OLD)


@command(
    {
        "etc": "d 755",
        "etc/conf.d": "d 755",
        "etc/conf.d/b": "-",
        "etc/conf.d/c": "d 755",
        "etc/conf.d/c/d": "f 644 d",
    }
)
def deleting_and_making_a_directory(root: Path) -> None:
    shutil.rmtree(root / "etc/conf.d")
    write(root / "etc/conf.d/a", "a", OLD)
    write(root / "etc/conf.d/c/d", "d")


@command(
    {
        "usr": "d 755",
        "usr/lib": "d 755",
        "usr/lib/deep": "d 755",
        "usr/lib/deep/er": "d 755",
        "usr/lib/deep/er/file": "-",
    }
)
def deleting_and_making_directories_in_one_another(root: Path) -> None:
    shutil.rmtree(root / "usr/lib")
    os.makedirs(root / "usr/lib/deep/er")


@command({"var": "d 755", "var/deleted": "d 755", "var/deleted/other": "f 644 other"})
def making_a_directory_that_a_layer_deleted(root: Path) -> None:
    write(root / "var/deleted/other", "other")


@command(
    {
        "var": "d 755",
        "var/replaced": "d 755",
        "var/replaced/new": "-",
        "var/replaced/old": "f 644 old",
    }
)
def replacing_a_directory_that_a_layer_replaced(root: Path) -> None:
    shutil.rmtree(root / "var/replaced")
    write(root / "var/replaced/old", "old", OLD)


@command({"etc": "d 755", "etc/conf.d": "f 644 now a file"})
def replacing_a_directory_by_a_file(root: Path) -> None:
    shutil.rmtree(root / "etc/conf.d")
    write(root / "etc/conf.d", "now a file")


@command({"etc": "d 755", "etc/passwd": "d 755", "etc/passwd/x": "f 644 x"})
def replacing_a_file_by_a_directory(root: Path) -> None:
    os.unlink(root / "etc/passwd")
    write(root / "etc/passwd/x", "x")


@command({"etc": "d 755", "etc/conf.d": "d 755", "etc/conf.d/a": "-"})
def replacing_a_directory_by_a_file_and_back(root: Path) -> None:
    replacing_a_directory_by_a_file(root)
    os.unlink(root / "etc/conf.d")
    write(root / "etc/conf.d/b", "b", OLD)


@command({"etc": "d 755", "etc/dirlink": "d 755", "etc/dirlink/x": "f 644 x"})
def replacing_a_symlink_by_a_directory(root: Path) -> None:
    os.unlink(root / "etc/dirlink")
    write(root / "etc/dirlink/x", "x")


@command({"etc": "d 755", "etc/link": "l shadowed"})
def another_target_of_a_symlink(root: Path) -> None:
    os.unlink(root / "etc/link")
    os.symlink("shadowed", root / "etc/link")
    os.utime(root / "etc/link", (OLD, OLD), follow_symlinks=False)


@command({"etc": "d 755", "etc/passwd": "-", "etc/users": "f 644 root"})
def renaming_a_file(root: Path) -> None:
    os.rename(root / "etc/passwd", root / "etc/users")


@command(
    {
        "usr": "d 755",
        "usr/lib": "-",
        "usr/lib64": "d 755",
        "usr/lib64/deep": "d 755",
        "usr/lib64/deep/er": "d 755",
        "usr/lib64/deep/er/file": "f 644 deep",
    }
)
def renaming_a_directory(root: Path) -> None:
    move(root / "usr/lib", root / "usr/lib64")


@command(
    {"usr": "d 755", "usr/v1": "d 755", "usr/v1/file": "f 644 222", "usr/v2": "-"},
)
def renaming_a_directory_to_one_whose_files_look_the_same(root: Path) -> None:
    shutil.rmtree(root / "usr/v1")
    move(root / "usr/v2", root / "usr/v1")


@command({"a": "f 644 same", "b": "h a", "c": "d 755", "c/d": "h a", "e": "f 644 other"})
def new_hard_links(root: Path) -> None:
    write(root / "b", "same")
    os.link(root / "b", root / "a")
    (root / "c").mkdir()
    os.link(root / "b", root / "c/d")
    write(root / "e", "other")


@command({"etc": "d 755", "etc/passwd": "h accounts", "accounts": "f 644 root"})
def a_hard_link_to_a_file_of_a_layer(root: Path) -> None:
    os.link(root / "etc/passwd", root / "accounts")


@command({"usr": "d 755", "usr/two": "-"})
def deleting_one_of_two_hard_links(root: Path) -> None:
    os.unlink(root / "usr/two")


@command({})
def the_same_hard_links_again(root: Path) -> None:
    os.unlink(root / "usr/one")
    os.unlink(root / "usr/two")
    write(root / "usr/two", "linked", OLD)
    os.link(root / "usr/two", root / "usr/one")


@command(
    {"usr": "d 755", "usr/v1": "d 755", "usr/v1/file": "h bin/sh"}
    | {"bin": "d 755", "bin/sh": "f 755 #!"}
)
def a_hard_link_in_place_of_a_file(root: Path) -> None:
    os.unlink(root / "usr/v1/file")
    os.link(root / "bin/sh", root / "usr/v1/file")


@command({"s": "l somewhere", "t": "h s"})
def hard_links_to_a_symlink(root: Path) -> None:
    os.symlink("somewhere", root / "t")
    os.link(root / "t", root / "s", follow_symlinks=False)


@command({"var": "d 755", "var/fifo": "p 600", "var/pipe": "p 644"})
def fifos(root: Path) -> None:
    os.mkfifo(root / "var/pipe")
    os.chmod(root / "var/fifo", 0o600)


@command({"etc": "d 755", "etc/passwd": "-"})
def sockets(root: Path) -> None:
    make_socket(root / "socket")
    os.unlink(root / "etc/passwd")
    make_socket(root / "etc/passwd")


@command(
    {
        "new\nline": "f 644 1",
        "back\\slash:,": "f 644 2",
        "not-utf8-\udcff": "d 755",
        "not-utf8-\udcff/\udcfe": "f 644 3",
        "\N{SNOWMAN}": "l \udcff",
    }
)
def odd_names(root: Path) -> None:
    write(root / "new\nline", "1")
    write(root / "back\\slash:,", "2")
    write(root / "not-utf8-\udcff/\udcfe", "3")
    os.symlink("\udcff", root / "\N{SNOWMAN}")


@command({})
def attributes_that_layers_do_not_keep(root: Path) -> None:
    with contextlib.suppress(OSError):  # not every file system has them
        os.setxattr(root / "etc/passwd", "user.mime_type", b"text/plain")
        os.setxattr(root / "etc", "user.overlay.opaque", b"y")


@command({"locked": "d 0", "locked/in": "d 0", "locked/in/file": "f 0 secret"}, privileged=True)
def directories_that_nobody_may_read(root: Path) -> None:
    write(root / "locked/in/file", "secret")
    for name in ("locked/in/file", "locked/in", "locked"):
        os.chmod(root / name, 0)


@command(
    {
        "bin": "d 755",
        "bin/sh": f"f 755 #! security.capability={CAPABILITY.hex()}",
        "ping": f"f 644 x security.capability={CAPABILITY.hex()}",
    },
    privileged=True,
)
def file_capabilities(root: Path) -> None:
    write(root / "ping", "x")
    for name in ("ping", "bin/sh"):
        os.setxattr(root / name, "security.capability", CAPABILITY)


def make_socket(path: Path) -> None:
    # By its directory's handle: the address of a socket is at most 108 bytes.
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(f"/proc/self/fd/{directory}/{path.name}")
    finally:
        os.close(directory)


# -- changes


@case
def changes_tell_sizes_times_and_owners(snapshots: Snapshotter) -> None:
    def make(root: Path) -> None:
        write(root / "a", "data", 1_234_567_890.9)
        write(root / "b", "data", -1.5)
        os.link(root / "a", root / "c")
        os.symlink("a", root / "d")
        os.utime(root / "d", (5, 5), follow_symlinks=False)

    found = {change.path: change for change in run_command(snapshots, make)}
    times = {path: change.meta.mtime for path, change in found.items()}
    assert times == {"a": 1_234_567_890, "b": -2, "c": 1_234_567_890, "d": 5}
    owner = (os.geteuid(), os.getegid())
    assert {(change.meta.uid, change.meta.gid) for change in found.values()} == {owner}
    assert [found[path].meta.size for path in "abcd"] == [4, 4, 0, 0]
    assert found["c"].meta.kind == HARDLINK
    assert found["c"].content is None


@case
def first_snapshot_is_all_new(snapshots: Snapshotter) -> None:
    snapshot = snapshots.prepare(None)
    with snapshots.mounted(snapshot) as root:
        write(root / "a/b", "data")
        make_socket(root / "socket")
    assert describe(snapshots.changes(snapshot)) == {"a": "d 755", "a/b": "f 644 data"}


@case
def changes_can_be_read_twice_and_while_a_child_is_written(snapshots: Snapshotter) -> None:
    snapshot = snapshots.prepare(two_layers(snapshots))
    with snapshots.mounted(snapshot) as root:
        write(root / "a", "data")
    child = snapshots.prepare(snapshot)
    with snapshots.mounted(child) as root:
        os.unlink(root / "a")
        expected = {"a": "f 644 data"}
        assert describe(snapshots.changes(snapshot)) == expected
    assert describe(snapshots.changes(snapshot)) == expected
    assert describe(snapshots.changes(child)) == {"a": "-"}


@case
def large_and_sparse_files(snapshots: Snapshotter) -> None:
    size = 1 << 28
    snapshot = snapshots.prepare(None)
    with snapshots.mounted(snapshot) as root, open(root / "sparse", "wb") as file:
        file.truncate(size)
        file.seek(1 << 27)
        file.write(b"in the middle")
    child = snapshots.prepare(snapshot)
    with snapshots.mounted(child) as root:
        write(root / "a", "data")
        status = os.stat(root / "sparse")
        assert status.st_size == size
        assert status.st_blocks * 512 < 1 << 20
        with open(root / "sparse", "rb") as file:
            file.seek(1 << 27)
            assert file.read(14) == b"in the middle\0"
    assert describe(snapshots.changes(child)) == {"a": "f 644 data"}


@case
def twenty_layers_of_changes_to_one_file(snapshots: Snapshotter) -> None:
    snapshot = two_layers(snapshots)
    for number in range(20):
        snapshot = snapshots.prepare(snapshot)
        with snapshots.mounted(snapshot) as root:
            with open(root / "etc/passwd", "a", encoding="ascii") as file:
                file.write(f" {number}")
            (root / f"etc/{number}").mkdir()
    expected = {"etc": "d 755", "etc/19": "d 755", "etc/passwd": "f 644 "}
    expected["etc/passwd"] += " ".join(["root", *map(str, range(20))])
    assert describe(snapshots.changes(snapshot)) == expected


# -- the tree that is seen


@case
def nothing_is_an_empty_tree(snapshots: Snapshotter) -> None:
    with snapshots.mounted(None, read_only=True) as root:
        assert os.listdir(root) == []


@case
def root_directory_is_readable_by_all_and_keeps_its_mode(snapshots: Snapshotter) -> None:
    snapshot = snapshots.prepare(None)
    with snapshots.mounted(snapshot) as root:
        assert os.stat(root).st_mode & 0o7777 == 0o755
        os.chmod(root, 0o711)
        os.utime(root, (OLD, OLD))
    for read_only in (False, True):
        child = snapshots.prepare(snapshot)
        with snapshots.mounted(child, read_only=read_only) as root:
            assert os.stat(root).st_mode & 0o7777 == 0o711
            assert os.stat(root).st_mtime == OLD
    assert describe(snapshots.changes(child)) == {}


@case
def child_sees_its_parents_tree_and_leaves_it_alone(snapshots: Snapshotter) -> None:
    parent = two_layers(snapshots)
    child = snapshots.prepare(parent)
    with snapshots.mounted(child) as root:
        assert (root / "etc/shadowed").read_text() == "second"
        assert sorted(os.listdir(root / "var")) == ["empty", "fifo", "replaced"]
        assert os.listdir(root / "var/replaced") == ["new"]
        assert os.readlink(root / "etc/link") == "passwd"
        assert os.stat(root / "tmp").st_mode & 0o7777 == 0o1777
        assert os.path.samefile(root / "usr/one", root / "usr/two")
        assert os.stat(root / "etc/passwd").st_mtime == OLD
        assert os.stat(root / "etc").st_mtime == OLD
        write(root / "etc/shadowed", "third")
        shutil.rmtree(root / "usr")
    with snapshots.mounted(parent, read_only=True) as root:
        assert (root / "etc/shadowed").read_text() == "second"
        assert os.path.exists(root / "usr/one")


@case
def mounted_snapshot_can_be_mounted_again(snapshots: Snapshotter) -> None:
    snapshot = snapshots.prepare(two_layers(snapshots))
    for number in range(3):
        with snapshots.mounted(snapshot) as root:
            assert len(list(root.glob("new*"))) == number
            (root / f"new{number}").touch()


@case
def roots_for_a_sandbox_hold_the_tree(snapshots: Snapshotter) -> None:
    snapshot = snapshots.prepare(two_layers(snapshots))
    writable = snapshots.root(snapshot)
    assert writable.upper is not None
    assert bool(writable.lower) == bool(writable.work)
    read_only = snapshots.root(snapshot, read_only=True)
    assert read_only.upper is None
    assert read_only.work is None
    assert any((lower / "bin/sh").exists() for lower in read_only.lower)


@case
def file_capabilities_are_there_in_a_child(snapshots: Snapshotter) -> None:
    snapshot = snapshots.prepare(None)
    with snapshots.mounted(snapshot) as root:
        file_capabilities_made = root / "ping"
        write(file_capabilities_made, "x")
        os.setxattr(file_capabilities_made, "security.capability", CAPABILITY)
    child = snapshots.prepare(snapshot)
    with snapshots.mounted(child) as root:
        assert os.getxattr(root / "ping", "security.capability") == CAPABILITY
        os.setxattr(root / "ping", "security.capability", CAPABILITY)
    assert describe(snapshots.changes(child)) == {}


PRIVILEGED.add("file capabilities are there in a child")


# -- names


def chain(text: str) -> ChainId:
    return ChainId(sha256(text.encode()))


@case
def committed_snapshot_is_found(snapshots: Snapshotter) -> None:
    assert snapshots.find(chain("a")) is None
    snapshot = two_layers(snapshots)
    snapshots.commit(snapshot, chain("a"))
    assert snapshots.find(chain("a")) == snapshot
    snapshots.commit(snapshot, chain("a"))
    assert snapshots.find(chain("b")) is None


@case
def first_snapshot_of_a_name_keeps_it_and_the_second_stays_usable(snapshots: Snapshotter) -> None:
    first, second = two_layers(snapshots), two_layers(snapshots)
    snapshots.commit(first, chain("a"))
    snapshots.commit(second, chain("a"))
    assert snapshots.find(chain("a")) == first
    child = snapshots.prepare(second)
    with snapshots.mounted(child) as root:
        assert (root / "bin/sh").exists()


@case
def name_of_a_removed_snapshot_can_be_given_again(snapshots: Snapshotter) -> None:
    first, second = snapshots.prepare(None), snapshots.prepare(None)
    snapshots.commit(first, chain("a"))
    snapshots.remove(first)
    assert snapshots.find(chain("a")) is None
    snapshots.commit(second, chain("a"))
    assert snapshots.find(chain("a")) == second


@case
def snapshot_does_not_outlive_the_boot_it_was_made_in(snapshots: Snapshotter) -> None:
    old, new = snapshots.prepare(None), None
    snapshots.commit(old, chain("a"))
    snapshots._boot = "another"
    assert snapshots.find(chain("a")) is None
    new = snapshots.prepare(None)
    snapshots.commit(new, chain("a"))
    assert snapshots.find(chain("a")) == new
    snapshots.commit(snapshots.prepare(None), chain("a"))
    assert snapshots.find(chain("a")) == new


# -- the end


@case
def removed_snapshot_leaves_nothing(snapshots: Snapshotter) -> None:
    before = everything(snapshots)
    snapshot = snapshots.prepare(None)
    with snapshots.mounted(snapshot) as root:
        first_layer(root)
        os.symlink("/", root / "to-the-host")
    child = snapshots.prepare(snapshot)
    with snapshots.mounted(child) as root:
        shutil.rmtree(root / "usr")
    snapshots.remove(child)
    snapshots.remove(snapshot)
    snapshots.remove(snapshot)
    assert everything(snapshots) == before


@case
def sweep_keeps_what_has_a_name(snapshots: Snapshotter) -> None:
    named = snapshots.prepare(two_layers(snapshots))
    snapshots.commit(named, chain("a"))
    unnamed = snapshots.prepare(named)
    snapshots.commit(snapshots.prepare(None), chain("b"))
    snapshots.sweep()
    assert not snapshots.fs(unnamed.id).exists()
    assert snapshots.find(chain("a")) == named
    assert snapshots.find(chain("b")) is not None
    with snapshots.mounted(named) as root:
        assert (root / "etc/shadowed").read_text() == "second"
        assert (root / "bin/sh").exists()


@case
def sweep_ends_what_a_killed_process_left_behind(snapshots: Snapshotter) -> None:
    before = everything(snapshots)
    two_layers(snapshots)
    gone = snapshots.prepare(None)
    snapshots.commit(gone, chain("a"))
    shutil.rmtree(snapshots.fs(gone.id).parent)
    half_made = snapshots.fs("0123456789abcdef").parent
    half_made.mkdir()
    (half_made.parent / "mounts/left").mkdir()
    os.symlink("../nowhere", half_made.parent / "by-chain/0123456789abcdef")
    snapshots.sweep()
    assert everything(snapshots) == before


@case
def prune_keeps_what_it_is_told_and_tells_what_is_freed(snapshots: Snapshotter) -> None:
    keep, drop = snapshots.prepare(two_layers(snapshots)), snapshots.prepare(None)
    with snapshots.mounted(drop) as root:
        write(root / "large", "x" * 1_000_000)
    snapshots.commit(keep, chain("keep"))
    snapshots.commit(drop, chain("drop"))
    freed = snapshots.prune(frozenset({chain("keep")}))
    assert 1_000_000 <= freed < 2_000_000
    assert snapshots.find(chain("keep")) == keep
    assert snapshots.find(chain("drop")) is None
    with snapshots.mounted(keep) as root:
        assert (root / "bin/sh").exists()
    assert snapshots.prune(frozenset()) > 0
    assert snapshots.prune(frozenset()) == 0


@case
def setuid_files_are_out_of_reach_of_other_users(snapshots: Snapshotter) -> None:
    snapshot = two_layers(snapshots)
    top = snapshots.fs(snapshot.id).parent.parent.parent
    assert os.stat(top).st_mode & 0o777 == 0o700


def everything(snapshots: Snapshotter) -> set[str]:
    top = snapshots.fs("x").parent.parent
    return {str(path.relative_to(top)) for path in top.rglob("*")}
