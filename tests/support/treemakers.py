"""Ways to make the same nodes into trees of different kinds."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from memorytree import MemoryTree, content

from wcbuild.layer.changes import DIRECTORY, FIFO, FILE, HARDLINK, SYMLINK, Change
from wcbuild.layer.pack import pack
from wcbuild.tree.base import Node
from wcbuild.tree.index import LayerIndex, write_index
from wcbuild.tree.layers import LayerTree


def changes(nodes: Mapping[str, Node]) -> list[Change]:
    """Return a layer's changes that create ``nodes``; the same node twice is a hard link."""
    result = []
    first: dict[int, str] = {}
    for path, node in nodes.items():
        target = first.setdefault(id(node), path)
        if node.meta.kind == FILE and target != path:
            meta = node.meta._replace(kind=HARDLINK, size=0, link=target)
            result.append(Change(path, meta))
        else:
            result.append(Change(path, node.meta, node.content))
    return result


def write_layer(place: Path, layer: Iterable[Change]) -> tuple[LayerIndex, Path]:
    """Pack changes at ``place`` and beside it, and return what `LayerTree` takes."""
    tar = place.with_suffix(".tar")
    with open(tar, "wb") as out:
        packed = pack(layer, out, epoch=None)
    write_index(place.with_suffix(".index"), packed.entries)
    return LayerIndex(place.with_suffix(".index")), tar


def write_files(root: Path, nodes: Mapping[str, Node]) -> None:
    """Make ``nodes`` below ``root``, with their modes and times, but not their owners."""
    root.mkdir(exist_ok=True)
    made: dict[int, str] = {}
    tree = MemoryTree(nodes)
    for path in sorted(tree.nodes):
        node = tree.nodes[path]
        place = os.path.join(root, path)
        if node.meta.kind == DIRECTORY:
            os.makedirs(place, exist_ok=True)
        elif node.meta.kind == SYMLINK:
            os.symlink(node.meta.link, place)
        elif node.meta.kind == FIFO:
            os.mkfifo(place)
        elif id(node) in made:
            os.link(made[id(node)], place)
            continue
        else:
            made[id(node)] = place
            Path(place).write_bytes(content(node))
    for path in sorted(tree.nodes, reverse=True):
        meta = tree.nodes[path].meta
        place = os.path.join(root, path)
        if path and meta.kind != SYMLINK:
            os.chmod(place, meta.mode)
        os.utime(place, (meta.mtime, meta.mtime), follow_symlinks=False)


def layer_tree(folder: Path, *layers: Iterable[Change]) -> LayerTree:
    return LayerTree([write_layer(folder / str(n), layer) for n, layer in enumerate(layers)])
