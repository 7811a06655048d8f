"""Tar archives, compressed or not, as trees of files that are read where they lie: nothing is unpacked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from registry.files import store_errors
from wcbuild.errors import UnsafeArchiveError
from wcbuild.layer.changes import DIRECTORY, FILE, HARDLINK, BlobRange, Entry, HostFile, Meta
from wcbuild.layer.scan import content_digest
from wcbuild.layer.tar import read_entries
from wcbuild.tree.base import FileTree, Node
from wcbuild.tree.content import open_content
from wcbuild.tree.index import LayerIndex, write_index
from wcbuild.tree.layers import LayerTree
from wcbuild.tree.paths import join, parent, resolve
from wcbuild.tree.unpack import find_archive, plain_link

_CONTENT = (FILE, HARDLINK)
_FOLDER = Node(Meta(DIRECTORY, 0o755))


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenArchive:
    """The files of an archive."""

    tree: FileTree
    """Owners are as in the archive."""
    newest: int
    """The latest time of a file, in seconds since 1970; 0 if it has none."""


def open_archive(path: Path, name: str, scratch: Callable[[], Path]) -> OpenArchive | None:
    """Return the files of the archive at ``path``, recognized by content; None if it is something else.

    What ``scratch`` makes, for a decompressed tar and the table of its entries, must stay as long as
    the tree is used. ``name`` is for messages.

    Raises:
        UnsafeArchiveError: it is damaged, or would lead out of its root.
        StoreError: the disk refused.
    """
    node = Node(Meta(FILE, 0o600, size=path.stat().st_size), HostFile(path))
    found = find_archive(node, name, scratch)
    if found is None:
        return None
    with open_content(found.node) as stream:
        entries = list(_unpacked(scan_files(stream)))
    times = (each.meta.mtime for each in entries if each.meta and each.meta.kind in _CONTENT)
    newest = max(times, default=0)
    # First, so that an entry for the root, if the archive has one, counts more.
    root = Entry("", Meta(DIRECTORY, 0o755, mtime=newest))
    index = scratch()
    with store_errors(index):
        write_index(index, [root, *entries])
    return OpenArchive(tree=open_tree([(index, Path(found.path))]), newest=newest)


def scan_files(stream: BinaryIO) -> Iterator[Entry]:
    """Yield the entries of an uncompressed tar, each file with its digest. Whiteouts are files here.

    Raises:
        UnsafeArchiveError: see `wcbuild.layer.tar.read_entries`.
    """
    for entry in read_entries(stream):
        if entry.meta.kind == FILE:
            yield Entry(entry.path, entry.meta, entry.offset, content_digest(entry))
        else:
            yield Entry(entry.path, plain_link(entry.meta))


class _Unpacked:
    """What is at each path when some entries of an archive have been unpacked."""

    def __init__(self) -> None:
        self._nodes: dict[str, Node] = {}

    def find(self, path: str) -> Node | None:
        return self._nodes.get(path)

    def check_folder(self, path: str, entry: str) -> None:
        """Raise UnsafeArchiveError if what ``path`` leads to cannot hold an ``entry``."""
        while path and path not in self._nodes:
            path = parent(path)
        if path and self._nodes[path].meta.kind != DIRECTORY:
            raise UnsafeArchiveError(entry, f'lies in "{path}", which is no folder')

    def put(self, path: str, meta: Meta) -> None:
        self._nodes[path] = Node(meta)
        while path:
            path = parent(path)
            self._nodes.setdefault(path, _FOLDER)


def _unpacked(entries: Iterable[Entry]) -> Iterator[Entry]:
    """Yield the entries of an archive with the paths at which unpacking puts them.

    Symlinks that came before are followed, and lead to something in the archive.

    Raises:
        UnsafeArchiveError: one lies in a file, or is another name for nothing.
    """
    there = _Unpacked()
    for entry in entries:
        meta = entry.meta
        if meta is None:
            raise AssertionError(entry)  # `scan_files` knows no deletions
        folder = resolve(there, parent(entry.path))
        path = join(folder, entry.path.rpartition("/")[2])
        there.check_folder(folder, entry.path)
        if meta.kind == HARDLINK:
            meta = meta._replace(link=resolve(there, meta.link, follow_last=False))
            node = there.find(meta.link)
            if node is None or node.meta.kind == DIRECTORY:
                raise UnsafeArchiveError(
                    entry.path, f'is a hard link to "{meta.link}", which is no file'
                )
        there.put(path, meta)
        yield entry._replace(path=path, meta=meta)


def open_tree(tars: list[tuple[Path, Path]]) -> LayerTree:
    """Return the files of uncompressed tars, the later on top of the earlier.

    Each is the path of the table of its entries, and its own.

    Raises:
        DamagedIndexError: a table is not what `write_index` wrote.
    """
    return LayerTree([(LayerIndex(index), tar) for index, tar in tars])


class SingleFile:
    """A tree of one file."""

    def __init__(self, name: str, meta: Meta, path: Path, digest: str) -> None:
        self._name = name
        self._digest = digest
        # A range, not the file as such: a build context's files alone are looked at for changes.
        content = BlobRange(path, 0) if meta.size else None
        self._node = Node(meta, content, digest)
        self._root = Node(Meta(DIRECTORY, 0o755, mtime=meta.mtime))

    def find(self, path: str) -> Node | None:
        """Return the file, or the root."""
        if path == self._name:
            return self._node
        return None if path else self._root

    def children(self, path: str) -> Iterator[tuple[str, Node]]:
        """Yield the file, which lies in the root."""
        if not path:
            yield self._name, self._node

    def digest(self, path: str, node: Node) -> str:
        """Return what is known since the file was fetched."""
        if path != self._name:
            raise AssertionError(path, node)
        return self._digest


def read_file(tree: FileTree, path: str, limit: int) -> bytes | None:
    """Return the first ``limit`` bytes of a file, or None; no symlink leads out of the tree."""
    node = tree.find(resolve(tree, path))
    if node is None or node.meta.kind != FILE:
        return None
    with open_content(node) as stream:
        return stream.read(limit)
