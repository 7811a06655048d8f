"""Just enough tar for archives of images: where each file lies, and headers for plain files.

Layers are another matter and belong to the builder. Python's `tarfile` reads an extended header of
any size into memory, which an archive from outside must not be able to ask for.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass

from registry.errors import DamagedDataError, InvalidDocumentError, TooLargeError

MAX_MEMBERS = 100_000
"""Files in an archive; each costs memory. Real ones have hundreds."""

MAX_EXTENDED_BYTES = 64 * 1024
"""Length of an extended header, which holds a long name."""

BLOCK = 512
END = bytes(2 * BLOCK)

_NAME, _SIZE, _CHECKSUM = slice(0, 100), slice(124, 136), slice(148, 156)
_TYPE, _LINK, _MAGIC, _PREFIX = slice(156, 157), slice(157, 257), slice(257, 263), slice(345, 500)
_FILES, _LINKS = (b"0", b"\0", b"7"), (b"1", b"2")
_MAX_OCTAL_SIZE = 8**11


@dataclass(frozen=True, slots=True)
class Member:
    """A file's bytes inside the archive, or the name that a link (hard or symbolic) leads to."""

    offset: int
    size: int
    link: str = ""


def read_members(fd: int, where: str) -> Iterator[tuple[str, Member]]:
    """Yield the files and links of the tar in ``fd``, each with its normalized name.

    Raises:
        DamagedDataError, TooLargeError, InvalidDocumentError: the archive ``where`` cannot be read.
    """
    length, position, count = os.fstat(fd).st_size, 0, 0
    extended: dict[str, str] = {}
    while True:
        header = os.pread(fd, BLOCK, position)
        if not header.strip(b"\0"):
            return
        kind, size = _check(header, where), _number(header[_SIZE], where)
        if kind in _FILES and "size" in extended:
            size = _decimal(extended["size"], where)
        offset = position + BLOCK
        position = offset + -(-size // BLOCK) * BLOCK
        if offset + size > length:
            raise DamagedDataError(where, "is truncated")
        if kind in (b"x", b"L", b"K"):
            if size > MAX_EXTENDED_BYTES:
                raise TooLargeError(f"extended header of {where}", MAX_EXTENDED_BYTES)
            extended |= _extended(kind, os.pread(fd, size, offset), where)
            continue
        count += 1
        if count > MAX_MEMBERS:
            raise TooLargeError(f"number of files of {where}", MAX_MEMBERS)
        name = extended.get("path") or _name(header)
        if kind in _FILES:
            yield posixpath.normpath(name), Member(offset, size)
        elif kind in _LINKS:
            link = extended.get("linkpath") or _text(header[_LINK])
            # A symbolic link starts at its own folder, a hard link at the archive's top.
            folder = posixpath.dirname(name) if kind == b"2" else ""
            target = posixpath.normpath(posixpath.join(folder, link))
            yield posixpath.normpath(name), Member(offset, 0, target)
        elif kind == b"S":
            raise InvalidDocumentError(where, f'has the sparse file "{name}"')
        if kind != b"g":
            extended = {}


def header_for(name: str, size: int, *, folder: bool = False) -> bytes:
    """Return the header of a file or folder: owner 0, time 0, mode 0644 or 0755."""
    mode, kind = (0o755, b"5") if folder else (0o644, b"0")
    octal = b"%011o\0" % size if size < _MAX_OCTAL_SIZE else b"\x80" + size.to_bytes(11, "big")
    header = bytearray(BLOCK)
    header[_NAME] = name.encode().ljust(100, b"\0")
    header[100:108], header[108:116], header[116:124] = b"%07o\0" % mode, b"0000000\0", b"0000000\0"
    header[_SIZE], header[136:148], header[_CHECKSUM] = octal, b"00000000000\0", b" " * 8
    header[_TYPE], header[_MAGIC], header[263:265] = kind, b"ustar\0", b"00"
    header[_CHECKSUM] = b"%06o\0 " % sum(header)
    return bytes(header)


def padding(size: int) -> bytes:
    """Return the zeros that follow a file of ``size`` bytes."""
    return bytes(-size % BLOCK)


def _check(header: bytes, where: str) -> bytes:
    if len(header) < BLOCK:
        raise DamagedDataError(where, "is truncated")
    found = sum(header) - sum(header[_CHECKSUM]) + 8 * ord(" ")
    if found != _number(header[_CHECKSUM], where):
        raise DamagedDataError(where, "is not a tar archive, or is damaged")
    return header[_TYPE]


def _number(field: bytes, where: str) -> int:
    if field[0] == 0x80:  # noqa: PLR2004 - GNU's mark for a binary number
        return int.from_bytes(field[1:], "big")
    try:
        return int(field.strip(b"\0 ") or b"0", 8)
    except ValueError as error:
        raise DamagedDataError(where, "is not a tar archive, or is damaged") from error


def _decimal(text: str, where: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 20:  # noqa: PLR2004 - digits
        raise DamagedDataError(where, "has an extended header with a size that is no number")
    return int(text)


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def _name(header: bytes) -> str:
    name = _text(header[_NAME])
    prefix = _text(header[_PREFIX]) if header[_MAGIC] == b"ustar\0" else ""
    return f"{prefix}/{name}" if prefix else name


def _extended(kind: bytes, data: bytes, where: str) -> dict[str, str]:
    """Read a GNU long name or a pax header; only what the caller uses of it is kept."""
    if kind in (b"L", b"K"):
        return {"path" if kind == b"L" else "linkpath": _text(data)}
    found: dict[str, str] = {}
    while data:
        digits, space, _ = data.partition(b" ")
        length = int(digits) if space and digits.isdigit() and len(digits) < 9 else 0  # noqa: PLR2004
        record, data = data[len(digits) + 1 : length], data[length:]
        key, equals, value = record.removesuffix(b"\n").partition(b"=")
        if not equals:
            raise DamagedDataError(where, "has a damaged extended header")
        if key in (b"path", b"linkpath", b"size"):
            found[key.decode()] = value.decode("utf-8", "surrogateescape")
    return found
