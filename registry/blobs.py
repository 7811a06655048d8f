"""A content-addressed directory: `sha256/<hex>`, each file complete, verified and read-only.

A blob has its final name and the right bytes, or it is a temporary file in the ingest directory that
`sweep` may remove: write, fsync, rename, fsync the directory.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
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
from registry.store import verifying

CHUNK = 1024 * 1024
"""Bytes moved at a time; large enough that Python's share of the work disappears."""

_ALGORITHMS = ("sha256", "sha512")
_INGEST_PREFIX = ".ingest-"


class BlobDirectory:
    """Blobs below ``path``; half-written ones in ``ingest``, which must be on the same file system.

    ``ingest`` is the directory `ingest` beside ``path`` unless given. Both are made when first
    written to. ``durable`` blobs survive a power cut; the others only the end of the process.
    """

    def __init__(self, path: Path, *, ingest: Path | None = None, durable: bool = True) -> None:
        self._path = path
        self._ingest = ingest or path.parent / "ingest"
        self._durable = durable

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
        with self.create(expected.digest.algorithm) as writer:
            received = 0
            while data := stream.read(CHUNK):
                received += len(data)
                if received > expected.size:
                    raise SizeMismatchError(expected.size, received, f"blob {expected.digest}")
                writer.write(data)
            writer.commit(expected.digest, expected.size)

    def put_new(self, stream: BinaryIO, media_type: str) -> Descriptor:
        """Store all of ``stream``, whose digest nobody knows yet, and describe it.

        Raises:
            StoreError: nothing was stored.
        """
        with self.create() as writer:
            while data := stream.read(CHUNK):
                writer.write(data)
            digest, size = writer.commit()
        return Descriptor(media_type=media_type, digest=digest, size=size)

    def create(self, algorithm: str = "sha256", *, hashing: bool = True) -> BlobWriter:
        """Start a blob whose digest may not be known yet.

        Without ``hashing`` the caller hashes, and `BlobWriter.commit` believes its digest.

        Raises:
            StoreError
        """
        return BlobWriter(self, self._ingest, algorithm if hashing else None)

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

    def sweep(self) -> int:
        """Remove what writers that died have left; return the number of bytes freed.

        The caller holds the lock that keeps all living writers out.

        Raises:
            StoreError
        """
        freed = 0
        with store_errors(self._ingest), contextlib.suppress(FileNotFoundError):
            for entry in os.scandir(self._ingest):
                if entry.name.startswith(_INGEST_PREFIX):
                    freed += entry.stat(follow_symlinks=False).st_size
                    os.unlink(entry.path)
        return freed


class BlobWriter:
    """One blob on its way in. As a context manager it aborts unless it was committed."""

    def __init__(self, directory: BlobDirectory, ingest: Path, algorithm: str | None) -> None:
        self._directory = directory
        self._algorithm = algorithm
        self._hash = hashlib.new(algorithm) if algorithm else None
        self._open = True
        with store_errors(ingest):
            try:
                fd, path = create_temporary(ingest, _INGEST_PREFIX)
            except FileNotFoundError:
                os.makedirs(ingest, mode=0o700, exist_ok=True)
                fd, path = create_temporary(ingest, _INGEST_PREFIX)
        self._file = open(fd, "wb", buffering=CHUNK)  # noqa: SIM115 - closed by commit and abort
        self.path = Path(path)
        """The temporary file; gone after `commit` and `abort`."""

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

    def abort(self) -> None:
        """Forget the blob; after `commit` or again it does nothing."""
        if not self._open:
            return
        self._open = False
        # Closing writes what is buffered, which on a full disk fails once more.
        with contextlib.suppress(OSError):
            self._file.close()
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
