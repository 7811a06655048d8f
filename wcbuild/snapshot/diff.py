"""The exact difference between a tree and what it was made from, for every kind of snapshot.

The result depends on the two trees alone, not on how one became the other, and is what a layer can
say: whole seconds, and of the extended attributes `security.capability`. So it is the same whether the
kernel kept the two apart (overlay) or both are full copies:

* A file that was rewritten, or changed and changed back, to what it was is no difference.
* A directory whose time alone differs is none either, but stands before whatever changed in it.
* A directory that was deleted and made again is compared with the old one, name by name.
* Names of one inode are one thing: if one of them changed, all that lie in the new tree are there, the
  first in byte order as the file and the others as its hard links.
* Sockets, and the device 0,0 that overlays use to hide a name, are as good as absent.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping
from stat import S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG
from typing import NamedTuple

from wcbuild.layer.changes import (
    BLOCK,
    CHARACTER,
    DIRECTORY,
    FIFO,
    FILE,
    HARDLINK,
    SYMLINK,
    Change,
    HostFile,
    Meta,
)

_KINDS = {
    S_IFREG: FILE,
    S_IFDIR: DIRECTORY,
    S_IFLNK: SYMLINK,
    S_IFIFO: FIFO,
    S_IFCHR: CHARACTER,
    S_IFBLK: BLOCK,
}

_SECOND = 1_000_000_000
_CHUNK = 1 << 18
_CAPABILITY = "security.capability"
_CAPABILITY_V3 = 24
"""Length of the form that names a user namespace's root at its end."""


class Untouched(NamedTuple):
    """What tells that something in a full copy is still as it was copied."""

    before_ns: int
    """Whatever has an inode change time before this was not written to since."""
    directories: Mapping[str, int]
    """Inode numbers by path; one that differs was moved, and its files are not those of that path."""


class _Directory:
    """A directory of the new tree; ``below`` are the directories that it stands on, topmost first."""

    __slots__ = ("below", "complete", "host", "included", "known", "parent", "path", "status")

    def __init__(
        self,
        path: str,
        host: str,
        status: os.stat_result,
        below: tuple[str, ...],
        parent: _Directory | None,
    ) -> None:
        self.path = path
        self.host = host
        self.status = status
        self.below = below
        self.parent = parent
        self.complete = False
        """Names that are not in it are gone; otherwise those below shine through."""
        self.known = False
        """It is where it was when it was copied."""
        self.included = False


class _Name(NamedTuple):
    """A file of the new tree that has more than one name."""

    path: str
    host: str
    name: str
    status: os.stat_result
    directory: _Directory
    untouched: bool


class _Old(NamedTuple):
    """What was at a path before."""

    host: str
    status: os.stat_result
    below: tuple[str, ...]
    """If it is a directory: all that merge into it."""


def changes(
    top: str,
    below: tuple[str, ...],
    *,
    root: os.stat_result | None = None,
    opaque: str = "",
    untouched: Untouched | None = None,
) -> Iterator[Change]:
    """Yield what makes ``top`` different from the trees ``below``, which overlay one another.

    Parents come before what is in them, hard links last.

    Args:
        top: a directory of this machine that nobody writes to any more.
        below: the nearest first.
        root: what the topmost directory was like; it is a change only if mode or owner differ.
        opaque: the attribute by which a directory of ``top`` and ``below`` hides what is below it; empty
            when ``top`` is a full tree that hides everything.
        untouched: only for a full tree.
    """
    status = os.lstat(top)
    directory = _Directory("", top, status, below, None)
    directory.complete = not opaque
    directory.known = untouched is not None and untouched.directories.get("") == status.st_ino
    directory.included = True
    if root is not None and not _same_owner(root, status):
        yield Change("", _meta(DIRECTORY, "", status))
    links: dict[int, list[_Name]] = {}
    stack = [directory]
    while stack:
        directory = stack.pop()
        yield from _changes_in(directory, stack, links, opaque, untouched)
    yield from _linked(links, opaque)


