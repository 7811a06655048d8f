import hashlib
import os
import socket
import subprocess
import time

import pytest
from memorytree import MemoryTree, content, file, link
from tree_suite import walk
from treemakers import layer_tree, write_files

from wcbuild.context.local import LocalTree
from wcbuild.context.statindex import StatIndex
from wcbuild.dockerfile.ignore import IgnoreRules
from wcbuild.errors import ContextChangedError, ContextError
from wcbuild.graph.ops import CopyOp
from wcbuild.layer.pack import pack
from wcbuild.tree import place
from wcbuild.tree.errors import MissingSourceError

EVERYTHING = CopyOp(sources=("",), dest="/")


@pytest.fixture
def root(tmp_path):
    """A context whose files are older than a tick of the clock."""
    write_files(
        tmp_path / "root",
        {
            "a.txt": file("A"),
            "d/b.txt": file("B", 0o755),
            "d/e/c.log": file("C"),
            "out": link("../../../../etc"),
            "empty": file(),
        },
    )
    settle()
    return tmp_path / "root"


def settle():
    time.sleep(0.05)


def paths(tree):
    return [path for path, _ in walk(tree)]


# -- what is there


def test_owners_are_zeroed_and_modes_kept(root):
    os.chown(root / "a.txt", os.getuid(), os.getgid())
    meta = LocalTree(root).find("d/b.txt").meta
    assert (meta.uid, meta.gid, meta.mode) == (0, 0, 0o755)


def test_sockets_are_not_there(root, monkeypatch):
    monkeypatch.chdir(root)  # the name of a socket must be short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("sock")
        assert "sock" not in paths(LocalTree(root))


def test_symlinks_out_of_the_context_lead_nowhere(root):
    tree = LocalTree(root)
    assert tree.find("out").meta.link == "../../../../etc"
    assert tree.find("out/passwd") is None
    assert list(tree.children("out")) == []
    with pytest.raises(MissingSourceError):
        place.copy(CopyOp(sources=("out/passwd",), dest="/"), MemoryTree(), tree, mtime=0)


def test_symlinks_out_of_the_context_are_resolved_inside_it(root):
    (root / "etc").mkdir()
    (root / "etc" / "passwd").write_text("the context's own")
    changes = place.copy(
        CopyOp(sources=("out/passwd",), dest="/x"), MemoryTree(), LocalTree(root), mtime=0
    )
    assert content(MemoryTree().applied(changes).nodes["x"]) == b"the context's own"


def test_climbing_out_is_not_possible(root):
    tree = LocalTree(root)
    for path in ("../root/a.txt", "..", "d/../../secret", "/etc/passwd", "d/../a.txt"):
        assert tree.find(path) is None


def test_each_directory_is_read_once(root):
    tree = LocalTree(root)
    assert tree.find("a.txt") is not None
    (root / "a.txt").unlink()
    (root / "new").touch()
    assert tree.find("a.txt") is not None
    assert tree.find("new") is None


def test_a_root_that_is_a_symlink_is_followed(root):
    os.symlink(root, root.with_name("link"))
    assert paths(LocalTree(root.with_name("link"))) == paths(LocalTree(root))


@pytest.mark.parametrize(
    ("name", "reason"), [("none", "no such file or directory"), ("root/a.txt", "is not a folder")]
)
def test_a_context_that_is_no_folder_is_an_error(tmp_path, root, name, reason):
    with pytest.raises(ContextError, match=reason) as caught:
        LocalTree(tmp_path / name)
    assert caught.value.path == str(tmp_path / name)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_cannot_be_read_is_named(root):
    os.chmod(root / "d", 0)
    with pytest.raises(ContextError, match="permission denied") as caught:
        paths(LocalTree(root))
    os.chmod(root / "d", 0o755)
    assert caught.value.path == str(root / "d")


# -- .dockerignore


