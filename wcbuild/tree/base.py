"""What COPY and ADD need to know about a set of files, wherever it lies."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol, runtime_checkable

from wcbuild.layer.changes import Content, Meta


class Node(NamedTuple):
    """One path of a tree. Hard links are resolved: a node is a file with content, never a link to one."""

    meta: Meta
    content: Content | None = None
    identity: object = None
    """Equal for two paths that are hard links to the same file; None where that is not known."""


class FileTree(Protocol):
    """A build context folder, a stage's file system, an image's: read by path, never followed by itself.

    Paths are as in `wcbuild.layer.changes`. No method follows a symlink: `wcbuild.tree.paths` does.
    """

    def find(self, path: str) -> Node | None:
        """Return what is at ``path``, or None; ``""`` is always a directory."""
        ...

    def children(self, path: str) -> Iterator[tuple[str, Node]]:
        """Yield name and node of what lies directly in a directory, names in byte order."""
        ...

    def digest(self, path: str, node: Node) -> str:
        """Return the sha256 (hexadecimal) of a file's content, reading it only if nobody has yet.

        ``node`` is what `find` or `children` gave for ``path``.

        Raises:
            ContextError: the file changed or vanished while it was read.
        """
        ...


@runtime_checkable
class RememberingTree(FileTree, Protocol):
    """A tree that knows some digests and keys from earlier builds, and whose files may be left out."""

    @property
    def where(self) -> str:
        """What to call these files in messages."""
        ...

    def ignores(self, path: str) -> bool:
        """Say whether ``path`` is there, but excluded."""
        ...

    def known_digest(self, path: str, node: Node) -> str | None:
        """Return the digest of a file if that takes no reading."""
        ...

    def recall(self, fingerprint: str) -> str | None:
        """Return the key of a set of files whose identities gave this fingerprint."""
        ...

    def remember(self, fingerprint: str, key: str, nodes: Iterable[Node]) -> None:
        """Remember the key of a set of files, unless one of ``nodes`` may yet change unseen."""
        ...


@runtime_checkable
class CaselessTree(FileTree, Protocol):
    """A Windows image's files: a path is found in any spelling."""

    def spelled(self, path: str) -> str:
        """Return the spelling of the last component of ``path`` that is there; as given if nothing is."""
        ...
