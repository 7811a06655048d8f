"""Durable files and locks: the only place that knows about fsync and flock."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from registry.errors import StoreError


@contextlib.contextmanager
def store_errors(path: Path) -> Iterator[None]:
    """Translate an operating-system error into a StoreError that says what may help."""
    try:
        yield
    except OSError as error:
        place = error.filename if isinstance(error.filename, str) else str(path)
        hint = {
            errno.ENOSPC: "; free some space (`wcbuild prune`) or choose another --root",
            errno.EDQUOT: "; the quota is used up, choose another --root",
            errno.EROFS: "; choose another --root",
            errno.EACCES: "; choose another --root",
        }.get(error.errno or 0, "")
        raise StoreError(place, f"{error.strerror or error}{hint}") from error


def fsync_directory(path: Path) -> None:
    """Make renames inside ``path`` durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def create_temporary(directory: Path, prefix: str) -> tuple[int, str]:
    """Create a new file (mode 0600) in ``directory``; return its descriptor and its path."""
    # Not `tempfile`, whose import costs more than a cached build can spare.
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    path = os.path.join(directory, prefix + os.urandom(12).hex())
    return os.open(path, flags, 0o600), path


def atomic_write(path: Path, data: bytes, *, mode: int = 0o600, durable: bool = True) -> None:
    """Replace ``path`` with ``data`` in one step: readers see the old bytes or the new ones.

    ``durable`` also survives a power cut; caches, which can be made again, do without.

    Raises:
        OSError: nothing was changed.
    """
    fd, temporary = create_temporary(path.parent, ".new-")
    try:
        with open(fd, "wb", closefd=True) as file:
            file.write(data)
            os.fchmod(fd, mode)
            if durable:
                file.flush()
                os.fsync(fd)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    if durable:
        fsync_directory(path.parent)


class FileLock:
    """A flock on a file of its own; the kernel frees it when the process ends, however it ends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None

    def acquire(self, *, shared: bool, wait: bool) -> bool:
        """Take the lock, or change a lock that is held; False only if ``wait`` is false and it is taken."""
        if self._fd is None:
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        operation = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        try:
            fcntl.flock(self._fd, operation if wait else operation | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def release(self) -> None:
        """Give the lock back; again is harmless."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
