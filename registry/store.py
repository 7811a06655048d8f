"""What a store can do, in one-method protocols, and the reader that verifies what it hands out.

Powers that only some backends have (mount, delete, referrers) are extra protocols beside their users.
"""

from __future__ import annotations

import hashlib
import io
from typing import BinaryIO, Protocol, runtime_checkable

from registry.errors import DigestMismatchError, SizeMismatchError
from registry.oci.descriptor import Descriptor
from registry.oci.digest import Digest


class BlobSource(Protocol):
    """Hands out blobs and manifests by descriptor."""

    def open(self, descriptor: Descriptor) -> BinaryIO:
        """Return a stream that raises at its end if the bytes are not the descriptor's.

        Raises:
            NotFoundError: the store does not hold it.
        """
        ...


class BlobSink(Protocol):
    """Takes blobs and manifests. Idempotent: what it holds already is not written twice."""

    def has(self, descriptor: Descriptor) -> bool:
        """Say whether the store holds these bytes."""
        ...

    def put(self, stream: BinaryIO, expected: Descriptor) -> None:
        """Store all of ``stream``, which must have the digest and size of ``expected``.

        Raises:
            DigestMismatchError, SizeMismatchError: nothing was stored.
        """
        ...


class TagReader(Protocol):
    """Turns names into descriptors."""

    def resolve(self, tag_or_digest: str) -> Descriptor:
        """Return the descriptor of a manifest or index.

        Raises:
            NotFoundError: no such tag or digest.
        """
        ...


class TagWriter(Protocol):
    """Names descriptors."""

    def tag(self, descriptor: Descriptor, tag: str) -> None:
        """Point ``tag`` at a manifest or index that the store holds already."""
        ...


@runtime_checkable
class StreamSink(Protocol):
    """A sink that also takes bytes whose digest nobody knows before they have all been written."""

    def put_new(self, stream: BinaryIO, media_type: str) -> Descriptor:
        """Store all of ``stream`` and describe it. What ``stream`` raises leaves nothing stored."""
        ...


@runtime_checkable
class Mounter(Protocol):
    """A sink that can take a blob from its neighbour without moving bytes."""

    def mount(self, descriptor: Descriptor, source: BlobSource) -> bool:
        """Take the blob straight from ``source``; False if that is not possible, which is no error."""
        ...


@runtime_checkable
class Sequential(Protocol):
    """A sink whose own bytes depend on the order in which blobs come; they come one at a time."""

    sequential: bool


class BlobStore(BlobSource, BlobSink, Protocol):
    """Both directions."""


class Source(BlobSource, TagReader, Protocol):
    """Where `copy` can read from."""


class Target(BlobSink, TagWriter, Protocol):
    """Where `copy` can write to."""


class VerifyingReader(io.RawIOBase):
    """Reads ``stream`` through and raises at its end, or at the first byte too many.

    ``size`` None checks the digest alone.

    Raises (from read):
        SizeMismatchError: shorter or longer than ``size`` bytes.
        DigestMismatchError: other bytes.
    """

    def __init__(self, stream: BinaryIO, digest: Digest, size: int | None, what: str) -> None:
        self._stream = stream
        self._start = stream.tell() if stream.seekable() else 0
        self._digest = digest
        self._size = size
        self._hash = hashlib.new(digest.algorithm)
        self._received = 0
        self._what = what

    def readable(self) -> bool:
        """Say yes, as `io` asks."""
        return True

    def seekable(self) -> bool:
        """Say whether `seek` can go back to the start, for somebody who has to send it twice."""
        return self._stream.seekable()

    def tell(self) -> int:
        """Return the number of bytes read."""
        return self._received

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Start again from the first byte, and with the verification too.

        Raises:
            io.UnsupportedOperation: to any other place, because each byte has to be seen.
        """
        if (offset, whence) not in ((0, io.SEEK_SET), (0, io.SEEK_CUR)):
            raise io.UnsupportedOperation("a verified stream can only go back to its start")
        if whence == io.SEEK_SET:
            self._stream.seek(self._start)
            self._hash = hashlib.new(self._digest.algorithm)
            self._received = 0
        return self._received

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # typeshed: WriteableBuffer
        """Read into ``buffer``; 0 means that all bytes came and were the right ones."""
        # Not `readinto` of the stream: an HTTP body or a decompressor need not have it.
        data = self._stream.read(len(buffer))
        if data:
            self._received += len(data)
            if self._size is not None and self._received > self._size:
                raise SizeMismatchError(self._size, self._received, self._what)
            self._hash.update(data)
            buffer[: len(data)] = data
            return len(data)
        if self._size is not None and self._received != self._size:
            raise SizeMismatchError(self._size, self._received, self._what)
        got = f"{self._digest.algorithm}:{self._hash.hexdigest()}"
        if got != self._digest:
            raise DigestMismatchError(self._digest, got, self._what)
        return 0

    def close(self) -> None:
        """Close the stream below."""
        if not self.closed:
            self._stream.close()
        super().close()


def verifying(stream: BinaryIO, descriptor: Descriptor, what: str = "") -> BinaryIO:
    """Return ``stream`` wrapped so that wrong bytes raise, buffered for small reads."""
    return verifying_digest(
        stream, descriptor.digest, what or f"blob {descriptor.digest}", size=descriptor.size
    )


def verifying_digest(
    stream: BinaryIO, digest: Digest, what: str, *, size: int | None = None
) -> BinaryIO:
    """Return ``stream`` wrapped as by `verifying`, its size checked only where it is known."""
    return io.BufferedReader(VerifyingReader(stream, digest, size, what), buffer_size=1024 * 1024)


def read_all(source: BlobSource, descriptor: Descriptor) -> bytes:
    """Return a small blob (a manifest or config) whole and verified; at most its stated size."""
    with source.open(descriptor) as stream:
        return stream.read()


def digest_stream(stream: BinaryIO) -> Digest:
    """Return the sha256 digest of all of ``stream``."""
    checksum = hashlib.sha256()
    while data := stream.read(1024 * 1024):
        checksum.update(data)
    return Digest(f"sha256:{checksum.hexdigest()}")


def check_bytes(raw: bytes, digest: Digest, what: str) -> bytes:
    """Return ``raw`` if it has ``digest``.

    Raises:
        DigestMismatchError: it has another.
    """
    got = f"{digest.algorithm}:{hashlib.new(digest.algorithm, raw).hexdigest()}"
    if got != digest:
        raise DigestMismatchError(digest, got, what)
    return raw
