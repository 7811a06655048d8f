"""Tar archives, compressed or not, as trees of files that are read where they lie: nothing is unpacked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from registry.files import store_errors
from wcbuild.layer.changes import DIRECTORY, FILE, BlobRange, Entry, HostFile, Meta
from wcbuild.layer.scan import content_digest
from wcbuild.layer.tar import read_entries
from wcbuild.tree.base import FileTree, Node
from wcbuild.tree.content import open_content
from wcbuild.tree.index import LayerIndex, write_index
from wcbuild.tree.layers import LayerTree
from wcbuild.tree.paths import resolve
from wcbuild.tree.unpack import find_archive


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenArchive:
    """The files of an archive."""

    tree: FileTree
    """Owners are as in the archive."""
    newest: int
    """The latest time of an entry, in seconds since 1970; 0 if it has none."""


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
        entries = list(scan_files(stream))
    newest = max((entry.meta.mtime for entry in entries if entry.meta), default=0)
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
            yield Entry(entry.path, entry.meta)


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
