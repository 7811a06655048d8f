"""Deleting trees that somebody else filled: any modes, any depth, any flags."""

from __future__ import annotations

import array
import contextlib
import fcntl
import os
from collections.abc import Callable
from pathlib import Path

_MAX_DEPTH = 64
"""Deeper directories are moved up first, so that a hostile tree costs neither stack nor descriptors."""

_FS_IOC_GETFLAGS = 0x80086601
_FS_IOC_SETFLAGS = 0x40086602
_IMMUTABLE_OR_APPEND_ONLY = 0x10 | 0x20

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove_tree(path: Path) -> int:
    """Delete a directory and all that is in it; return the bytes of disk space this frees.

    Works through directory handles and never follows a symlink. A tree that is not there is fine.

    Raises:
        OSError: something cannot be deleted, such as files of a user that this one may not touch.
    """
    parent = os.open(path.parent, _DIRECTORY)
    try:
        return _remove_directory(parent, path.name)
    except FileNotFoundError:
        return 0
    finally:
        os.close(parent)


def _remove_directory(parent: int, name: str) -> int:
    top = _open_directory(parent, name)
    try:
        freed, moved = 0, 1
        while moved:
            more, moved = _empty(top, top, 0)
            freed += more
    finally:
        os.close(top)
    _insist(os.rmdir, parent, name)
    return freed


def _empty(top: int, directory: int, depth: int) -> tuple[int, int]:
    """Delete what is in a directory; return the bytes freed and how many directories went to ``top``."""
    freed = moved = 0
    with os.scandir(directory) as entries:
        names = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    for name, is_directory in names:
        if not is_directory:
            status = os.stat(name, dir_fd=directory, follow_symlinks=False)
            if status.st_nlink == 1:
                freed += status.st_blocks * 512
            _insist(os.unlink, directory, name)
        elif depth == _MAX_DEPTH:
            os.close(_open_directory(directory, name))  # a move needs its write permission, too
            os.rename(name, os.urandom(16).hex(), src_dir_fd=directory, dst_dir_fd=top)
            moved += 1
        else:
            child = _open_directory(directory, name)
            try:
                more, went = _empty(top, child, depth + 1)
            finally:
                os.close(child)
            freed += more
            moved += went
            _insist(os.rmdir, directory, name)
    return freed, moved


def _open_directory(parent: int, name: str) -> int:
    try:
        fd = os.open(name, _DIRECTORY, dir_fd=parent)
    except PermissionError:
        handle = os.open(name, os.O_PATH | _DIRECTORY, dir_fd=parent)
        try:
            os.chmod(f"/proc/self/fd/{handle}", 0o700)
        finally:
            os.close(handle)
        fd = os.open(name, _DIRECTORY, dir_fd=parent)
    return fd


def _insist(delete: Callable[..., None], directory: int, name: str) -> None:
    """Delete a name; if that is forbidden take away what forbids it and try once more."""
    try:
        delete(name, dir_fd=directory)
    except PermissionError:
        with contextlib.suppress(OSError):
            _clear_flags(directory)
        with contextlib.suppress(OSError):
            os.fchmod(directory, 0o700)
        with contextlib.suppress(OSError):
            # O_NONBLOCK: a fifo without a writer must not stop us.
            fd = os.open(
                name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory
            )
            try:
                _clear_flags(fd)
            finally:
                os.close(fd)
        delete(name, dir_fd=directory)


def _clear_flags(fd: int) -> None:
    flags = array.array("i", [0])
    fcntl.ioctl(fd, _FS_IOC_GETFLAGS, flags)
    flags[0] &= ~_IMMUTABLE_OR_APPEND_ONLY
    fcntl.ioctl(fd, _FS_IOC_SETFLAGS, flags)
