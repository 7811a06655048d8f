"""Leaving out of a layer what the layers below it have as it is."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from wcbuild.layer.changes import DIRECTORY, FILE, HARDLINK, Change
from wcbuild.tree.base import FileTree, Node
from wcbuild.tree.content import open_content
from wcbuild.tree.paths import parent


def without_unchanged(
    changes: Sequence[Change], tree: FileTree, *, latest: int | None
) -> tuple[Change, ...]:
    """Return ``changes`` to ``tree`` without those that change nothing, as BuildKit's layers are.

    `COPY package.json .` and then `COPY . .` writes that file once. What lies in a directory of which
    something is kept needs the directory. ``latest`` is a time (seconds since 1970) that nothing in the
    layer will be later than.
    """
    # Hard links need the file that they lead to in their own layer, and what is behind an opaque
    # directory is hidden.
    linked = {
        change.meta.link for change in changes if change.meta and change.meta.kind == HARDLINK
    }
    hiding = tuple(f"{change.path}/" for change in changes if change.opaque)
    folders: dict[str, bool] = {}

    def is_there(change: Change) -> bool:
        path = change.path
        if change.opaque or path in linked or (hiding and path.startswith(hiding)):
            return False
        folder = parent(path)
        if folder not in folders:
            folders[folder] = tree.find(folder) is not None
        return folders[folder] and _has(tree, change, latest)

    needed = set()
    for change in changes:
        here = change.path
        if here in needed or is_there(change):
            continue
        needed.add(here)
        while here and (here := parent(here)) not in needed:
            needed.add(here)
    return tuple(change for change in changes if change.path in needed)


def _has(tree: FileTree, change: Change, latest: int | None) -> bool:
    """Say whether the tree has what a change would make."""
    meta = change.meta
    if meta is None or meta.kind == HARDLINK:
        return False
    there = tree.find(change.path)
    if there is None:
        return False
    if meta.kind == DIRECTORY:
        # Its time alone is no change: the next file that is put into it gives it another.
        meta = meta._replace(mtime=there.meta.mtime)
    elif latest is not None and meta.mtime > latest:
        meta = meta._replace(mtime=latest)
    if there.meta != meta:
        return False
    if meta.kind != FILE or not meta.size:
        return True
    try:
        with open_content(Node(meta, change.content)) as content:
            found = hashlib.file_digest(content, "sha256").hexdigest()  # type: ignore[arg-type]
    except OSError:
        return False  # who packs it says why
    return found == tree.digest(change.path, there)
