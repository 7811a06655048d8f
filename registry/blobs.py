"""A content-addressed directory: `sha256/<hex>`, each file complete, verified and read-only.

A blob has its final name and the right bytes, or it is a temporary file in the ingest directory that
`sweep` may remove: write, fsync, rename, fsync the directory. Where asked for, what came of a large
blob before its source broke off, or this process, is kept for the next try under a name of its own.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import stat
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from registry.errors import (
    DigestMismatchError,
    InvalidDigestError,
    NotFoundError,
    SizeMismatchError,
    StoreError,
)
from registry.failpoints import reach
from registry.files import create_temporary, fsync_directory, store_errors
from registry.oci.descriptor import Descriptor
from registry.oci.digest import Digest
from registry.oci.mediatypes import OCTETS
from registry.store import verifies, verifying
from registry.streams import read_into

CHUNK = 1024 * 1024
"""Bytes moved at a time; large enough that Python's share of the work disappears."""

PART_KEPT_S = 7 * 24 * 3600
"""For how long the beginning of a blob waits for the rest."""

_BUFFER = 128 * 1024
"""For who writes little at once; a ``CHUNK`` goes past it."""
_ALGORITHMS = ("sha256", "sha512")
_INGEST_PREFIX = ".ingest-"
_PART_PREFIX = ".part-"