def _changes_in(
    directory: _Directory,
    stack: list[_Directory],
    links: dict[int, list[_Name]],
    opaque: str,
    untouched: Untouched | None,
) -> Iterator[Change]:
    below = directory.below
    prefix = f"{directory.path}/" if directory.path else ""
    # 0 makes nothing look untouched.
    before_ns = untouched.before_ns if untouched is not None and directory.known else 0
    names = set()
    with os.scandir(directory.host) as entries:
        for entry in entries:
            name = entry.name
            status = entry.stat(follow_symlinks=False)
            kind = _KINDS.get(S_IFMT(status.st_mode))
            if kind is None or (kind == CHARACTER and not status.st_rdev):
                if not directory.complete and _find(below, name, opaque) is not None:
                    yield from _include(directory)
                    yield Change(prefix + name, None)
                continue
            names.add(name)
            path = prefix + name
            host = f"{directory.host}/{name}"
            if kind == DIRECTORY:
                old = _find(below, name, opaque)
                is_old = old is not None and bool(old.below)
                child = _Directory(path, host, status, old.below if old else (), directory)
                child.complete = directory.complete or (is_old and _is_opaque(host, opaque))
                child.known = (
                    untouched is not None and untouched.directories.get(path) == status.st_ino
                )
                if old is None or not is_old or not _same_owner(old.status, status):
                    yield from _include(child)
                stack.append(child)
            elif status.st_nlink > 1:
                links.setdefault(status.st_ino, []).append(
                    _Name(path, host, name, status, directory, status.st_ctime_ns < before_ns)
                )
            elif status.st_ctime_ns >= before_ns:
                old = _find(below, name, opaque)
                if old is None or not _same(old, status, host):
                    yield from _include(directory)
                    yield _added(kind, path, host, status)
    if directory.complete and below and directory.status.st_ctime_ns >= before_ns:
        for name in _listing(below) - names:
            yield from _include(directory)
            yield Change(prefix + name, None)


def _linked(links: dict[int, list[_Name]], opaque: str) -> Iterator[Change]:
    """Yield the files with several names of which one changed or is linked to other ones than before."""
    for group in links.values():
        if all(name.untouched for name in group):
            continue
        olds = [_find(name.directory.below, name.name, opaque) for name in group]
        inodes = {(old.status.st_dev, old.status.st_ino) for old in olds if old is not None}
        if len(inodes) <= 1 and all(
            old is not None and _same(old, name.status, name.host)
            for old, name in zip(olds, group, strict=True)
        ):
            continue
        first, *others = sorted(group, key=lambda name: os.fsencode(name.path))
        yield from _include(first.directory)
        kind = _KINDS[S_IFMT(first.status.st_mode)]
        yield _added(kind, first.path, first.host, first.status)
        for name in others:
            yield from _include(name.directory)
            yield Change(name.path, _meta(HARDLINK, name.host, name.status, link=first.path))


def _include(directory: _Directory) -> Iterator[Change]:
    """Yield a directory and those that it is in, unless they were already."""
    chain = []
    step: _Directory | None = directory
    while step is not None and not step.included:
        step.included = True
        chain.append(step)
        step = step.parent
    for step in reversed(chain):
        yield Change(step.path, _meta(DIRECTORY, step.host, step.status))


def _added(kind: str, path: str, host: str, status: os.stat_result) -> Change:
    meta = _meta(kind, host, status)
    return Change(path, meta, HostFile(host) if meta.size else None)


