"""A squashed image is the image that it was, whatever its layers did to one another."""

import os
import stat
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tree_suite import walk
from treemakers import write_layer
from windowslayers import file as win_file
from windowslayers import folder as win_folder
from windowslayers import packed, tree_of

from wcbuild.layer.apply import apply
from wcbuild.layer.changes import (
    DIRECTORY,
    FIFO,
    FILE,
    HARDLINK,
    STREAM,
    SYMLINK,
    WITH_CONTENT,
    Change,
    Inline,
    Meta,
)
from wcbuild.layer.windows.names import fold
from wcbuild.tree.content import open_content
from wcbuild.tree.index import LayerIndex
from wcbuild.tree.layers import LayerTree
from wcbuild.tree.squash import SquashedLayer, squash

IS_ROOT = os.geteuid() == 0
GONE = "gone"
KINDS = (FILE, FILE, DIRECTORY, DIRECTORY, SYMLINK, FIFO, HARDLINK, GONE, GONE, "opaque")
PATHS = st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map("/".join)
WINDOWS_PATHS = st.lists(st.sampled_from("aAbB"), min_size=1, max_size=3).map("/".join)
NUMBERS = st.integers(0, 3)


def parents(path):
    return ["/".join(path.split("/")[:end]) for end in range(1, path.count("/") + 1)]


class State:
    """What kinds of things are where, well enough to write no layer that nobody would unpack."""

    def __init__(self):
        self.kinds = {}

    def remove(self, path, *, itself=True):
        for each in [p for p in self.kinds if p.startswith(f"{path}/") or (itself and p == path)]:
            del self.kinds[each]

    def take(self, changes):
        for change in sorted(changes, key=lambda change: change.path.split("/")):
            kind = change.meta.kind if change.meta else GONE
            if kind != DIRECTORY or change.opaque or self.kinds.get(change.path) != DIRECTORY:
                self.remove(change.path)
            if kind != GONE:
                self.kinds |= dict.fromkeys(parents(change.path), DIRECTORY)
                self.kinds[change.path] = kind


@st.composite
def layers(draw, state):
    """Draw the changes of one layer on what is there; most directories have no entry in it."""
    layer = {}
    for _ in range(draw(st.integers(0, 6))):
        path, kind = draw(PATHS), draw(st.sampled_from(KINDS))
        inside = any(each.startswith(f"{path}/") for each in layer)
        fits = all(
            layer[above].meta is not None and layer[above].meta.kind == DIRECTORY
            if above in layer
            else state.kinds.get(above, DIRECTORY) == DIRECTORY
            for above in parents(path)
        )
        files = [change.path for change in layer.values() if change.content is not None]
        if path in layer or not fits or (inside and kind not in (DIRECTORY, "opaque")):
            continue
        if kind == HARDLINK and not files:
            continue
        layer[path] = draw(leaf(path, kind, files))
    state.take(layer.values())
    return list(layer.values())


@st.composite
def leaf(draw, path, kind, files):
    if kind == GONE:
        return Change(path, None)
    fields = {"uid": draw(NUMBERS), "gid": draw(NUMBERS), "mtime": draw(NUMBERS)}
    mode = 0o700 + draw(NUMBERS)
    match kind:
        case "f":
            data = draw(st.binary(min_size=1, max_size=3))
            return Change(path, Meta(FILE, mode, size=len(data), **fields), Inline(data))
        case "h":
            return Change(path, Meta(HARDLINK, 0, link=draw(st.sampled_from(files))))
        case "l":
            return Change(path, Meta(SYMLINK, 0o777, link=draw(PATHS), **fields))
        case "opaque":
            return Change(path, Meta(DIRECTORY, mode, **fields), opaque=True)
        case _:
            return Change(path, Meta(kind, mode, **fields))


@st.composite
def images(draw):
    """Draw the layers of a base, and those on top of it."""
    state = State()
    base = [draw(layers(state)) for _ in range(draw(st.integers(0, 2)))]
    return base, [draw(layers(state)) for _ in range(draw(st.integers(1, 4)))]


def shown(tree):
    """Return all of a merged view; of the names of one file each says the first."""
    first = {}
    return {
        path: (
            node.meta,
            open_content(node).read() if node.meta.kind in WITH_CONTENT else b"",
            path if node.identity is None else first.setdefault(node.identity, path),
        )
        for path, node in walk(tree)
    }