@pytest.mark.parametrize(
    ("rules", "visible"),
    [
        (["d"], ["a.txt", "empty", "out"]),
        (["*", "!d/e"], ["d", "d/e", "d/e/c.log"]),
        (["**/*.log"], ["a.txt", "d", "d/b.txt", "d/e", "empty", "out"]),
        (["d/*", "!d/none"], ["a.txt", "d", "empty", "out"]),
        (["d", "!d/none"], ["a.txt", "empty", "out"]),
        (["*"], []),
        (["*", "!**/*.log"], ["d", "d/e", "d/e/c.log"]),
    ],
)
def test_excluded_files_are_not_there(root, rules, visible):
    tree = LocalTree(root, IgnoreRules(rules))
    assert paths(tree) == visible
    assert all(
        (tree.find(path) is not None) == (path in visible) for path in paths(LocalTree(root))
    )


def test_excluded_folders_are_not_even_read(root):
    os.chmod(root / "d", 0)
    assert paths(LocalTree(root, IgnoreRules(["d"]))) == ["a.txt", "empty", "out"]
    os.chmod(root / "d", 0o755)


def test_a_missing_source_says_that_it_is_excluded(root):
    tree = LocalTree(root, IgnoreRules(["*.txt"]))
    for source, hint in (
        ("a.txt", "(it is there, but .dockerignore excludes it)"),
        ("b.txt", "not found in the build context"),
    ):
        with pytest.raises(MissingSourceError) as caught:
            place.copy(CopyOp(sources=(source,), dest="/"), MemoryTree(), tree, mtime=0)
        assert hint in str(caught.value)
        assert str(root) in str(caught.value)
        assert caught.value.ignored == (source == "a.txt")


@pytest.fixture
def deep(tmp_path):
    """A folder 1200 folders deep; the standard library can neither make nor remove one."""
    place = tmp_path / "root"
    for path in ("root" + "/d" * depth for depth in range(1201)):
        os.mkdir(tmp_path / path)
    (tmp_path / path / "f").touch()
    yield place
    subprocess.run(["rm", "-rf", place], check=True)


def test_very_deep_folders_are_walked(deep):
    assert LocalTree(deep).find("d/" * 1200 + "f") is not None
    assert len(place.copy(EVERYTHING, MemoryTree(), LocalTree(deep), mtime=0)) == 1201


def test_very_deep_excluded_folders_are_an_error(deep):
    with pytest.raises(ContextError, match="nested too deeply"):
        LocalTree(deep, IgnoreRules(["*", "!**/f"])).find("d")


# -- what is remembered


class Reads:
    """Counts the files that are opened below a folder."""

    def __init__(self, monkeypatch, root):
        self.paths = []
        real = os.open

        def spy(path, flags, *args, **kwargs):
            place = str(path)
            if "dir_fd" in kwargs:
                place = os.path.join(os.readlink(f"/proc/self/fd/{kwargs['dir_fd']}"), place)
            if place.startswith(str(root)) and not flags & os.O_DIRECTORY:
                self.paths.append(os.path.relpath(place, root))
            return real(path, flags, *args, **kwargs)

        monkeypatch.setattr(os, "open", spy)

    def take(self):
        taken, self.paths[:] = sorted(self.paths), []
        return taken


@pytest.fixture
def reads(monkeypatch, root):
    return Reads(monkeypatch, root)


@pytest.fixture
def key(root, tmp_path):
    """Return a function that asks for the key of everything, as a new build would."""

    def ask(op=EVERYTHING):
        tree = LocalTree(root, None, StatIndex(tmp_path / "index"))
        found = place.content_key(op, tree)
        tree.save()
        return found

    return ask


def test_unchanged_files_are_not_read_again(key, reads):
    first = key()
    assert reads.take() == ["a.txt", "d/b.txt", "d/e/c.log"]
    assert key() == first
    assert reads.take() == []


def test_only_the_changed_file_is_read_again(key, reads, root):
    first = key()
    reads.take()
    (root / "a.txt").write_text("changed")
    settle()
    assert key() != first
    assert reads.take() == ["a.txt"]


