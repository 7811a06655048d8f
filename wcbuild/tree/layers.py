"""The merged view of a stack of layers, read from their indexes alone."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from wcbuild.layer.changes import DIRECTORY, HARDLINK, SYMLINK, WITH_CONTENT, BlobRange, Entry, Meta
from wcbuild.tree import paths
from wcbuild.tree.base import Node
from wcbuild.tree.index import LayerIndex

_IMPLIED = Node(Meta(DIRECTORY, 0o755))
"""A directory that no layer describes, but that something lies in."""

MAX_HARD_LINKS = 40
"""Hard links to hard links that are followed; an honest layer has none."""


class _Table(Protocol):
    """The entries of one layer."""

    def look_up(self, path: str) -> tuple[Entry, bool] | None: ...

    def children(self, path: str) -> Iterator[tuple[str, Entry, bool]]: ...


class EmptyTree:
    """A file system with nothing in it but its root."""

    def find(self, path: str) -> Node | None:
        return None if path else _IMPLIED

    def children(self, path: str) -> Iterator[tuple[str, Node]]:  # noqa: ARG002 - the protocol's
        return iter(())

    def digest(self, path: str, node: Node) -> str:
        raise AssertionError(path, node)  # no node of this tree has content


class LayerTree:
    """The files of an image: layers on top of each other, as a container would see them.

    ``layers`` are given the lowest first, each with the path of its uncompressed tar or a function that
    makes it; that function is called when the content of one of its files is opened, and at most
    once. Whiteouts and opaque directories hide what lies below, hard links are resolved, and an
    entry below a path that is a symlink in lower layers lands where the link leads, as it does when
    a layer is unpacked.
    """

    def __init__(self, layers: Sequence[tuple[LayerIndex, Path | Callable[[], Path]]]) -> None:
        self._tars = [_LazyPath(tar) for _, tar in layers]
        self._tables: list[_Table] = []
        self._directories: dict[str, tuple[int, ...]] = {}
        self._views: dict[int, LayerTree] = {}
        for index, _ in layers:
            self._tables.append(index)
            moved = self._moved(index)
            if moved:
                self._tables[-1] = _Moved(index, moved)
            self._directories.clear()

    def find(self, path: str) -> Node | None:
        if path:
            return self._node(path, self._layers_with(paths.parent(path)))
        root = self._node("", self._layers_with(""))
        return _IMPLIED if root is None else root

    def children(self, path: str) -> Iterator[tuple[str, Node]]:
        layers = self._layers_with(path)
        uppermost: dict[str, tuple[int, Entry, bool]] = {}
        for number in layers:
            for name, entry, implied in self._tables[number].children(path):
                if name not in uppermost:
                    uppermost[name] = number, entry, implied
        names = iter(uppermost) if len(layers) == 1 else sorted(uppermost, key=os.fsencode)
        for name in names:
            number, entry, implied = uppermost[name]
            node = (
                self._node(paths.join(path, name), layers)
                if implied
                else self._entry_node(number, entry)
            )
            if node is not None:
                yield name, node

    def digest(self, path: str, node: Node) -> str:
        if isinstance(node.identity, _Identity):
            return node.identity.digest
        raise AssertionError(path, node)  # not a node of this tree, or not of a file

    def _node(self, path: str, layers: tuple[int, ...]) -> Node | None:
        """Return what the first of ``layers`` to know ``path`` says about it."""
        implied = False
        for number in layers:
            found = self._tables[number].look_up(path)
            if found is None:
                continue
            entry, only_implied = found
            if only_implied:
                implied = implied or entry.meta is not None
            elif entry.meta is None:
                break
            elif implied and entry.meta.kind not in (DIRECTORY, SYMLINK):
                # Something lies in it, so it cannot be a file any more.
                break
            else:
                return self._entry_node(number, entry)
        return _IMPLIED if implied else None

    def _entry_node(self, number: int, entry: Entry) -> Node | None:
        meta = entry.meta
        for _ in range(MAX_HARD_LINKS):
            if meta is None:
                return None
            if meta.kind in WITH_CONTENT:
                content = BlobRange(self._tars[number], entry.offset) if meta.size else None
                return Node(meta, content, _Identity(number, entry.offset, entry.digest))
            if meta.kind != HARDLINK:
                return Node(meta)
            target = self._hard_link_target(number, meta.link)
            if target is None:
                return None
            number, entry = target
            meta = entry.meta
        return None

    def _hard_link_target(self, number: int, link: str) -> tuple[int, Entry] | None:
        """Return the entry that a hard link of a layer means: in that layer or in lower ones."""
        view = self._up_to(number)
        return view.look_up(link) or view.look_up(paths.resolve(view, link, follow_last=False))

    def look_up(self, path: str) -> tuple[int, Entry] | None:
        """Return the number of the layer that has ``path``, and its entry, be it a whiteout."""
        for number in self._layers_with(paths.parent(path)):
            found = self._tables[number].look_up(path)
            if found is not None and not found[1]:
                return number, found[0]
        return None

    def _up_to(self, number: int) -> LayerTree:
        """Return the tree as it was before the layers above ``number`` came."""
        if number == len(self._tables) - 1:
            return self
        if number not in self._views:
            view = LayerTree(())
            view._tars = self._tars
            view._tables = self._tables[: number + 1]
            self._views[number] = view
        return self._views[number]

    def _layers_with(self, path: str) -> tuple[int, ...]:
        """Return the layers that say what is in directory ``path``, the uppermost first.

        Empty if there is no such directory; every layer that hides those below it is the last.
        """
        missing = []
        here = path
        while here not in self._directories:
            missing.append(here)
            if not here:
                break
            here = paths.parent(here)
        # From the root down, and not by recursion: paths may be deeper than our stack.
        for here in reversed(missing):
            self._directories[here] = self._find_layers_with(here)
        return self._directories[path]

    def _find_layers_with(self, path: str) -> tuple[int, ...]:
        if path:
            candidates = self._layers_with(paths.parent(path))
        else:
            candidates = tuple(range(len(self._tables) - 1, -1, -1))
        layers: list[int] = []
        for number in candidates:
            found = self._tables[number].look_up(path)
            if found is None:
                if not path:
                    # Only the root has content without an entry, be it an implied one.
                    layers.append(number)
                continue
            entry, implied = found
            if not implied and (entry.meta is None or entry.meta.kind != DIRECTORY):
                break
            layers.append(number)
            if entry.opaque:
                break
        return tuple(layers)

    def _moved(self, index: LayerIndex) -> dict[str, str]:
        """Return the implied directories of the uppermost layer that are symlinks, and where they lead.

        Whoever wrote the layer without an entry for `lib` meant the `lib` that is there.
        """
        moved: dict[str, str] = {}
        if len(self._tables) > 1:
            for path in index.implied():
                place = _moved_path(path, moved)
                node = self.find(place)
                if node is not None and node.meta.kind == SYMLINK:
                    moved[path] = paths.resolve(self, place)
        return moved


def _moved_path(path: str, moved: Mapping[str, str]) -> str:
    """Return where ``path`` lies when directories above it are elsewhere."""
    above = path
    while moved and above:
        above = paths.parent(above)
        if above in moved:
            return paths.join(moved[above], path[len(above) + 1 :])
    return path


class _Moved:
    """A layer whose entries in some directories are found elsewhere, gathered in memory.

    Few layers are like this, and those are small: whole systems are packed with their directories.
    """

    def __init__(self, index: LayerIndex, moved: Mapping[str, str]) -> None:
        self._entries: dict[str, tuple[Entry, bool]] = {}
        self._children: dict[str, dict[str, tuple[Entry, bool]]] = {}
        for entry in index:
            path = _moved_path(entry.path, moved)
            self._put(path, (entry._replace(path=path), False))

    def look_up(self, path: str) -> tuple[Entry, bool] | None:
        return self._entries.get(path)

    def children(self, path: str) -> Iterator[tuple[str, Entry, bool]]:
        found = self._children.get(path, {})
        for name in sorted(found, key=os.fsencode):
            yield name, *found[name]

    def _put(self, path: str, value: tuple[Entry, bool]) -> None:
        self._entries[path] = value
        meta = None if value[0].meta is None else _IMPLIED.meta
        while path:
            parent, _, name = path.rpartition("/")
            self._children.setdefault(parent, {})[name] = self._entries[path]
            path = parent
            known = self._entries.get(path)
            if path and (known is None or (known[1] and known[0].meta is None)):
                self._entries[path] = (Entry(path, meta), True)


class _Identity(NamedTuple):
    """The content of a file: the same for all hard links to it."""

    layer: int
    offset: int
    digest: str


class _LazyPath(os.PathLike[str]):
    """A path that is found out when it is opened."""

    def __init__(self, path: Path | Callable[[], Path]) -> None:
        self._path = path

    def __fspath__(self) -> str:
        if callable(self._path):
            self._path = self._path()
        return os.fspath(self._path)
