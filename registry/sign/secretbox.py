"""NaCl's secretbox, XSalsa20-Poly1305: what encrypts cosign's key files.

`cryptography` has Poly1305 but not Salsa20. A key is a few blocks of 64 bytes, so plain Python will do;
nothing else is to be encrypted with this.

Spec: https://cr.yp.to/snuffle/xsalsa-20110204.pdf and https://nacl.cr.yp.to/secretbox.html
"""

from __future__ import annotations

import struct

KEY_BYTES, NONCE_BYTES, TAG_BYTES = 32, 24, 16

_SIGMA = struct.unpack("<4I", b"expand 32-byte k")
_MASK = 0xFFFFFFFF
_BLOCK = 64
_QUARTERS = (
    # Which words a quarter round works on: the four columns, then the four rows.
    *((0, 4, 8, 12), (5, 9, 13, 1), (10, 14, 2, 6), (15, 3, 7, 11)),
    *((0, 1, 2, 3), (5, 6, 7, 4), (10, 11, 8, 9), (15, 12, 13, 14)),
)


class DamagedBoxError(Exception):
    """The key is another, or the box was changed."""


def seal(message: bytes, nonce: bytes, key: bytes) -> bytes:
    """Return ``message`` encrypted, its tag of 16 bytes first. A nonce serves one message only."""
    first, stream = _stream(len(message), nonce, key)
    hidden = _xor(message, stream)
    return _tag(first, hidden) + hidden


def open_box(box: bytes, nonce: bytes, key: bytes) -> bytes:
    """Return the message of a box.

    Raises:
        DamagedBoxError: it was not sealed with this key and nonce; nothing was decrypted.
    """
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - slow to import
    from cryptography.hazmat.primitives.poly1305 import Poly1305  # noqa: PLC0415

    tag, hidden = box[:TAG_BYTES], box[TAG_BYTES:]
    first, stream = _stream(len(hidden), nonce, key)
    try:
        Poly1305.verify_tag(first, hidden, tag)
    except InvalidSignature as error:
        raise DamagedBoxError from error
    return _xor(hidden, stream)


def _tag(key: bytes, data: bytes) -> bytes:
    from cryptography.hazmat.primitives.poly1305 import Poly1305  # noqa: PLC0415 - as above

    return Poly1305.generate_tag(key, data)


def _stream(length: int, nonce: bytes, key: bytes) -> tuple[bytes, bytes]:
    """Return the one-time key of the tag, and ``length`` bytes to hide a message under."""
    if len(key) != KEY_BYTES or len(nonce) != NONCE_BYTES:
        raise ValueError("a secretbox has a key of 32 bytes and a nonce of 24")
    # HSalsa20: the first 16 bytes of the nonce go into a key of their own.
    words = _rounds(_state(key, nonce[:16]))
    inner = struct.pack("<8I", *(words[i] for i in (0, 5, 10, 15, 6, 7, 8, 9)))
    blocks = b"".join(
        _salsa(inner, nonce[16:] + struct.pack("<Q", number))
        for number in range((KEY_BYTES + length + _BLOCK - 1) // _BLOCK)
    )
    return blocks[:KEY_BYTES], blocks[KEY_BYTES : KEY_BYTES + length]


def _salsa(key: bytes, position: bytes) -> bytes:
    before = _state(key, position)
    mixed = zip(_rounds(before), before, strict=True)
    return struct.pack("<16I", *((word + old) & _MASK for word, old in mixed))


def _state(key: bytes, position: bytes) -> list[int]:
    k, p, s = struct.unpack("<8I", key), struct.unpack("<4I", position), _SIGMA
    return [s[0], *k[:4], s[1], *p, s[2], *k[4:], s[3]]


def _rounds(state: list[int]) -> list[int]:
    words = list(state)
    for _ in range(10):
        for a, b, c, d in _QUARTERS:
            words[b] ^= _rotate(words[a] + words[d], 7)
            words[c] ^= _rotate(words[b] + words[a], 9)
            words[d] ^= _rotate(words[c] + words[b], 13)
            words[a] ^= _rotate(words[d] + words[c], 18)
    return words


def _rotate(word: int, by: int) -> int:
    word &= _MASK
    return (word << by | word >> (32 - by)) & _MASK


def _xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=True))
