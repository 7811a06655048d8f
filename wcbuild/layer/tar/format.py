"""What readers and writers of archives share: sizes, limits and names."""

from __future__ import annotations

BLOCK_SIZE = 512
END_OF_ARCHIVE = bytes(2 * BLOCK_SIZE)

MAX_NAME_BYTES = 4096
"""Of a path or a link's target: Linux takes no longer ones."""
MAX_COMPONENT_BYTES = 255
"""Of one name in a path: no Linux file system takes longer ones."""
MAX_PAX_BYTES = 1024 * 1024
"""Of one extended header or GNU long name; Go's limit, and room for 15 of the longest xattrs."""
MAX_ID = 0xFFFFFFFE
"""Of a user or group; the next number means "leave as it is" to chown."""
MAX_OCTAL_11 = 0o77777777777
"""The greatest number that a size or a time has room for without an extended header."""
XATTR = b"SCHILY.xattr."
"""What records of extended attributes begin with."""


def encode_name(path: str) -> bytes:
    """Return the bytes that stand for a path in an archive."""
    return path.encode("utf-8", "surrogateescape")


def padding(size: int) -> bytes:
    """Return the zero bytes that follow content of this size."""
    return bytes(-size % BLOCK_SIZE)


def decode_name(name: bytes) -> str:
    """Return the text for a name in an archive."""
    return name.decode("utf-8", "surrogateescape")
