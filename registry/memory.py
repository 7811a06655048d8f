"""A store in memory: for tests, and for images that are made and handed on."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import BinaryIO

from registry.errors import InvalidDigestError, NotFoundError
from registry.oci.descriptor import Descriptor
from registry.oci.digest import Digest, sha256
from registry.oci.manifest import parse
from registry.oci.mediatypes import OCTETS, is_document
from registry.referrers import found_in, of_type
from registry.store import verifying


class MemoryStore:
    """Blobs and tags in dictionaries. Safe to use from several threads."""

    def __init__(self) -> None:
        self._blobs: dict[Digest, bytes] = {}
        self._tags: dict[str, Descriptor] = {}
        self._manifests: dict[Digest, Descriptor] = {}

    def has(self, descriptor: Descriptor) -> bool:
        return descriptor.digest in self._blobs

    def open(self, descriptor: Descriptor) -> BinaryIO:
        return verifying(io.BytesIO(self._get(descriptor.digest)), descriptor)

    def put(self, stream: BinaryIO, expected: Descriptor) -> None:
        if not self.has(expected):
            self._blobs[expected.digest] = verifying(stream, expected).read()
        if is_document(expected.media_type):
            self._manifests[expected.digest] = expected

    def put_new(self, stream: BinaryIO, media_type: str) -> Descriptor:
        raw = stream.read()
        digest = sha256(raw)
        self._blobs[digest] = raw
        return Descriptor(media_type=media_type, digest=digest, size=len(raw))

    def resolve(self, tag_or_digest: str) -> Descriptor:
        if tag_or_digest in self._tags:
            return self._tags[tag_or_digest]
        try:
            digest = Digest(tag_or_digest)
            return parse(self._get(digest), algorithm=digest.algorithm).descriptor
        except InvalidDigestError:
            raise NotFoundError(f'tag "{tag_or_digest}"', "memory") from None

    def tag(self, descriptor: Descriptor, tag: str) -> None:
        self._tags[tag] = descriptor

    def referrers(self, subject: Digest, artifact_type: str = "") -> Iterator[Descriptor]:
        return of_type(found_in(self, list(self._manifests.values()), subject), artifact_type)

    def tags(self) -> Iterator[str]:
        return iter(list(self._tags))

    def find_blob(self, digest: Digest) -> Descriptor:
        return Descriptor(media_type=OCTETS, digest=digest, size=len(self._get(digest)))

    def _get(self, digest: Digest) -> bytes:
        try:
            return self._blobs[digest]
        except KeyError:
            raise NotFoundError(f"blob {digest}", "memory") from None
