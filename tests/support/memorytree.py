"""A tree of files that lies nowhere, and words to build one with."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping

from wcbuild.layer.changes import (
    DIRECTORY,
    FIFO,
    FILE,
    HARDLINK,
    SYMLINK,
    Change,
    Inline,
    Meta,
)
from wcbuild.tree.base import Node
from wcbuild.tree.content import open_content

OLD = 1_000_000_000
"""When everything was made, unless it says otherwise."""


def file(data: bytes | str = b"", mode: int = 0o644, uid: int = 0, gid: int = 0, mtime: int = OLD):
    data = data.encode() if isinstance(data, str) else data
    meta = Meta(FILE, mode, uid, gid, len(data), mtime)
    return Node(meta, Inline(data) if data else None, object())


def folder(mode: int = 0o755, uid: int = 0, gid: int = 0, mtime: int = OLD):
    return Node(Meta(DIRECTORY, mode, uid, gid, mtime=mtime))


def link(target: str, uid: int = 0, gid: int = 0):
    return Node(Meta(SYMLINK, 0o777, uid, gid, mtime=OLD, link=target))


def fifo(mode: int = 0o644):
    return Node(Meta(FIFO, mode, mtime=OLD))


class MemoryTree:
    """The twin of real trees. Two paths with the same node are hard links to each other."""

    def __init__(self, nodes: Mapping[str, Node | bytes | str] = {}) -> None:
        self.nodes: dict[str, Node] = {"": folder()}
        for path, node in nodes.items():
            self._put(path, node if isinstance(node, Node) else file(node))

    def find(self, path: str) -> Node | None:
        return self.nodes.get(path)

    def children(self, path: str) -> Iterator[tuple[str, Node]]:
        start = f"{path}/" if path else ""
        names = [p[len(start) :] for p in self.nodes if p.startswith(start)]
        for name in sorted((n for n in names if n and "/" not in n), key=os.fsencode):
            yield name, self.nodes[start + name]

    def digest(self, path: str, node: Node) -> str:
        return hashlib.sha256(content(node)).hexdigest()

    def applied(self, changes: Iterable[Change]) -> MemoryTree:
        """Return the tree that it is with a layer of ``changes`` on top."""
        result = MemoryTree()
        result.nodes = dict(self.nodes)
        order = sorted(changes, key=lambda change: change.path.split("/"))
        for change in order:
            old = result.nodes.get(change.path)
            replaced = change.meta is None or change.opaque
            if replaced or (old is not None and change.meta.kind != DIRECTORY):
                for path in [p for p in result.nodes if f"{p}/".startswith(f"{change.path}/")]:
                    del result.nodes[path]
            if change.meta is not None and change.meta.kind != HARDLINK:
                identity = object() if change.meta.kind == FILE else None
                result._put(change.path, Node(change.meta, change.content, identity))
        for change in order:
            if change.meta is not None and change.meta.kind == HARDLINK:
                result._put(change.path, result.nodes[change.meta.link])
        return result

    def _put(self, path: str, node: Node) -> None:
        self.nodes[path] = node
        parent = path.rpartition("/")[0]
        while parent and parent not in self.nodes:
            self.nodes[parent] = folder()
            parent = parent.rpartition("/")[0]


def content(node: Node) -> bytes:
    with open_content(node) as stream:
        return stream.read()


def listing(tree: MemoryTree) -> dict[str, str]:
    """Return one short text for each path: kind, mode, owner, and target or content."""
    return {path: text(node) for path, node in sorted(tree.nodes.items()) if path}


def text(node: Node) -> str:
    meta = node.meta
    rest = f" -> {meta.link}" if meta.kind == SYMLINK else ""
    if meta.kind == FILE:
        rest = f" {content(node).decode(errors='replace')!r}"
    return f"{meta.kind} {meta.mode:04o} {meta.uid}:{meta.gid}{rest}"