def unpacked(place, tars):
    """Return all of what layers are when they are unpacked on top of each other."""
    place.mkdir()
    for tar in tars:
        with open(tar, "rb") as stream:
            apply(stream, place, ownership=IS_ROOT, devices=False)
    first = {}
    found = {}
    for base, folders, files in os.walk(place):
        for name in sorted(folders + files):
            path = os.path.join(base, name)
            status = os.lstat(path)
            content = ""
            if stat.S_ISREG(status.st_mode):
                content = Path(path).read_bytes()
            elif stat.S_ISLNK(status.st_mode):
                content = os.readlink(path)
            own = (status.st_mode, status.st_uid, status.st_gid, int(status.st_mtime), content)
            found[path] = (own, status.st_ino)
    # The first name in byte order stands for each file.
    for path in sorted(found):
        first.setdefault(found[path][1], os.path.relpath(path, place))
    return {
        os.path.relpath(path, place): (own, first[inode]) for path, (own, inode) in found.items()
    }


@pytest.mark.slow
@settings(max_examples=150)
@given(images())
def test_a_squashed_image_has_the_same_files(image):
    base, own = image
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        below = [write_layer(place / f"b{n}", layer) for n, layer in enumerate(base)]
        above = [write_layer(place / f"o{n}", layer) for n, layer in enumerate(own)]
        before = LayerTree(below)
        changes = list(squash([SquashedLayer(*layer) for layer in above], lambda: before))
        merged = write_layer(place / "merged", changes)
        after = LayerTree([*below, merged])

        assert shown(after) == shown(LayerTree([*below, *above]))
        tars = [[tar for _, tar in stack] for stack in ([*below, *above], [*below, merged])]
        assert unpacked(place / "x", tars[0]) == unpacked(place / "y", tars[1])
        # Nothing is said that changes nothing.
        for change in changes:
            assert not change.opaque
            if change.meta is None:
                assert before.find(change.path) is not None
                assert after.find(change.path) is None
                assert after.find(os.path.dirname(change.path)).meta.kind == DIRECTORY
            else:
                assert after.find(change.path) is not None


@st.composite
def windows_layers(draw):
    """Draw layers of a Windows image, in which names have several spellings, and files streams."""
    stack = []
    for _ in range(draw(st.integers(2, 4))):
        layer: dict[str, list[Change]] = {}
        for path in draw(st.lists(WINDOWS_PATHS, max_size=6)):
            inside = any(each.startswith(f"{fold(path)}/") for each in layer)
            above = [layer.get(fold(each)) for each in parents(path)]
            kind = draw(st.sampled_from([FILE, FILE, DIRECTORY, GONE]))
            if fold(path) in layer or (inside and kind != DIRECTORY):
                continue
            if not all(
                each is None or (each[0].meta and each[0].meta.kind == "d") for each in above
            ):
                continue
            for each in parents(path):
                layer.setdefault(fold(each), [win_folder(each)])
            if kind == FILE:
                data = draw(st.binary(max_size=3))
                layer[fold(path)] = [win_file(path, data)]
                if draw(st.booleans()):
                    meta = Meta(STREAM, 0, size=1)
                    layer[fold(path)].append(Change(f"{path}:s", meta, Inline(b"s")))
            else:
                layer[fold(path)] = [win_folder(path) if kind == DIRECTORY else Change(path, None)]
        stack.append([change for changes in layer.values() for change in changes])
    return stack


@pytest.mark.slow
@settings(max_examples=150)
@given(windows_layers())
def test_a_squashed_windows_image_has_the_same_files(stack):
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        for name in ("all", "base", "after"):
            (place / name).mkdir()
        tars = [packed(layer)[0] for layer in stack]
        everything = tree_of(place / "all", *tars)
        own = [
            SquashedLayer(LayerIndex(place / f"all/{n}.index", fold=fold), place / f"all/{n}.tar")
            for n in range(1, len(tars))
        ]
        base = tree_of(place / "base", tars[0], for_windows=False)
        changes = list(squash(own, lambda: base, fold=fold))
        after = tree_of(place / "after", tars[0], packed(changes)[0])
        assert folded(shown(after)) == folded(shown(everything))
        assert all(base.find(change.path) for change in changes if change.meta is None)


def folded(files):
    return {fold(path): (meta, data) for path, (meta, data, _) in files.items()}