def _meta(kind: str, host: str, status: os.stat_result, link: str = "") -> Meta:
    mode, uid, gid = status.st_mode & 0o7777, status.st_uid, status.st_gid
    mtime = status.st_mtime_ns // _SECOND
    if kind == FILE:
        value = _capability(host)
        xattrs = ((_CAPABILITY, value),) if value else ()
        return Meta(kind, mode, uid, gid, status.st_size, mtime, xattrs=xattrs)
    if kind == SYMLINK:
        return Meta(kind, mode, uid, gid, 0, mtime, os.readlink(host))
    if kind in (CHARACTER, BLOCK):
        device = status.st_rdev
        return Meta(kind, mode, uid, gid, 0, mtime, "", os.major(device), os.minor(device))
    return Meta(kind, mode, uid, gid, 0, mtime, link)


def _capability(host: str) -> bytes:
    """Return a file's capabilities in the form without a user namespace's root, which layers keep."""
    try:
        value = os.getxattr(host, _CAPABILITY, follow_symlinks=False)
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.ENOTSUP):
            return b""
        raise
    if len(value) != _CAPABILITY_V3:
        return value
    flags = int.from_bytes(value[:4], "little") & 0x00FFFFFF
    return (flags | 0x02000000).to_bytes(4, "little") + value[4:-4]


def _same_owner(old: os.stat_result, new: os.stat_result) -> bool:
    """Compare kind, permission bits and owners."""
    return old.st_mode == new.st_mode and old.st_uid == new.st_uid and old.st_gid == new.st_gid


def _same(old: _Old, new: os.stat_result, host: str) -> bool:
    """Compare everything that a layer says about a path that is no directory."""
    before = old.status
    if (
        not _same_owner(before, new)
        or before.st_mtime_ns // _SECOND != new.st_mtime_ns // _SECOND
        or before.st_rdev != new.st_rdev
    ):
        return False
    kind = S_IFMT(new.st_mode)
    if kind == S_IFLNK:
        return os.readlink(old.host) == os.readlink(host)
    return kind != S_IFREG or (
        before.st_size == new.st_size
        and _capability(old.host) == _capability(host)
        and _same_content(old.host, host)
    )


def _same_content(one: str, two: str) -> bool:
    with open(one, "rb", buffering=0) as left, open(two, "rb", buffering=0) as right:
        while True:
            data = left.read(_CHUNK)
            if data != right.read(_CHUNK):
                return False
            if not data:
                return True


def _find(below: tuple[str, ...], name: str, opaque: str) -> _Old | None:
    """Return what overlaid directories show under a name."""
    found: _Old | None = None
    merged = []
    for place in below:
        host = f"{place}/{name}"
        try:
            status = os.lstat(host)
        except FileNotFoundError:
            continue
        kind = _KINDS.get(S_IFMT(status.st_mode))
        if kind is None or (kind == CHARACTER and not status.st_rdev):
            break
        if kind != DIRECTORY:
            if found is None:
                return _Old(host, status, ())
            break
        if found is None:
            found = _Old(host, status, ())
        merged.append(host)
        if place is not below[-1] and _is_opaque(host, opaque):
            break
    return found._replace(below=tuple(merged)) if found else None


def _listing(below: tuple[str, ...]) -> set[str]:
    """Return all names that overlaid directories show."""
    shown: set[str] = set()
    hidden: set[str] = set()
    for place in below:
        with os.scandir(place) as entries:
            for entry in entries:
                if entry.name in shown or entry.name in hidden:
                    continue
                # The kind comes with the name; only devices and sockets need a look.
                plain = entry.is_symlink() or entry.is_dir() or entry.is_file()
                (shown if plain or _is_shown(entry) else hidden).add(entry.name)
    return shown


def _is_shown(entry: os.DirEntry[str]) -> bool:
    status = entry.stat(follow_symlinks=False)
    kind = _KINDS.get(S_IFMT(status.st_mode))
    return kind is not None and (kind != CHARACTER or bool(status.st_rdev))


def _is_opaque(host: str, attribute: str) -> bool:
    if not attribute:
        return False
    try:
        return os.getxattr(host, attribute, follow_symlinks=False) == b"y"
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.ENOTSUP):
            return False
        raise
