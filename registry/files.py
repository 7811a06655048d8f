"""Durable files and locks: the only place that knows about fsync and flock."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import io
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from registry.errors import StoreError, TooLargeError

if TYPE_CHECKING:
    from threading import Event

_BUFFER = 1024 * 1024
_POLL_S = 0.03


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


def create_temporary(directory: Path, prefix: str, mode: int = 0o600) -> tuple[int, str]:
    """Create a new file in ``directory``; return its descriptor and its path."""
    # Not `tempfile`, whose import costs more than a cached build can spare.
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    path = os.path.join(directory, prefix + os.urandom(12).hex())
    return os.open(path, flags, mode), path


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


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a new file that takes the place of ``path`` at the end of the block; nobody sees half of it.

    A pipe or a device is written to: there is nothing to replace.

    Raises:
        StoreError
    """
    if path.exists() and not path.is_file():
        with store_errors(path):
            device = open(path, "wb")  # noqa: SIM115 - closed below
        with _naming(path), device:
            yield device
        return
    with store_errors(path), _naming(path):
        fd, temporary = create_temporary(path.parent, f".{path.name}.", mode=0o666)
    try:
        with _naming(path), open(fd, "wb", buffering=_BUFFER) as stream:
            yield stream
        with store_errors(path):
            os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


_OF_THE_FILE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Let errors of a file that is written, and has no name yet or another, name ``path``."""
    try:
        yield
    except OSError as error:
        beside = error.filename and os.path.dirname(error.filename) == str(path.parent)
        if beside or (error.filename is None and error.errno in _OF_THE_FILE):
            error.filename = str(path)
        raise


def write_all(file: io.FileIO, data: bytes) -> None:
    """Write all of ``data`` to an unbuffered file: a disk that fills up first takes only a part.

    Raises:
        OSError
    """
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


@contextlib.contextmanager
def locked_directory(path: Path) -> Iterator[None]:
    """Hold a flock on the directory itself, so that no lock file is left in somebody's folder."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def read_limited(path: Path, limit: int, what: str) -> bytes:
    """Return the bytes of a small regular file that somebody else wrote.

    Raises:
        TooLargeError: more than ``limit`` bytes. StoreError: a fifo, a device or a folder.
        OSError
    """
    # O_NONBLOCK: opening a fifo that nobody writes to must not stop us for ever.
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise StoreError(str(path), "is not a regular file")
    with open(fd, "rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise TooLargeError(what, limit)
    return data


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

    def acquire_unless(self, cancel: Event, *, shared: bool) -> bool:
        """Take the lock as soon as nobody is in the way; False if ``cancel`` was set before."""
        while not self.acquire(shared=shared, wait=False):
            if cancel.wait(_POLL_S):
                return False
        return True

    def fileno(self) -> int:
        """Return the descriptor: a process that inherits it holds the lock, too, until it ends.

        Raises:
            ValueError: the lock is not held.
        """
        if self._fd is None:
            raise ValueError("a lock that is not held has no descriptor")
        return self._fd

    def release(self) -> None:
        """Give the lock back; again is harmless."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
