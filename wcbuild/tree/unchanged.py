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

    `COPY package.json .` and then `COPY . .` writes that file once. Directories stay in which something
    does. A file that the tree has under several names stays one with them if it is copied over one of
    them as it is. ``latest`` is a time (seconds since 1970) that nothing in the layer will be later than.
    """
    hiding = tuple(f"{change.path}/" for change in changes if change.opaque)
    folders: dict[str, bool] = {}

    def is_there(change: Change) -> bool:
        path = change.path
        if change.opaque or (hiding and path.startswith(hiding)):
            return False
        folder = parent(path)
        if folder not in folders:
            folders[folder] = tree.find(folder) is not None
        return folders[folder] and _has(tree, change, latest)

    new = {change.path for change in changes if not is_there(change)}
    # Hard links need the file that they lead to in their own layer, and all others of that file.
    links = [
        (each.path, each.meta.link) for each in changes if each.meta and each.meta.kind == HARDLINK
    ]
    new.update({target for path, target in links if path in new})
    new.update(path for path, target in links if target in new)

    for path in tuple(new):
        here = path
        while here and (here := parent(here)) not in new:
            new.add(here)
    return tuple(change for change in changes if change.path in new)


def _has(tree: FileTree, change: Change, latest: int | None) -> bool:
    """Say whether the tree has what a change would make."""
    meta = change.meta
    there = tree.find(change.path)
    if meta is None or there is None:
        return False
    if meta.kind == HARDLINK:
        target = tree.find(meta.link)
        return target is not None and None is not target.identity == there.identity
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