class BlobDirectory:
    """Blobs below ``path``; half-written ones in ``ingest``, which must be on the same file system.

    ``ingest`` is the directory `ingest` beside ``path`` unless given. Both are made when first
    written to. ``durable`` blobs survive a power cut; the others only the end of the process. What
    came of a blob of ``keep_from`` bytes or more is kept when the rest fails to come.
    """

    def __init__(
        self,
        path: Path,
        *,
        ingest: Path | None = None,
        durable: bool = True,
        keep_from: int | None = None,
    ) -> None:
        self._path = path
        self._ingest = ingest or path.parent / "ingest"
        self._durable = durable
        self._keep_from = keep_from

    def has(self, digest: Digest) -> bool:
        """Say whether there is a file of that name."""
        return os.path.isfile(self.path(digest))

    def holds(self, descriptor: Descriptor) -> bool:
        """Say whether the blob is here and of its size, which after a power cut it may not be."""
        try:
            status = os.stat(self.path(descriptor.digest))
        except OSError:
            return False
        return stat.S_ISREG(status.st_mode) and status.st_size == descriptor.size

    def find(self, digest: Digest) -> Descriptor:
        """Describe a blob of which only the digest is known.

        Raises:
            NotFoundError
        """
        try:
            size = os.stat(self.path(digest)).st_size
        except OSError as error:
            raise NotFoundError(f"blob {digest}", str(self._path)) from error
        return Descriptor(media_type=OCTETS, digest=digest, size=size)

    def path(self, digest: Digest) -> Path:
        """Return where the blob is or would be."""
        return self._path / digest.algorithm / digest.hex

    def open(self, descriptor: Descriptor) -> BinaryIO:
        """Return a stream that raises at its end if the bytes are not the descriptor's.

        Raises:
            NotFoundError, SizeMismatchError, StoreError
        """
        path, what = self.path(descriptor.digest), f"blob {descriptor.digest}"
        with store_errors(path):
            try:
                # O_NONBLOCK: a fifo in somebody else's layout must not stop us for ever.
                fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            except FileNotFoundError as error:
                raise NotFoundError(what, str(self._path)) from error
            status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            os.close(fd)
            raise StoreError(str(path), "is not a regular file")
        if status.st_size != descriptor.size:
            os.close(fd)
            raise SizeMismatchError(descriptor.size, status.st_size, what)
        return verifying(open(fd, "rb", buffering=0), descriptor)

    def put(self, stream: BinaryIO, expected: Descriptor) -> None:
        """Store all of ``stream``; nothing is read if the blob is here already.

        Raises:
            DigestMismatchError, SizeMismatchError, StoreError: nothing was stored.
        """
        if self.holds(expected):
            return
        with self._writer_for(expected, hashing=not verifies(stream, expected.digest)) as writer:
            try:
                _write_all(writer, stream, expected)
            except (DigestMismatchError, SizeMismatchError, StoreError):
                raise  # what is here is wrong, or in the way
            except BaseException:
                writer.keep()
                raise
            writer.commit(expected.digest, expected.size)

    def kept(self, expected: Descriptor) -> BinaryIO | None:
        """Return the beginning of a blob that an earlier `put` did not finish, if there is one.

        Nobody has verified it. The next `put` writes the same file, from its first byte on.
        """
        if self._keep_from is None or expected.size < self._keep_from:
            return None
        try:
            return open(self._part_path(expected.digest), "rb", buffering=0)
        except OSError:
            return None

    def _part_path(self, digest: Digest) -> Path:
        return self._ingest / f"{_PART_PREFIX}{digest.algorithm}-{digest.hex}"

    def _writer_for(self, expected: Descriptor, *, hashing: bool) -> BlobWriter:
        algorithm = expected.digest.algorithm
        if self._keep_from is None or expected.size < self._keep_from:
            return self.create(algorithm, hashing=hashing)
        path = self._part_path(expected.digest)
        with store_errors(self._ingest):
            os.makedirs(self._ingest, mode=0o700, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            fd = os.open(path, flags, 0o600)
            if _take(fd, path):
                hashed = algorithm if hashing else None
                return BlobWriter(self, fd, path, hashed)
            os.close(fd)
        # Another process fetches the same blob; then this one does without.
        return self.create(algorithm, hashing=hashing)

    def put_new(self, stream: BinaryIO, media_type: str) -> Descriptor:
        """Store all of ``stream``, whose digest nobody knows yet, and describe it.

        Raises:
            StoreError: nothing was stored.
        """
        buffer = memoryview(bytearray(CHUNK))
        with self.create() as writer:
            while size := read_into(stream, buffer):
                writer.write(buffer[:size])
            digest, size = writer.commit()
        return Descriptor(media_type=media_type, digest=digest, size=size)

    def create(self, algorithm: str = "sha256", *, hashing: bool = True) -> BlobWriter:
        """Start a blob whose digest may not be known yet.

        Without ``hashing`` the caller hashes, and `BlobWriter.commit` believes its digest.

        Raises:
            StoreError
        """
        with store_errors(self._ingest):
            try:
                fd, path = create_temporary(self._ingest, _INGEST_PREFIX)
            except FileNotFoundError:
                os.makedirs(self._ingest, mode=0o700, exist_ok=True)
                fd, path = create_temporary(self._ingest, _INGEST_PREFIX)
        hashed = algorithm if hashing else None
        return BlobWriter(self, fd, Path(path), hashed)

    def adopt(self, fd: int, path: Path, digest: Digest) -> None:
        """Give a file of the same file system, open as ``fd``, its final name.

        The caller has verified its bytes and lets nobody write to it any more.

        Raises:
            StoreError: it is still where it was.
        """
        final = self.path(digest)
        with store_errors(final):
            os.fchmod(fd, 0o444)
            if self._durable:
                os.fsync(fd)
            reach("blobs.before_rename")
            try:
                os.rename(path, final)
            except FileNotFoundError:
                os.makedirs(final.parent, exist_ok=True)
                os.rename(path, final)
                if self._durable:
                    fsync_directory(final.parent.parent)
            reach("blobs.after_rename")
            if self._durable:
                fsync_directory(final.parent)

    def remove(self, digest: Digest) -> None:
        """Forget a blob; one that is not here is no error.

        Raises:
            StoreError
        """
        with store_errors(self._path), contextlib.suppress(FileNotFoundError):
            os.unlink(self.path(digest))

    def __iter__(self) -> Iterator[Digest]:
        for algorithm in _ALGORITHMS:
            try:
                names = sorted(os.listdir(self._path / algorithm))
            except FileNotFoundError:
                continue
            for name in names:
                with contextlib.suppress(InvalidDigestError):
                    yield Digest(f"{algorithm}:{name}")

    def make_durable(self, digests: Iterable[Digest]) -> None:
        """Let blobs survive a power cut; those that do already cost next to nothing.

        Raises:
            StoreError
        """
        folders = set()
        for digest in digests:
            path = self.path(digest)
            with store_errors(path):
                fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    os.fsync(fd)
                finally:
                    os.close(fd)
            folders.add(path.parent)
        for folder in folders:
            with store_errors(folder):
                fsync_directory(folder)

    def sweep(self, *, parts_kept_s: float = PART_KEPT_S) -> int:
        """Remove what writers that died have left; return the number of bytes freed.

        Beginnings of blobs go when nothing was added for ``parts_kept_s``. The caller holds the lock
        that keeps all living writers out.

        Raises:
            StoreError
        """
        freed = 0
        with (
            store_errors(self._ingest),
            contextlib.suppress(FileNotFoundError),
            os.scandir(self._ingest) as entries,
        ):
            for entry in entries:
                status = entry.stat(follow_symlinks=False)
                old = time.time() - status.st_mtime >= parts_kept_s
                part = entry.name.startswith(_PART_PREFIX)
                if entry.name.startswith(_INGEST_PREFIX) or (part and old):
                    freed += status.st_size
                    os.unlink(entry.path)
        return freed


class BlobWriter:
    """One blob on its way in. As a context manager it aborts unless it was committed."""

    def __init__(
        self, directory: BlobDirectory, fd: int, path: Path, algorithm: str | None
    ) -> None:
        self._directory = directory
        self._algorithm = algorithm
        self._hash = hashlib.new(algorithm) if algorithm else None
        self._open = True
        self._kept = False
        self._file = open(fd, "wb", buffering=_BUFFER)  # noqa: SIM115 - closed by commit and abort
        self.path = path
        """The temporary file; gone after `commit`, and after `abort` unless it is kept."""

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Append ``data``; return its length in bytes.

        Raises:
            StoreError: the blob cannot be finished; abort it.
        """
        with store_errors(self.path):
            written = self._file.write(data)
        if self._hash is not None:
            self._hash.update(data)
        return written

    def fileno(self) -> int:
        """Return the file's descriptor, for the kernel to copy into; nothing is buffered before it.

        What arrives this way is not hashed: for writers made without ``hashing``.
        """
        with store_errors(self.path):
            self._file.flush()
        return self._file.fileno()

    def commit(self, digest: Digest | None = None, size: int | None = None) -> tuple[Digest, int]:
        """Give the blob its final name; return its digest and size.

        ``digest`` and ``size``, if given, must be those of the bytes. A digest is needed, and
        believed, when the writer does not hash.

        Raises:
            DigestMismatchError, SizeMismatchError, StoreError: nothing was stored, and the
                temporary file is gone.
        """
        try:
            return self._commit(digest, size)
        finally:
            self.abort()

    def _commit(self, expected: Digest | None, size: int | None) -> tuple[Digest, int]:
        fd = self.fileno()
        received = os.fstat(fd).st_size
        what = f"blob {expected}" if expected else "new blob"
        if size is not None and received != size:
            raise SizeMismatchError(size, received, what)
        digest = expected
        if self._hash is not None:
            digest = Digest(f"{self._algorithm}:{self._hash.hexdigest()}")
        if digest is None:
            raise ValueError("a writer that does not hash needs the digest")
        if expected is not None and digest != expected:
            raise DigestMismatchError(expected, digest, what)
        self._directory.adopt(fd, self.path, digest)
        return digest, received

    def keep(self) -> None:
        """Let the next `abort` leave the bytes, if they have a name under which they can be found."""
        self._kept = self.path.name.startswith(_PART_PREFIX)

    def abort(self) -> None:
        """Forget the blob; after `commit` or again it does nothing."""
        if not self._open:
            return
        self._open = False
        # Closing writes what is buffered, which on a full disk fails once more.
        with contextlib.suppress(OSError):
            self._file.close()
        if self._kept:
            return
        with contextlib.suppress(OSError):
            os.unlink(self.path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.abort()


def _write_all(writer: BlobWriter, stream: BinaryIO, expected: Descriptor) -> None:
    received, buffer = 0, memoryview(bytearray(CHUNK))
    while size := read_into(stream, buffer):
        received += size
        if received > expected.size:
            raise SizeMismatchError(expected.size, received, f"blob {expected.digest}")
        writer.write(buffer[:size])


def _take(fd: int, path: Path) -> bool:
    """Lock a file for its one writer; False if there is one, or if it has moved on meanwhile."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    try:
        here = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(here, os.fstat(fd))
