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
from registry.streams import Layered


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
class Forwarding(Protocol):
    """A source that knows of another one which some blobs came from."""

    def origin(self, descriptor: Descriptor) -> BlobSource | None:
        """Return where else the blob is, if anybody knows."""
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


class VerifyingReader(Layered):
    """Reads ``stream`` through and raises at its end, or at the first byte too many.

    ``size`` None checks the digest alone.

    Raises (from read):
        SizeMismatchError: shorter or longer than ``size`` bytes.
        DigestMismatchError: other bytes.
    """

    def __init__(self, stream: BinaryIO, digest: Digest, size: int | None, what: str) -> None:
        super().__init__(stream)
        self._digest = digest
        self._size = size
        self._what = what
        self._hash = hashlib.new(digest.algorithm)

    def next(self, size: int) -> bytes:
        """Return bytes that follow; none means that all came and were the right ones."""
        data = self._below.read(size)
        received = self._position + len(data)
        if self._size is not None and (
            received > self._size or (not data and received < self._size)
        ):
            raise SizeMismatchError(self._size, received, self._what)
        self._hash.update(data)
        if not data:
            got = f"{self._digest.algorithm}:{self._hash.hexdigest()}"
            if got != self._digest:
                raise DigestMismatchError(self._digest, got, self._what)
        return data

    def rewound(self) -> None:
        """Verify from the first byte on."""
        self._hash = hashlib.new(self._digest.algorithm)


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
