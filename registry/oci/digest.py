"""Digests: `algorithm:hex` of exact bytes.

Spec: https://github.com/opencontainers/image-spec/blob/main/descriptor.md#digests
"""

from __future__ import annotations

import hashlib
import re
from typing import NewType, Self

from registry.errors import InvalidDigestError

_HEX_LENGTHS = {"sha256": 64, "sha512": 128}
_HEX = re.compile(r"[0-9a-f]+", re.ASCII)


class Digest(str):
    """A digest that has been checked: a known algorithm and lower-case hexadecimal of its length.

    Checked at construction, because a digest becomes a path and a URL.

    Raises:
        InvalidDigestError: any other text.
    """

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        algorithm, colon, encoded = text.partition(":")
        if not colon:
            raise InvalidDigestError(text, 'expected "algorithm:hex"')
        if algorithm not in _HEX_LENGTHS:
            raise InvalidDigestError(text, f'unsupported algorithm "{algorithm[:32]}"')
        if len(encoded) != _HEX_LENGTHS[algorithm] or not _HEX.fullmatch(encoded):
            raise InvalidDigestError(
                text, f"expected {_HEX_LENGTHS[algorithm]} lower-case hexadecimal digits"
            )
        return super().__new__(cls, text)

    @property
    def algorithm(self) -> str:
        """The part before the colon: `sha256` or `sha512`."""
        return self.partition(":")[0]

    @property
    def hex(self) -> str:
        """The part after the colon."""
        return self.partition(":")[2]


DiffId = NewType("DiffId", Digest)
"""Digest of an uncompressed layer tar."""

ChainId = NewType("ChainId", Digest)
"""Digest naming a stack of diff_ids; see `registry.oci.chain`."""


def sha256(data: bytes) -> Digest:
    """Return the sha256 digest of ``data``."""
    return digest_of(data, "sha256")


def digest_of(data: bytes, algorithm: str) -> Digest:
    """Return the digest of ``data`` by an algorithm that digests have."""
    return Digest(f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}")
