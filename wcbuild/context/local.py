"""A folder on this machine as a build context."""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from wcbuild.context.statindex import StatIndex, has_grown, is_settled, stamp
from wcbuild.dockerfile.ignore import NO_MATCH, IgnoreRules
from wcbuild.errors import ContextChangedError, ContextError
from wcbuild.layer.changes import (
    BLOCK,
    CHARACTER,
    DIRECTORY,
    FIFO,
    FILE,
    HARDLINK,
    SYMLINK,
    Change,
    Entry,
    HostFile,
    Meta,
)
from wcbuild.layer.hostfiles import HostFiles, open_folder
from wcbuild.tree import paths
from wcbuild.tree.base import Node

_DEVICES = {stat.S_IFIFO: FIFO, stat.S_IFCHR: CHARACTER, stat.S_IFBLK: BLOCK}
"""Sockets are not here: nobody can copy one."""

_CAPABILITY = "security.capability"
"""The one extended attribute that layers keep."""

MAX_EXCLUDED_DEPTH = 200
"""Of folders that are excluded, but searched for files that are not."""

_READ_BYTES = 1024 * 1024
_WRITE_S = 0.01
"""More than a write takes from the change of a file's times to that of its size."""

_EMPTY = hashlib.sha256().hexdigest()


class LocalTree:
    """The files of a folder that a build may see.

    Owners are 0:0, so that it does not matter who builds; symlinks are links and are not followed, so
    that nothing outside ``root`` is ever seen; what ``rules`` exclude is not there. Each directory is
    read once: all answers describe the folder at that moment. A file that is appended to is what it was
    then: as many bytes, though they are read later.

    ``index`` knows digests of files whose stamps have not changed, and learns new ones.

    Raises:
        ContextError: ``root`` is not a folder that can be read; later, a part of it cannot be.
    """

    def __init__(
        self, root: Path, rules: IgnoreRules | None = None, index: StatIndex | None = None
    ) -> None:
        self.root = root
        self._rules = rules or None
        self._index = index
        self._since = time.time_ns()
        self._states = {"": NO_MATCH}
        """Of the ignore rules, by directory."""
        self._listings: dict[str, dict[str, Node]] = {}
        self._learned: dict[str, str] = {}
        """Digests by stamp, of this build alone: they hold even for files written a moment ago."""
        try:
            status = os.stat(root)
        except OSError as error:
            raise ContextError(str(root), _reason(error)) from error
        if not stat.S_ISDIR(status.st_mode):
            raise ContextError(str(root), "is not a folder")
        self._root = Node(_meta(DIRECTORY, status))

    def find(self, path: str) -> Node | None:
        if not path:
            return self._root
        parent, _, name = path.rpartition("/")
        return self._listing(parent).get(name)

    def children(self, path: str) -> Iterator[tuple[str, Node]]:
        return iter(self._listing(path).items())

    def digest(self, path: str, node: Node) -> str:
        known = self.known_digest(path, node)
        return known if known is not None else self._read(path, node)

    @property
    def where(self) -> str:
        """What to call these files in messages."""
        return f'the build context "{self.root}"'

    def ignores(self, path: str) -> bool:
        """Say whether ``path`` is there, but excluded."""
        return (
            self._rules is not None
            and self._rules.excludes(path)
            and os.path.lexists(self._place(path))
        )

    def known_digest(self, path: str, node: Node) -> str | None:
        """Return the digest of a file if that takes no reading."""
        if not node.meta.size:
            return _EMPTY
        own = str(node.identity)
        known = self._learned.get(own)
        return known if known is not None or self._index is None else self._index.find(path, own)

    def recall(self, fingerprint: str) -> str | None:
        """Return the key of a set of files whose identities gave this fingerprint."""
        return None if self._index is None else self._index.recall(fingerprint)

    def remember(self, fingerprint: str, key: str, nodes: Iterable[Node]) -> None:
        """Remember the key of a set of files, unless one of ``nodes`` may yet change unseen."""
        if self._index is not None and all(
            is_settled(str(node.identity), self._since) for node in nodes
        ):
            self._index.remember(fingerprint, key)

    def learn(self, changes: Iterable[Change], entries: Iterable[Entry]) -> None:
        """Take over digests of files of this tree from a layer that was packed from ``changes``.

        Raises:
            ContextChangedError: the layer has something else of a file than what was read of it before.
        """
        written = {entry.path: entry for entry in entries}
        root = os.fspath(self.root)
        start = len(self._place(""))
        for change in changes:
            entry = written.get(change.path)
            content = change.content
            if not isinstance(content, HostFile) or content.root != root or entry is None:
                continue
            if entry.meta is not None and entry.meta.kind == HARDLINK:
                entry = written[entry.meta.link]
            path = os.fspath(content.path)[start:]
            node = self.find(path)
            if node is None:
                continue
            known = self.known_digest(path, node)
            if known is None:
                self._learn(path, node, entry.digest)
            elif known != entry.digest:
                raise ContextChangedError(os.fspath(content.path))

    def save(self) -> None:
        """Keep what was learned for later builds."""
        if self._index is not None:
            self._index.save()

    def _place(self, path: str) -> str:
        """Return where a path of the tree lies."""
        return os.path.join(self.root, path)

    def _listing(self, path: str) -> dict[str, Node]:
        known = self._listings.get(path)
        if known is None:
            ends = [0, *(n for n, letter in enumerate(path) if letter == "/"), len(path)]
            for here in (path[:end] for end in ends):
                if here not in self._listings:
                    node = self.find(here)
                    is_directory = node is not None and node.meta.kind == DIRECTORY
                    self._listings[here] = self._list(here) if is_directory else {}
            known = self._listings[path]
        return known

    def _list(self, path: str) -> dict[str, Node]:
        place = self._place(path)
        start = place if place.endswith("/") else f"{place}/"
        root = os.fspath(self.root)
        nodes: dict[str, Node] = {}
        try:
            # By handle, not by path: shorter work for the kernel, and what has just become a symlink is
            # not followed.
            fd = open_folder(root, path)
            try:
                with os.scandir(fd) as entries:
                    for entry in sorted(entries, key=_name):
                        node = self._node(entry, start, root, fd)
                        if node is not None:
                            nodes[entry.name] = node
            finally:
                os.close(fd)
        except OSError as error:
            raise ContextError(place, _reason(error)) from error
        if self._rules is None:
            return nodes
        return {name: node for name, node in nodes.items() if self._is_visible(path, name, node)}

    def _node(self, entry: os.DirEntry[str], start: str, root: str, fd: int) -> Node | None:
        try:
            status = entry.stat(follow_symlinks=False)
            mode = status.st_mode
            if stat.S_ISREG(mode):
                place = start + entry.name
                xattrs = _capability(place) if mode & 0o111 else ()
                content = HostFile(place, root, status.st_ino) if status.st_size else None
                size, mtime = status.st_size, status.st_mtime_ns // 1_000_000_000
                meta = Meta(FILE, mode & 0o7777, 0, 0, size, mtime, "", 0, 0, xattrs)
                return Node(meta, content, stamp(status))
            if stat.S_ISDIR(mode):
                return Node(_meta(DIRECTORY, status))
            if stat.S_ISLNK(mode):
                link = os.readlink(entry.name, dir_fd=fd)
                return Node(_meta(SYMLINK, status)._replace(mode=0o777, link=link))
        except FileNotFoundError:
            # It was there a moment ago; now it is not part of the context.
            return None
        kind = _DEVICES.get(stat.S_IFMT(mode))
        if kind is None:
            return None
        major, minor = os.major(status.st_rdev), os.minor(status.st_rdev)
        return Node(_meta(kind, status)._replace(major=major, minor=minor))

    def _is_visible(self, parent: str, name: str, node: Node) -> bool:
        """Apply the ignore rules: an excluded directory is there if something in it is."""
        assert self._rules is not None  # noqa: S101 - for the type checker
        path = paths.join(parent, name)
        state = self._rules.state(path, self._states[parent])
        is_directory = node.meta.kind == DIRECTORY
        if is_directory:
            self._states[path] = state
        if not self._rules.is_excluded(state):
            return True
        if not is_directory or not self._rules.may_include_below(path, state):
            return False
        if path.count("/") > MAX_EXCLUDED_DEPTH:
            raise ContextError(self._place(path), "excluded folders are nested too deeply")
        self._listings[path] = self._list(path)
        return bool(self._listings[path])

    def _read(self, path: str, node: Node) -> str:
        """Return the digest of as much of a file as there was, by reading it, and learn it."""
        place = self._place(path)
        own = str(node.identity)
        digest = hashlib.sha256()
        try:
            with HostFiles() as files:
                fd = files.open(HostFile(place, os.fspath(self.root)))
            try:
                left = node.meta.size
                while left > 0 and (data := os.read(fd, min(left, _READ_BYTES))):
                    digest.update(data)
                    left -= len(data)
                status = os.fstat(fd)
                if stamp(status) != own and not has_grown(own, status):
                    time.sleep(_WRITE_S)
                    status = os.fstat(fd)
            finally:
                os.close(fd)
        except OSError as error:
            raise ContextError(place, _reason(error)) from error
        found = digest.hexdigest()
        if not left and stamp(status) == own:
            self._learn(path, node, found)
        elif not left and has_grown(own, status):
            # For this build alone. Packing reads it once more and finds out if it was rewritten.
            self._learned[own] = found
        else:
            raise ContextChangedError(place)
        return found

    def _learn(self, path: str, node: Node, digest: str) -> None:
        own = str(node.identity)
        self._learned[own] = digest
        # The tree is older than any reading of its files, so a stamp that was settled then is safe: a file
        # that is written later never has it again.
        if self._index is not None and is_settled(own, self._since):
            self._index.learn(path, own, digest)


def _meta(kind: str, status: os.stat_result) -> Meta:
    return Meta(kind, status.st_mode & 0o7777, mtime=status.st_mtime_ns // 1_000_000_000)


def _capability(place: str) -> tuple[tuple[str, bytes], ...]:
    try:
        return ((_CAPABILITY, os.getxattr(place, _CAPABILITY, follow_symlinks=False)),)
    except OSError:
        return ()


def _name(entry: os.DirEntry[str]) -> bytes:
    return os.fsencode(entry.name)


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
