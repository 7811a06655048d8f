"""Several layers as the changes of one, found in their headers; contents are referred to, never unpacked.

What the layers say of each path is folded together, the lowest layer first. A path that they leave as
something is in the result as the last of them has it; one that they made and deleted again is not. A
deletion stays only where the base has what it hides, and a directory that replaced another one deletes by
name what would shine through: so there are no opaque directories. Nothing else depends on the base, which
is not even asked where nothing of it is hidden.

Memory grows with the number of entries, not with their contents.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from wcbuild.errors import UnsafeArchiveError
from wcbuild.layer.changes import (
    DIRECTORY,
    HARDLINK,
    STREAM,
    SYMLINK,
    BlobRange,
    Change,
    Entry,
    Meta,
)
from wcbuild.layer.tar import encode_name
from wcbuild.tree.base import FileTree, Node
from wcbuild.tree.layers import MAX_HARD_LINKS
from wcbuild.tree.paths import join, resolve

_IMPLIED = Node(Meta(DIRECTORY, 0o755))
"""A directory that no layer describes, but that something was put into."""


Fold = Callable[[str], str]
"""Gives the one spelling that all spellings of a path share."""


class SquashedLayer(NamedTuple):
    """One of the layers that become one."""

    entries: Iterable[Entry]
    """As a `LayerIndex` yields them: each path once, directories before what is in them."""
    tar: os.PathLike[str] | str
    """The uncompressed tar that the offsets of the entries are of."""


def squash(
    layers: Sequence[SquashedLayer], base: Callable[[], FileTree], *, fold: Fold = str
) -> Iterator[Change]:
    """Yield what makes of a base what ``layers``, the lowest first, make of it together.

    Each path comes once; the changes are for `wcbuild.layer.pack`, which verifies the contents. Names of
    one file stay hard links, whichever of them are left. ``base`` gives the files below, as Linux sees
    them; it is called at most once, and only if a layer hides some of them. Of an image in which names
    have several spellings ``fold`` says which are the same; the last one stays.

    Raises:
        UnsafeArchiveError: an entry lies in something that a lower one of ``layers`` has as no directory,
            or is a hard link to what its layer does not have.
    """
    root = _Place("")
    for number, layer in enumerate(layers):
        _add_layer(root, number, layer, fold)
    return _changes(root, base() if any(map(_hides_a_base, _all(root))) else None, fold)


class _Place:
    """What the layers, as far as they were added, say of one path.

    Without a node it is deleted if it hides what the base has, else only on the way to others.
    """

    __slots__ = ("below", "hides", "is_made", "name", "node", "streams")

    def __init__(self, name: str) -> None:
        self.name = name
        self.node: Node | None = None
        self.streams: tuple[tuple[str, Node], ...] = ()
        """Data streams of a Windows file, by what follows its name."""
        self.below: dict[str, _Place] = {}
        """By folded name."""
        self.hides = False
        """Nothing that the base has here is seen any more, nor what it has below."""
        self.is_made = False
        """A layer put something into this directory, so it is there even if that is gone."""

    @property
    def is_directory(self) -> bool:
        return self.node is not None and self.node.meta.kind == DIRECTORY


def _add_layer(root: _Place, number: int, layer: SquashedLayer, fold: Fold) -> None:
    entries: dict[str, Entry] = {}
    streams: list[Entry] = []
    for entry in layer.entries:
        if entry.meta is not None and entry.meta.kind == STREAM:
            streams.append(entry)
        else:
            entries[fold(entry.path)] = entry
    by_file = _by_file(streams, entries, layer.tar, fold)
    for entry in entries.values():
        place = _find_place(root, entry.path, fold, deleting=entry.meta is None)
        if place is None:
            continue
        file = _linked_to(entry, entries, fold)
        place.name = entry.path.rpartition("/")[2]
        place.node = None
        if file.meta is not None:
            # All names of a file have the same identity; directories have one name.
            identity = None if file.meta.kind == DIRECTORY else (number, file.path)
            place.node = Node(file.meta, _content(file, layer.tar), identity)
        place.streams = tuple(by_file.get(file.path, ()))
        if entry.opaque or not place.is_directory:
            place.hides = True
            place.below = {}


def _by_file(
    streams: Iterable[Entry], entries: Mapping[str, Entry], tar: os.PathLike[str] | str, fold: Fold
) -> dict[str, list[tuple[str, Node]]]:
    """Return the streams of a layer by the path of the file that they are of, whatever name they have."""
    found: dict[str, list[tuple[str, Node]]] = {}
    for stream in streams:
        path, colon, name = stream.path.rpartition(":")
        entry = entries.get(fold(path))
        if entry is not None and stream.meta is not None:
            told = colon + name, Node(stream.meta, _content(stream, tar))
            found.setdefault(_linked_to(entry, entries, fold).path, []).append(told)
    return found


def _content(entry: Entry, tar: os.PathLike[str] | str) -> BlobRange | None:
    has_content = entry.meta is not None and entry.meta.size
    return BlobRange(tar, entry.offset, entry.digest) if has_content else None


def _find_place(root: _Place, path: str, fold: Fold, *, deleting: bool) -> _Place | None:
    """Return the place of an entry, having made the way to it; None if there is nothing to delete."""
    place, hidden = root, root.hides
    *above, last = path.split("/")
    for name in above:
        below = place.below.get(fold(name)) or _Place(name)
        hidden = hidden or below.hides
        is_missing = below.node is None and hidden
        if is_missing and deleting:
            return None
        if is_missing:
            below.node = _IMPLIED
        if below.node is not None and not below.is_directory:
            raise UnsafeArchiveError(path, "lies in what an earlier layer has as no directory")
        below.is_made = below.is_made or not deleting
        place.below[fold(name)] = below
        place = below
    return place.below.setdefault(fold(last), _Place(last)) if path else root


def _linked_to(entry: Entry, entries: Mapping[str, Entry], fold: Fold) -> Entry:
    """Return the entry of its layer that a hard link leads to; any other one is its own."""
    found: Entry | None = entry
    for _ in range(MAX_HARD_LINKS):
        if found is None or found.meta is None or found.meta.kind != HARDLINK:
            break
        found = entries.get(fold(found.meta.link))
    if entry.meta is None or entry.meta.kind != HARDLINK:
        return entry
    if found is None or found.meta is None or found.meta.kind in (DIRECTORY, HARDLINK):
        raise UnsafeArchiveError(entry.path, "is a hard link to what its layer does not have")
    return found


def _all(root: _Place) -> Iterator[_Place]:
    # Not by recursion: paths may be deeper than our stack.
    places = [root]
    while places:
        place = places.pop()
        yield place
        places += place.below.values()


def _hides_a_base(place: _Place) -> bool:
    """Say whether what the base has must be known; what is no directory replaces whatever is there."""
    return place.hides and (place.node is None or place.is_directory)


def _changes(root: _Place, base: FileTree | None, fold: Fold) -> Iterator[Change]:
    """Yield the changes of all places; ``base`` is there if something of it is hidden.

    They come in the order in which `pack` writes them, deletions apart: so the name of a file that its
    streams are told with is the one that is not told as a link.
    """
    first_names: dict[object, str] = {}
    todo = [("", "", root, False)]
    while todo:
        path, there, place, hidden = todo.pop()
        hidden = hidden or place.hides
        if place.node is not None:
            yield from _told(path, place, place.node, first_names)
            if not place.is_directory:
                continue
        elif place.hides:
            if base is not None and base.find(there) is not None:
                yield Change(path, None)
            continue
        elif base is not None:
            node = base.find(there)
            if node is not None and node.meta.kind == SYMLINK:
                # Whoever wrote a layer without an entry for `lib` meant the `lib` that is there.
                there = resolve(base, there)
                node = base.find(there)
            if node is None and place.is_made:
                yield Change(path, _IMPLIED.meta)
        if hidden and base is not None:
            gone = (name for name, _ in base.children(there) if fold(name) not in place.below)
            yield from (Change(join(path, name), None) for name in gone)
        todo.extend(
            (join(path, below.name), join(there, below.name), below, hidden)
            for below in sorted(place.below.values(), key=_order, reverse=True)
        )


def _order(place: _Place) -> bytes:
    return encode_name(place.name)


def _told(path: str, place: _Place, node: Node, first_names: dict[object, str]) -> Iterator[Change]:
    """Yield a path and its streams, or only that it is another name of a file."""
    first = path if node.identity is None else first_names.setdefault(node.identity, path)
    if first != path:
        yield Change(path, node.meta._replace(kind=HARDLINK, link=first, size=0))
        return
    yield Change(path, node.meta, node.content)
    for name, stream in place.streams:
        yield Change(path + name, stream.meta, stream.content)