def test_a_new_time_alone_costs_a_reading_and_changes_nothing(key, reads, root):
    first = key()
    reads.take()
    os.utime(root / "a.txt")
    settle()
    assert key() == first
    assert reads.take() == ["a.txt"]
    assert key() == first
    assert reads.take() == []


def test_a_file_rewritten_with_its_old_size_and_time_is_noticed(key, root):
    first = key()
    status = os.stat(root / "a.txt")
    (root / "a.txt").write_text("B")
    os.utime(root / "a.txt", ns=(status.st_atime_ns, status.st_mtime_ns))
    settle()
    assert key() != first


def test_a_file_written_within_the_last_tick_is_not_believed_next_time(key, reads, root):
    (root / "a.txt").write_text("X")
    status = os.stat(root / "a.txt")
    first = key()
    reads.take()
    (root / "a.txt").write_text("Y")
    if os.stat(root / "a.txt").st_ctime_ns == status.st_ctime_ns:
        assert key() != first
    settle()
    assert key() != first
    assert "a.txt" in reads.take()


@pytest.mark.parametrize("change", ["mode", "name", "link", "kind"])
def test_changes_that_need_no_reading_are_noticed(key, reads, root, change):
    first = key()
    reads.take()
    match change:
        case "mode":
            os.chmod(root / "a.txt", 0o600)
        case "name":
            os.rename(root / "d", root / "e")
        case "link":
            os.unlink(root / "out")
            os.symlink("elsewhere", root / "out")
        case "kind":
            os.unlink(root / "empty")
            os.mkdir(root / "empty")
    assert key() != first


def test_keys_of_different_selections_do_not_mix(key):
    one, two = CopyOp(sources=("a.txt",), dest="/"), CopyOp(sources=("d",), dest="/")
    assert len({key(one), key(two), key()}) == 3
    assert (key(one), key(two)) == (key(one), key(two))


def test_a_damaged_index_costs_a_reading(key, reads, tmp_path):
    first = key()
    reads.take()
    for name in ("index", "index.keys"):
        (tmp_path / name).write_bytes(b"\0" * 100)
    assert key() == first
    assert reads.take() == ["a.txt", "d/b.txt", "d/e/c.log"]


def test_a_file_that_vanished_is_an_error(root):
    tree = LocalTree(root)
    node = tree.find("a.txt")
    (root / "a.txt").unlink()
    with pytest.raises(ContextError, match="no such file"):
        tree.digest("a.txt", node)


def test_a_pipe_in_place_of_a_file_does_not_block(root):
    tree = LocalTree(root)
    node = tree.find("a.txt")
    (root / "a.txt").unlink()
    os.mkfifo(root / "a.txt")
    with pytest.raises(ContextError):
        tree.digest("a.txt", node)


# -- files that somebody writes meanwhile

SIZES = [100, 300_000, 3_000_000]
"""Of files that packing reads at once, in one block, and in several."""


