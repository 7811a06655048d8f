"""Backup streams: a file of NTFS with all that belongs to it, as `BackupRead` gives it.

One header and one body after another: the content, alternate streams, the security descriptor, extended
attributes, and what a reparse point leads to. In a folder that Windows exported, each file below
`Files` is one such stream behind the file's attributes.

Spec: https://learn.microsoft.com/windows/win32/api/winbase/ns-winbase-win32_stream_id, [MS-FSCC] 2.1.2
(reparse points) and 2.4.15 (extended attributes)
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from wcbuild.errors import LayerError
from wcbuild.layer.windows import records

MAX_HEAD_BYTES = 64 * 1024
"""Of descriptors, attributes, reparse points and names; NTFS has 64 KiB for each at most."""

_DATA, _EXTENDED, _SECURITY, _ALTERNATE, _LINK, _OBJECT_ID, _REPARSE, _SPARSE = (
    *(1, 2, 3, 4, 5, 7, 8, 9),
)
_HEADER = struct.Struct("<IIQI")
_ATTRIBUTES = struct.Struct("<I")
_JUNCTION, _SYMLINK = 0xA0000003, 0xA000000C
_REPARSE_HEAD = struct.Struct("<IHHHHHH")
_EXTENDED_HEAD = struct.Struct("<IBBH")


class Piece(NamedTuple):
    """Bytes of a file's content or of one of its streams, and where in the export they lie."""

    start: int
    size: int


class Backup(NamedTuple):
    """What an exported file says."""

    attributes: int
    records: dict[str, bytes]
    """As `wcbuild.layer.windows.records` has them."""
    data: Piece | None = None
    streams: tuple[tuple[str, Piece], ...] = ()
    """Alternate data streams by name."""
    target: str | None = None
    """What a symlink or junction leads to, with forward slashes."""


def read_backup(stream: BinaryIO, what: str) -> Backup:
    """Read an exported file from its first byte; ``stream`` can seek.

    Raises:
        LayerError: it is damaged or has a part that layers cannot hold.
    """
    head = stream.read(_ATTRIBUTES.size)
    if len(head) < _ATTRIBUTES.size:
        raise LayerError(what, "ends before its attributes")
    (attributes,) = _ATTRIBUTES.unpack(head)
    found = {records.ATTRIBUTES: b"%d" % attributes}
    data: Piece | None = None
    target: str | None = None
    streams: list[tuple[str, Piece]] = []
    try:
        for kind, name, start, size in _parts(stream, what):
            if kind == _DATA:
                data = Piece(start, size)
            elif kind == _ALTERNATE:
                streams.append((_stream_name(name), Piece(start, size)))
            elif kind in (_SECURITY, _EXTENDED, _REPARSE):
                body = _body(stream, start, size, what)
                if kind == _SECURITY:
                    found[records.DESCRIPTOR] = base64.b64encode(body)
                elif kind == _EXTENDED:
                    found |= _extended(body)
                else:
                    target, junction = _reparse(body, what)
                    found |= {records.JUNCTION: b"1"} if junction else {}
            elif kind == _SPARSE:
                raise LayerError(what, "is a sparse file, which is not supported")
            elif kind not in (_LINK, _OBJECT_ID):
                raise LayerError(what, f"has a part of the unknown kind {kind}")
    except (struct.error, UnicodeDecodeError) as error:
        raise LayerError(what, "is damaged") from error
    return Backup(attributes, found, data, tuple(streams), target)


def _parts(stream: BinaryIO, what: str) -> Iterator[tuple[int, str, int, int]]:
    """Yield kind, name, place and size of each part."""
    end = stream.seek(0, 2)
    place = _ATTRIBUTES.size
    while place < end:
        stream.seek(place)
        kind, _, size, name_size = _HEADER.unpack(stream.read(_HEADER.size))
        if name_size > MAX_HEAD_BYTES:
            raise LayerError(what, "has a name that is too long")
        name = stream.read(name_size).decode("utf-16-le")
        start = place + _HEADER.size + name_size
        place = start + size
        if place > end:
            raise LayerError(what, "is truncated")
        yield kind, name, start, size


def _body(stream: BinaryIO, start: int, size: int, what: str) -> bytes:
    if size > MAX_HEAD_BYTES:
        raise LayerError(what, f"has metadata of more than {MAX_HEAD_BYTES} bytes")
    stream.seek(start)
    return stream.read(size)


def _stream_name(name: str) -> str:
    """Return `x` for `:x:$DATA`."""
    return name.removeprefix(":").removesuffix(":$DATA")


def _extended(body: bytes) -> dict[str, bytes]:
    """Read a chain of extended attributes."""
    found = {}
    place = 0
    while True:
        following, _, name_size, value_size = _EXTENDED_HEAD.unpack_from(body, place)
        start = place + _EXTENDED_HEAD.size
        name = body[start : start + name_size].decode("ascii", "replace")
        value = body[start + name_size + 1 :][:value_size]
        found[f"{records.EXTENDED}{name}"] = base64.b64encode(value)
        if not following:
            return found
        place += following


def _reparse(body: bytes, what: str) -> tuple[str, bool]:
    """Return where a reparse point leads, and whether it is a junction."""
    tag, _, _, start, size, shown_start, shown_size = _REPARSE_HEAD.unpack_from(body)
    if tag not in (_JUNCTION, _SYMLINK):
        raise LayerError(what, f"is a reparse point of the unknown kind 0x{tag:X}")
    buffer = body[_REPARSE_HEAD.size + (4 if tag == _SYMLINK else 0) :]
    # What is shown to people is without the prefix that the kernel needs.
    if shown_size:
        start, size = shown_start, shown_size
    text = buffer[start : start + size].decode("utf-16-le")
    return text.replace("\\", "/"), tag == _JUNCTION
