"""Registry hives: the files that `Hives/` and `Windows/System32/config/` of a layer hold.

Written is what a base image without a system needs: a hive with nothing but its root key, which every
reader of hives takes.

Spec: https://github.com/msuhanov/regf/blob/master/Windows%20registry%20file%20format%20specification.md
"""

from __future__ import annotations

import struct

_BASE_BLOCK_BYTES = 4096
_BIN_BYTES = 4096
_ROOT_NAME = b"ROOT"
_NO_CELL = 0xFFFFFFFF

# signature, sequence numbers, last written, version, type, format, root cell, length of bins,
# clustering factor, file name
_BASE_BLOCK = struct.Struct("<4sIIQIIIIIII64s")
_MAJOR, _MINOR = 1, 5
_DIRECT_MEMORY_LOAD = 1
_CHECKSUM_OFFSET = 508

# signature, offset, size, reserved, timestamp, spare
_BIN = struct.Struct("<4sII8sQI")

# signature, flags, last written, access bits, parent, subkeys (stable, volatile), lists of them, values,
# list of them, security, class name, largest lengths (4), work variable, lengths of name and class
_KEY = struct.Struct("<2sHQIIIIIIIIIIIIIIIHH")
_ROOT_FLAGS = 0x4 | 0x8 | 0x20
"""The root; not to be deleted; its name in single bytes."""

_SECURITY = struct.Struct("<2sHIIII")


def empty_hive(descriptor: bytes) -> bytes:
    """Return a hive that has a root key alone, with this security descriptor (binary)."""
    key_size = _KEY.size + len(_ROOT_NAME)
    security = _BIN.size + _cell_size(key_size)
    key = _KEY.pack(
        *(b"nk", _ROOT_FLAGS, 0, 0, _NO_CELL, 0, 0, _NO_CELL, _NO_CELL, 0, _NO_CELL, security),
        *(_NO_CELL, 0, 0, 0, 0, 0, len(_ROOT_NAME), 0),
    )
    # Linked to itself: it is the only one.
    descriptor_cell = _SECURITY.pack(b"sk", 0, security, security, 1, len(descriptor)) + descriptor
    cells = _cell(key + _ROOT_NAME) + _cell(descriptor_cell)
    free = _BIN_BYTES - _BIN.size - len(cells)
    cells += struct.pack("<i", free) + bytes(free - 4)
    return _base_block() + _BIN.pack(b"hbin", 0, _BIN_BYTES, bytes(8), 0, 0) + cells


def _base_block() -> bytes:
    head = _BASE_BLOCK.pack(
        *(b"regf", 1, 1, 0, _MAJOR, _MINOR, 0, _DIRECT_MEMORY_LOAD),
        *(_BIN.size, _BIN_BYTES, 1, bytes(64)),
    )
    head = head.ljust(_CHECKSUM_OFFSET, b"\0")
    checksum = 0
    for (word,) in struct.iter_unpack("<I", head):
        checksum ^= word
    # Zero and all ones mean that there is none.
    checksum = {0: 1, _NO_CELL: _NO_CELL - 1}.get(checksum, checksum)
    return (head + struct.pack("<I", checksum)).ljust(_BASE_BLOCK_BYTES, b"\0")


def _cell(data: bytes) -> bytes:
    """Return an allocated cell; the size of those is negative."""
    size = _cell_size(len(data))
    return (struct.pack("<i", -size) + data).ljust(size, b"\0")


def _cell_size(length: int) -> int:
    return -(-(length + 4) // 8) * 8