def old(size):
    return bytes(range(1, 101)) * (size // 100)


def append(path):
    with open(path, "ab") as file:
        file.write(b"more")


def cut(path):
    os.truncate(path, path.stat().st_size - 1)


def rewrite(path):
    with open(path, "r+b") as file:
        file.write(b"other")
    os.utime(path)


def rewrite_and_append(path):
    rewrite(path)
    append(path)


def replace(path):
    path.with_name("new").write_bytes(bytes(path.stat().st_size + 4))
    os.replace(path.with_name("new"), path)


@pytest.fixture(params=SIZES)
def log(root, request):
    """A file of the context that is older than a tick of the clock."""
    (root / "log").write_bytes(old(request.param))
    settle()
    return root / "log"


class Build:
    """One build's look at the context, and what it does with it."""

    def __init__(self, root, tmp_path):
        self.tree = LocalTree(root, None, StatIndex(tmp_path / "index"))
        self.layer = tmp_path / "layer.tar"
        for _ in walk(self.tree):
            pass

    def key(self):
        return place.content_key(EVERYTHING, self.tree)

    def pack(self):
        """Return the entry of the log, and its bytes, after the tree has learned from the layer."""
        changes = place.copy(EVERYTHING, MemoryTree(), self.tree, mtime=0)
        with open(self.layer, "wb") as out:
            packed = pack(changes, out, epoch=None)
        self.tree.learn(changes, packed.entries)
        entry = next(entry for entry in packed.entries if entry.path == "log")
        start = entry.offset
        return entry, self.layer.read_bytes()[start : start + entry.meta.size]


@pytest.fixture
def build(root, tmp_path):
    return lambda: Build(root, tmp_path)


def sha256(data):
    return hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("hashed_first", [True, False])
def test_a_file_that_grows_is_all_the_build_what_it_was(build, log, root, hashed_first):
    before, first = log.read_bytes(), build()
    unchanged = place.content_key(EVERYTHING, LocalTree(root))
    append(log)
    if hashed_first:
        assert first.key() == unchanged
        append(log)
    entry, data = first.pack()
    assert (data, entry.meta.size, entry.digest) == (before, len(before), sha256(before))
    append(log)
    assert first.key() == unchanged
    assert first.pack() == (entry, data)


@pytest.mark.parametrize("hashed_first", [True, False])
def test_a_file_that_grew_is_read_again_by_the_next_build(
    build, log, root, reads, tmp_path, hashed_first
):
    first = build()
    stamp = first.tree.find("log").identity
    append(log)
    key = first.key() if hashed_first else None
    first.pack()
    key = key or first.key()
    first.tree.save()
    if hashed_first:
        assert StatIndex(tmp_path / "index").find("log", stamp) is None
    settle()
    reads.take()
    second = build()
    assert second.key() != key
    assert reads.take() == ["log"]
    assert second.key() == place.content_key(EVERYTHING, LocalTree(root))
    assert second.pack()[1] == log.read_bytes()


def test_a_file_may_grow_while_it_is_hashed(build, log, monkeypatch):
    before, first, real = log.read_bytes(), build(), os.read

    def read(fd, size):
        data = real(fd, size)
        append(log)
        return data

    monkeypatch.setattr(os, "read", read)
    assert first.tree.digest("log", first.tree.find("log")) == sha256(before)
    assert log.stat().st_size > len(before)


def test_a_write_that_shows_in_the_time_and_not_yet_in_the_size_is_waited_for(
    build, log, monkeypatch
):
    before, first = log.read_bytes(), build()
    os.utime(log)
    monkeypatch.setattr(time, "sleep", lambda _: append(log))
    assert first.tree.digest("log", first.tree.find("log")) == sha256(before)


@pytest.mark.parametrize("call", ["pread", "preadv"])
def test_a_file_may_grow_while_it_is_packed(build, log, monkeypatch, call):
    before, first, real = log.read_bytes(), build(), getattr(os, call)

    def read(*args):
        append(log)
        return real(*args)

    monkeypatch.setattr(os, call, read)
    entry, data = first.pack()
    assert (data, entry.digest) == (before, sha256(before))


def test_a_file_that_was_empty_stays_so(build, root):
    first = build()
    append(root / "empty")
    first.key()
    changes = place.copy(EVERYTHING, MemoryTree(), first.tree, mtime=0)
    assert {c.path: c.meta.size for c in changes}["empty"] == 0


@pytest.mark.parametrize("change", [cut, rewrite, replace])
def test_a_file_that_was_not_only_appended_to_is_not_hashed(build, log, change):
    first = build()
    change(log)
    with pytest.raises(ContextChangedError) as caught:
        first.key()
    assert caught.value.path == str(log)
    assert str(caught.value) == (
        f'build context "{log}": changed while it was read; build again when nobody writes it, '
        "or keep it out with .dockerignore"
    )


@pytest.mark.parametrize("change", [cut, rewrite, rewrite_and_append, replace])
def test_what_is_packed_is_what_was_hashed(build, log, change):
    first = build()
    first.key()
    change(log)
    with pytest.raises(ContextChangedError) as caught:
        first.pack()
    assert caught.value.path == str(log)


@pytest.mark.parametrize("change", [rewrite, rewrite_and_append])
def test_what_is_packed_is_what_an_earlier_build_hashed(build, log, change):
    earlier = build()
    earlier.key()
    earlier.tree.save()
    later = build()
    later.key()
    change(log)
    with pytest.raises(ContextChangedError, match=r"log.*\.dockerignore"):
        later.pack()


@pytest.mark.parametrize("change", [cut, replace])
def test_a_file_that_was_cut_or_replaced_is_not_packed(build, log, change):
    first = build()
    change(log)
    with pytest.raises(ContextChangedError):
        first.pack()


# -- packing first


def test_packing_first_reads_each_file_once(root, tmp_path, reads):
    os.link(root / "a.txt", root / "linked.txt")
    settle()
    (root / "fresh").write_text("!")
    tree = LocalTree(root, None, StatIndex(tmp_path / "index"))
    assert place.cheap_content_key(EVERYTHING, tree) is None
    changes = place.copy(EVERYTHING, MemoryTree(), tree, mtime=0)
    with open(tmp_path / "layer.tar", "wb") as out:
        packed = pack(changes, out, epoch=None)
    reads.take()
    tree.learn(changes, packed.entries)
    key = place.cheap_content_key(EVERYTHING, tree)
    assert key == place.content_key(EVERYTHING, LocalTree(root))
    # The other tree, which knows nothing, read them all; a hard link's other name is no other file.
    assert reads.take() == ["a.txt", "d/b.txt", "d/e/c.log", "fresh"]
    tree.save()
    later = LocalTree(root, None, StatIndex(tmp_path / "index"))
    assert place.cheap_content_key(EVERYTHING, later) == key


def test_learning_does_not_believe_what_changed_since_the_walk(root, tmp_path):
    tree = LocalTree(root, None, StatIndex(tmp_path / "index"))
    changes = place.copy(EVERYTHING, MemoryTree(), tree, mtime=0)
    (root / "a.txt").write_text("Z")
    with open(tmp_path / "layer.tar", "wb") as out:
        packed = pack(changes, out, epoch=None)
    tree.learn(changes, packed.entries)
    packed_key = place.content_key(EVERYTHING, tree)
    tree.save()
    (root / "a.txt").write_text("A")
    settle()
    later = LocalTree(root, None, StatIndex(tmp_path / "index"))
    assert place.content_key(EVERYTHING, later) != packed_key


def test_mostly_known_is_cheap(root, tmp_path, key):
    (root / "big").write_bytes(b"x" * 1000)
    settle()
    key()
    (root / "a.txt").write_text("changed")
    tree = LocalTree(root, None, StatIndex(tmp_path / "index"))
    assert place.cheap_content_key(EVERYTHING, tree) is not None
    (root / "big").write_bytes(b"y" * 1000)
    tree = LocalTree(root, None, StatIndex(tmp_path / "index"))
    assert place.cheap_content_key(EVERYTHING, tree) is None


def test_the_key_is_the_same_wherever_the_files_lie(root, tmp_path):
    local = LocalTree(root)
    layer = layer_tree(tmp_path, place.copy(EVERYTHING, MemoryTree(), local, mtime=0))
    assert place.content_key(EVERYTHING, local) == place.content_key(EVERYTHING, layer)


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may set capabilities")
def test_capabilities_are_kept(root):
    capability = bytes.fromhex("0100000200040000000000000000000000000000")
    try:
        os.setxattr(root / "d/b.txt", "security.capability", capability)
    except OSError:
        pytest.skip("the file system takes no capabilities")
    assert LocalTree(root).find("d/b.txt").meta.xattrs == (("security.capability", capability),)
