"""A file system with changes on top that are not written anywhere yet."""

from __future__ import annotations

from stat import S_ISGID

from wcbuild.layer.changes import DIRECTORY, FILE, HARDLINK, Change, Content, Meta
from wcbuild.tree.base import FileTree, Node
from wcbuild.tree.errors import InTheWayError
from wcbuild.tree.paths import parent


class Staging:
    """Changes to ``tree``; paths given to it are real ones, without symlinks in their parents."""

    def __init__(self, tree: FileTree) -> None:
        self._tree = tree
        self._changes: dict[str, Change] = {}
        self._listings: dict[str, dict[str, Node]] = {}
        """What the tree has in some directories: read at once where many paths will be asked for."""
        self._removed: list[str] = []
        """Directories of the tree that are gone, even if others have taken their place."""
        self._links: dict[str, list[str]] = {}
        """Hard links by the path that they refer to."""

    def find(self, path: str) -> Node | None:
        """Return what is at ``path`` now; hard links are resolved."""
        change = self._changes.get(path)
        if change is not None and change.meta is not None:
            if change.meta.kind == HARDLINK:
                return self.find(change.meta.link)
            return Node(change.meta, change.content)
        return self._find_below(path)

    def make_directories(self, path: str, meta: Meta, *, owned: bool = False) -> None:
        """Create ``path`` and its parents where they are missing, each with this metadata.

        Below a setgid directory they are so, too, and of its group unless they are ``owned``: as mkdir(2)
        does it.

        Raises:
            InTheWayError: something is there, or above, that is not a directory.
        """
        missing = []
        here = path
        while (above := self.find(here)) is None:
            missing.append(here)
            here = parent(here)
        if above.meta.kind != DIRECTORY:
            kind = "a file" if above.meta.kind == FILE else "not a directory"
            raise InTheWayError(path, here, kind)
        if above.meta.mode & S_ISGID:
            gid = meta.gid if owned else above.meta.gid
            meta = meta._replace(mode=meta.mode | S_ISGID, gid=gid)
        for new in reversed(missing):
            self.put_directory(new, meta)

    def list_directory(self, path: str) -> None:
        """Prepare for questions about much of what is in directory ``path``."""
        if path not in self._listings:
            self._listings[path] = {} if self._is_removed(path) else dict(self._tree.children(path))

    def put_directory(self, path: str, meta: Meta) -> None:
        """Create a directory, change the metadata of one, or replace something else by one."""
        there = self.find(path)
        self._changes[path] = Change(path, meta, opaque=path in self._removed)
        if there is None or there.meta.kind != DIRECTORY:
            self._listings[path] = {}

    def put(self, path: str, meta: Meta, content: Content | None) -> None:
        """Create or replace anything but a directory; there must be none."""
        if path in self._links:
            self._detach(path)
        self._changes[path] = Change(path, meta, content)

    def link(self, path: str, target: str) -> None:
        """Make ``path`` a hard link to the file ``target``."""
        change = self._changes.get(target)
        if change is None:
            # A file of the tree becomes part of the layer, so that the layer stands for itself.
            node = self._find_below(target)
            if node is None:
                raise AssertionError(target)
            change = Change(target, node.meta, node.content)
            self._changes[target] = change
        if change.meta is None:
            raise AssertionError(target)
        if change.meta.kind == HARDLINK:
            target = change.meta.link
        if path == target:
            return
        self.put(path, change.meta._replace(kind=HARDLINK, size=0, link=target), None)
        self._links.setdefault(target, []).append(path)

    def remove_directory(self, path: str) -> None:
        """Make room at ``path`` for something that is not a directory, which must follow."""
        below = f"{path}/"
        doomed = [other for other in self._changes if other == path or other.startswith(below)]
        kept = [other for other in doomed if other in self._links]
        for other in doomed:
            if other not in self._links:
                del self._changes[other]
        for other in kept:
            self._detach(other)
            del self._changes[other]
        for other in [each for each in self._listings if f"{each}/".startswith(below)]:
            del self._listings[other]
        self._removed.append(path)

    def changes(self) -> tuple[Change, ...]:
        """Return all changes, and the directories that they lie in as they are."""
        changes = dict(self._changes)
        for path in self._changes:
            here = parent(path)
            while here and here not in changes:
                node = self.find(here)
                if node is None:
                    raise AssertionError(here)
                changes[here] = Change(here, node.meta)
                here = parent(here)
        return tuple(changes.values())

    def _find_below(self, path: str) -> Node | None:
        """Return what the tree has at ``path``, unless it was removed."""
        if not path:
            return self._tree.find("")
        folder, _, name = path.rpartition("/")
        listing = self._listings.get(folder)
        if listing is not None:
            return listing.get(name)
        return None if self._is_removed(path) else self._tree.find(path)

    def _is_removed(self, path: str) -> bool:
        return any(f"{path}/".startswith(f"{removed}/") for removed in self._removed)

    def _detach(self, target: str) -> None:
        """Give the hard links to ``target`` its content before it is replaced."""
        links = [
            link
            for link in self._links.pop(target)
            if (change := self._changes.get(link)) is not None
            and change.meta is not None
            and change.meta.link == target
            and change.meta.kind == HARDLINK
        ]
        if links:
            heir, *others = links
            self._changes[heir] = self._changes[target]._replace(path=heir)
            for link in others:
                self.link(link, heir)
