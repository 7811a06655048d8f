"""Paths of a sandbox, walked one component at a time inside its root, whatever its symlinks say."""

from __future__ import annotations

import errno
import os
import stat
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from wcbuild import kernel

_MAX_LINKS = 40  # as in the kernel


@dataclass(frozen=True, slots=True)
class Stub:
    """A mount point that was made for one run: ``name`` in the directory open as ``parent``."""

    parent: int
    name: str

    def remove(self) -> None:
        """Delete the stub if it is as empty as it was made; its directory shows no trace.

        The command may have put something into a directory that was made on the way to a mount point;
        that is its work, and stays.
        """
        before = os.stat(self.parent)
        try:
            os.unlink(self.name, dir_fd=self.parent)
        except IsADirectoryError:
            try:
                os.rmdir(self.name, dir_fd=self.parent)
            except OSError as error:
                if error.errno != errno.ENOTEMPTY:
                    raise
        except FileNotFoundError:
            return
        _set_times(self.parent, before)


def walk(root: int, path: str) -> int:
    """Open what ``path`` means inside ``root``, following symlinks there; O_PATH."""
    return _walk(root, path, None)


def open_inside(directory: Path, path: str) -> int:
    """As `walk`, in a directory of the host."""
    root = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        return walk(root, path)
    finally:
        os.close(root)


def make_directory(root: int, path: str, owner: tuple[int, int] | None = None) -> int:
    """As `walk`, but what is missing of the way and its end is created, as directories of ``owner``."""

    def create(parent: int, name: str, _last: bool) -> None:
        os.mkdir(name, 0o755, dir_fd=parent)
        if owner is not None:
            os.chown(name, *owner, dir_fd=parent, follow_symlinks=False)

    return _walk(root, path, create)


def make_mount_point(root: int, path: str, *, directory: bool) -> tuple[int, list[Stub]]:
    """As `walk`, but create what is missing, leaving the times of its parents alone.

    Returns the descriptor, and the stubs in the order in which they were made.
    """
    stubs: list[Stub] = []

    def create(parent: int, name: str, last: bool) -> None:
        before = os.stat(parent)
        if last and not directory:
            os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644, dir_fd=parent))
        else:
            os.mkdir(name, 0o755, dir_fd=parent)
        stubs.append(Stub(os.dup(parent), name))
        _set_times(parent, before)

    return _walk(root, path, create), stubs


def _walk(root: int, path: str, create: Callable[[int, str, bool], None] | None) -> int:
    # The open directories from the root down, so that `..` never asks the file system.
    way = [os.dup(root)]
    links = 0
    todo = deque(_parts(path))
    try:
        while todo:
            name = todo.popleft()
            if name == "..":
                if len(way) > 1:
                    os.close(way.pop())
                continue
            try:
                found = _open(way[-1], name)
            except FileNotFoundError:
                if create is None:
                    raise
                create(way[-1], name, not todo)
                found = _open(way[-1], name)
            way.append(found)
            mode = os.stat(found).st_mode
            if stat.S_ISLNK(mode):
                links += 1
                if links > _MAX_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
                target = os.readlink("", dir_fd=found)
                os.close(way.pop())
                _refuse_magic(way[-1], name)
                if target.startswith("/"):
                    while len(way) > 1:
                        os.close(way.pop())
                todo.extendleft(reversed(_parts(target)))
            elif todo and not stat.S_ISDIR(mode):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
        return os.dup(way[-1])
    finally:
        for handle in way:
            os.close(handle)


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in {"", "."}]


def _open(parent: int, name: str) -> int:
    return os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)


def _refuse_magic(parent: int, link: str) -> None:
    """Refuse the links of /proc that lead to what a process has open: it is ours, on the host."""
    resolve = kernel.RESOLVE_IN_ROOT | kernel.RESOLVE_NO_MAGICLINKS
    try:
        os.close(kernel.openat2(parent, link, os.O_PATH, resolve=resolve))
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise


def _set_times(directory: int, times: os.stat_result) -> None:
    os.utime(".", ns=(times.st_atime_ns, times.st_mtime_ns), dir_fd=directory)
