"""How two images differ: in their configs, and in their files as the layers' headers tell.

Only layers whose headers are not known yet are read, once, from wherever they are; none is unpacked.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from registry.image import Image, Layer, open_layer
from registry.store import BlobSource
from wcbuild.graph.ops import WINDOWS
from wcbuild.layer.changes import DIRECTORY, TIMES, WITH_CONTENT
from wcbuild.store import LocalStore
from wcbuild.tree import paths
from wcbuild.tree.base import CaselessTree, FileTree, Node
from wcbuild.tree.index import LayerIndex
from wcbuild.tree.indexes import load_index
from wcbuild.tree.layers import EmptyTree, LayerTree

ADDED, DELETED, CHANGED = "added", "deleted", "changed"

_KINDS = {
    "f": "file",
    "d": "directory",
    "l": "symlink",
    "p": "fifo",
    "c": "device",
    "b": "device",
    "s": "stream",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldChange:
    """One field of the config. None is a field that is not there."""

    name: str
    """Where it is: `config.Env.PATH`, `history[2].created_by`."""
    old: Any
    new: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class FileChange:
    """One path of the file system."""

    path: str
    """Relative to the root, without a leading slash."""
    state: str
    """`added`, `deleted` or `changed`."""
    attributes: Mapping[str, tuple[str, str]] = field(default_factory=dict, hash=False)
    """Of a changed path, what is different: `mode`, `owner`, `content`, ...: old and new."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """All that is different."""

    config: tuple[FieldChange, ...]
    files: tuple[FileChange, ...]

    def __bool__(self) -> bool:
        """Say whether anything is."""
        return bool(self.config or self.files)


def compare_configs(old: Image, new: Image) -> tuple[FieldChange, ...]:
    """Return the fields in which two images' configs differ."""
    before, after = (_config(image) for image in (old, new))
    return tuple(_compare_values("", before, after))


def compare_files(old: FileTree, new: FileTree, *, times: bool = False) -> Iterator[FileChange]:
    """Yield the paths in which two trees differ, directories before what is in them.

    Modification times count only with ``times``: whoever builds again makes new ones. In trees of
    Windows a name in another case is the same file under another name.
    """
    caseless = [isinstance(tree, CaselessTree) for tree in (old, new)]
    key = _caseless if all(caseless) else str
    todo = [("", ("", ""), old.find(""), new.find(""))]
    while todo:
        path, names, before, after = todo.pop()
        yield from _compare_nodes(path, names, before, after, times=times, windows=any(caseless))
        if DIRECTORY in (_kind(before), _kind(after)):
            ours, theirs = (
                {key(name): (name, node) for name, node in tree.children(path)}
                for tree in (old, new)
            )
            for each in sorted(ours.keys() | theirs.keys(), reverse=True):
                name, before = ours.get(each) or (theirs[each][0], None)
                renamed, after = theirs.get(each) or (name, None)
                todo.append((paths.join(path, renamed), (name, renamed), before, after))


def _caseless(name: str) -> str:
    from wcbuild.layer.windows.names import fold  # noqa: PLC0415 - most images are Linux's

    return fold(name)


def image_tree(image: Image, source: BlobSource, store: LocalStore) -> FileTree:
    """Return the files of an image whose layers are in ``store``, or else in ``source``.

    Their headers are read where ``store`` does not know them, and remembered there. Contents cannot
    be opened.

    Raises:
        UnsafeArchiveError: a layer is not a tar. And whatever ``source`` raises.
    """
    if not image.layers:
        return EmptyTree()
    os = image.config.platform.os
    tables = [(_index(layer, os, source, store), _no_content) for layer in image.layers]
    if os != WINDOWS:
        return LayerTree(tables)
    from wcbuild.tree.windows import WindowsTree  # noqa: PLC0415 - most images are Linux's

    return WindowsTree(tables, for_windows=True)


def _index(layer: Layer, os: str, source: BlobSource, store: LocalStore) -> LayerIndex:
    here = store if store.has(layer.descriptor) else source
    path = store.layer_index_path(layer.diff_id, os)
    return load_index(path, lambda: open_layer(here, layer), os=os)


def _no_content() -> Path:
    raise AssertionError("only headers are read")


def _config(image: Image) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(image.config_raw)
    config = document.get("config")
    if isinstance(config, dict) and isinstance(config.get("Env"), list):
        # By name: a variable that moved is not another.
        config["Env"] = dict(str(pair).partition("=")[::2] for pair in config["Env"])
    return document


def _compare_values(name: str, old: Any, new: Any) -> Iterator[FieldChange]:
    if old == new:
        return
    if isinstance(old, dict | None) and isinstance(new, dict | None) and (old or new):
        before, after = old or {}, new or {}
        for key in sorted(before.keys() | after.keys()):
            inner = f"{name}.{key}" if name else key
            yield from _compare_values(inner, before.get(key), after.get(key))
    elif name in ("history", "rootfs.diff_ids") and isinstance(old, list) and isinstance(new, list):
        for number in range(max(len(old), len(new))):
            pair = (values[number] if number < len(values) else None for values in (old, new))
            yield from _compare_values(f"{name}[{number}]", *pair)
    else:
        yield FieldChange(name=name, old=old, new=new)


def _compare_nodes(
    path: str,
    names: tuple[str, str],
    old: Node | None,
    new: Node | None,
    *,
    times: bool,
    windows: bool,
) -> Iterator[FileChange]:
    if old is None or new is None:
        if old is not new:
            yield FileChange(path=path, state=DELETED if new is None else ADDED)
        return
    before, after = (_attributes(each, times=times, windows=windows) for each in (old, new))
    different = {
        name: (before.get(name, ""), after.get(name, ""))
        for name in {**before, **after}
        if before.get(name, "") != after.get(name, "")
    }
    if names[0] != names[1]:
        different["name"] = names
    if different:
        yield FileChange(path=path, state=CHANGED, attributes=different)


def _attributes(node: Node, *, times: bool, windows: bool) -> dict[str, str]:
    meta = node.meta
    attributes = {"kind": _KINDS.get(meta.kind, meta.kind)}
    if not windows:  # which looks at neither
        attributes |= {"mode": f"{meta.mode:04o}", "owner": f"{meta.uid}:{meta.gid}"}
    if meta.kind in WITH_CONTENT:
        attributes |= {"size": str(meta.size), "content": getattr(node.identity, "digest", "")}
    if meta.link:
        attributes["target"] = meta.link
    if meta.major or meta.minor:
        attributes["device"] = f"{meta.major}:{meta.minor}"
    xattrs = tuple(pair for pair in meta.xattrs if times or pair[0] not in TIMES)
    if windows:
        from wcbuild.layer.windows.records import told  # noqa: PLC0415 - most images are Linux's

        attributes |= told(xattrs)
    elif xattrs:
        attributes["xattrs"] = " ".join(f"{name}={value.hex()}" for name, value in xattrs)
    if times:
        attributes["mtime"] = str(meta.mtime)
    return attributes


def _kind(node: Node | None) -> str:
    return node.meta.kind if node is not None else ""
