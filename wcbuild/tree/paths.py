"""Finding what a path means in a tree: symlinks are followed, and none leads out of the root."""

from __future__ import annotations

from typing import Protocol

from wcbuild.layer.changes import SYMLINK
from wcbuild.tree.base import Node
from wcbuild.tree.errors import TooManyLinksError

MAX_LINKS = 255
"""Symlinks followed for one path before it counts as a circle."""


class Finder(Protocol):
    """What can be asked what lies at a path."""

    def find(self, path: str) -> Node | None:
        """Return what is at ``path``, not following any symlink."""
        ...


def resolve(tree: Finder, path: str, *, root: str = "", follow_last: bool = True) -> str:
    """Return the real path of ``path``: no component of it is a symlink, `.` or `..`.

    It begins at ``root``, the tree's own or a real path; there absolute links start again, and `..`
    stops. What does not exist yet is kept as it is written, so that it can be created. ``follow_last``
    says whether a symlink at the very end is followed, too.

    Raises:
        TooManyLinksError: more than `MAX_LINKS` links.
    """
    real = root
    todo = _components(path)
    followed = 0
    while todo:
        name = todo.pop()
        if name == "..":
            real = root if real == root else parent(real)
            continue
        here = join(real, name)
        node = tree.find(here) if todo or follow_last else None
        if node is None or node.meta.kind != SYMLINK:
            real = here
            continue
        followed += 1
        if followed > MAX_LINKS:
            raise TooManyLinksError(path.strip("/"))
        if node.meta.link.startswith("/"):
            real = root
        todo += _components(node.meta.link)
    return real


def join(parent: str, name: str) -> str:
    """Return the path of ``name`` in directory ``parent``."""
    return f"{parent}/{name}" if parent else name


def parent(path: str) -> str:
    """Return the directory that ``path`` lies in; the root lies in itself."""
    return path.rpartition("/")[0]


def _components(path: str) -> list[str]:
    """Return the path's components, the last one first."""
    return [name for name in reversed(path.split("/")) if name not in ("", ".")]
