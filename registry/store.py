"""What a store can do, in one-method protocols, and the reader that verifies what it hands out.

Powers that only some backends have (mount, referrers) are extra protocols that callers probe for.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from typing import BinaryIO, Protocol, runtime_checkable

from registry.errors import DigestMismatchError, SizeMismatchError
from registry.oci.descriptor import Descriptor
from registry.oci.digest import Digest
from registry.streams import Layered, read_into


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
class Resumable(Protocol):
    """A source far away: it sends only what is missing, and may do better when asked again."""

    def open_after(self, descriptor: Descriptor, kept: BinaryIO) -> BinaryIO:
        """Return a stream as `BlobSource.open` does, that begins with the bytes of ``kept``.

        It closes ``kept``, whose bytes it verifies with the others.
        """
        ...


@runtime_checkable
class Keeper(Protocol):
    """A sink that keeps what came of a blob when the rest did not."""

    def kept(self, expected: Descriptor) -> BinaryIO | None:
        """Return the beginning of a blob, which nobody has verified, if there is one."""
        ...


@runtime_checkable
class Mounter(Protocol):
    """A sink that can take a blob from its neighbour without moving bytes."""

    def mount(self, descriptor: Descriptor, source: BlobSource) -> bool:
        """Take the blob straight from ``source``; False if that is not possible, which is no error."""
        ...


@runtime_checkable
class Forwarding(Protocol):
    """A source that knows of another one which some blobs came from."""

    def origin(self, descriptor: Descriptor) -> BlobSource | None:
        """Return where else the blob is, if anybody knows."""
        ...


@runtime_checkable
class Sequential(Protocol):
    """A sink whose own bytes depend on the order in which blobs come; they come one at a time."""

    sequential: bool


@runtime_checkable
class Referrers(Protocol):
    """A store that knows which manifests name another as their `subject`.

    It lists a manifest from the moment it is put, whether or not it holds the subject.
    """

    def referrers(self, subject: Digest, artifact_type: str = "") -> Iterator[Descriptor]:
        """Yield the descriptors, with type and annotations, of what refers to ``subject``.

        An empty ``artifact_type`` is any. A subject that nobody knows has no referrers.
        """
        ...


class TagLister(Protocol):
    """A store that can say which names it has."""

    def tags(self) -> Iterator[str]:
        """Yield the names that `resolve` knows, in no particular order."""
        ...


@runtime_checkable
class Deleter(Protocol):
    """A store whose content can be deleted piece by piece."""

    def delete(self, descriptor: Descriptor) -> None:
        """Remove a blob, or a manifest with all its tags and its place among referrers.

        Raises:
            NotFoundError
        """
        ...

    def untag(self, tag: str) -> None:
        """Remove a tag and leave its manifest.

        Raises:
            NotFoundError
        """
        ...


class BlobFinder(Protocol):
    """A store that can say how long a blob is of which only the digest is known."""

    def find_blob(self, digest: Digest) -> Descriptor:
        """Return a descriptor of media type `application/octet-stream`.

        Raises:
            NotFoundError: the store does not hold it.
        """
        ...


class BlobStore(BlobSource, BlobSink, Protocol):
    """Both directions."""


class Source(BlobSource, TagReader, Protocol):
    """Where `copy` can read from."""


class Target(BlobSink, TagWriter, Protocol):
    """Where `copy` can write to."""


class Readable(Source, Referrers, TagLister, BlobFinder, Protocol):
    """A place that images are read from and looked at."""


class Repository(Readable, Target, Protocol):
    """A place that images are also written to."""


class VerifyingReader(Layered):
    """Reads ``stream`` through and raises at its end, or at the first byte too many.

    ``size`` None checks the digest alone. ``digest`` is what it was made with.

    Raises (from read):
        SizeMismatchError: shorter or longer than ``size`` bytes.
        DigestMismatchError: other bytes.
    """

    same_bytes = True

    def __init__(self, stream: BinaryIO, digest: Digest, size: int | None, what: str) -> None:
        super().__init__(stream)
        self.digest = digest
        self._size = size
        self._what = what
        self._hash = hashlib.new(digest.algorithm)

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # typeshed: WriteableBuffer
        """Read into ``buffer``; 0 means that all came and were the right ones."""
        size = read_into(self._below, buffer)
        self._position += size
        received = self._position
        if self._size is not None and (
            received > self._size or (not size and received < self._size)
        ):
            raise SizeMismatchError(self._size, received, self._what)
        self._hash.update(buffer[:size])
        if not size:
            got = f"{self.digest.algorithm}:{self._hash.hexdigest()}"
            if got != self.digest:
                raise DigestMismatchError(self.digest, got, self._what)
        return size

    def rewound(self) -> None:
        """Verify from the first byte on."""
        self._hash = hashlib.new(self.digest.algorithm)


def verifies(stream: object, digest: Digest) -> bool:
    """Say whether ``stream`` raises at its end unless its bytes have ``digest``.

    Whoever stores such a stream, and reads it to its end, need not compute the digest once more.
    """
    while True:
        if isinstance(stream, VerifyingReader):
            return stream.digest == digest
        if isinstance(stream, io.BufferedReader):
            stream = stream.raw
        elif isinstance(stream, Layered) and stream.same_bytes:
            stream = stream.below
        else:
            return False


def verifying(stream: BinaryIO, descriptor: Descriptor, what: str = "") -> BinaryIO:
    """Return ``stream`` wrapped so that wrong bytes raise, buffered for small reads."""
    return verifying_digest(
        stream, descriptor.digest, what or f"blob {descriptor.digest}", size=descriptor.size
    )


def verifying_digest(
    stream: BinaryIO, digest: Digest, what: str, *, size: int | None = None
) -> BinaryIO:
    """Return ``stream`` wrapped as by `verifying`, its size checked only where it is known."""
    # Small, so that who reads more at once reads past it.
    return io.BufferedReader(VerifyingReader(stream, digest, size, what), buffer_size=64 * 1024)


def read_all(source: BlobSource, descriptor: Descriptor) -> bytes:
    """Return a small blob (a manifest or config) whole and verified; at most its stated size."""
    with source.open(descriptor) as stream:
        return stream.read()


def describe(stream: BinaryIO, media_type: str) -> Descriptor:
    """Read all of ``stream`` and return its descriptor."""
    checksum, size = hashlib.sha256(), 0
    while data := stream.read(1024 * 1024):
        checksum.update(data)
        size += len(data)
    digest = Digest(f"sha256:{checksum.hexdigest()}")
    return Descriptor(media_type=media_type, digest=digest, size=size)


def check_bytes(raw: bytes, digest: Digest, what: str) -> bytes:
    """Return ``raw`` if it has ``digest``.

    Raises:
        DigestMismatchError: it has another.
    """
    got = f"{digest.algorithm}:{hashlib.new(digest.algorithm, raw).hexdigest()}"
    if got != digest:
        raise DigestMismatchError(digest, got, what)
    return raw
