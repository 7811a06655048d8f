"""Headers as Go's `archive/tar` chooses them, so that our layers look like everybody's.

Ustar where the values fit, PAX otherwise; owners' names are empty, directories have a trailing slash.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from wcbuild.errors import LayerError
from wcbuild.layer.changes import (
    BLOCK,
    CHARACTER,
    DIRECTORY,
    FIFO,
    FILE,
    HARDLINK,
    STREAM,
    SYMLINK,
    Meta,
)
from wcbuild.layer.tar.format import (
    BLOCK_SIZE,
    MAX_COMPONENT_BYTES,
    MAX_ID,
    MAX_NAME_BYTES,
    MAX_OCTAL_11,
    MAX_PAX_BYTES,
    XATTR,
    encode_name,
    padding,
)

_TYPES: Final = {
    FILE: b"0",
    HARDLINK: b"1",
    SYMLINK: b"2",
    CHARACTER: b"3",
    BLOCK: b"4",
    DIRECTORY: b"5",
    FIFO: b"6",
    STREAM: b"0",
}
# name, numbers (mode 8, uid 8, gid 8, size 12, mtime 12), checksum, type, link, magic and version, owners'
# names, device numbers (8 and 8), prefix
_WRITE = struct.Struct("100s 48s 8s c 100s 8s 64x 16s 155s 12x")
_USTAR = b"ustar\x0000"
_NO_DEVICE = b"0000000\x000000000\0"
_FIXED_SUM = sum(_USTAR) + sum(b" " * 8)
_MAX_OCTAL_7 = 0o7777777
_NAME, _PREFIX = 100, 155


def header(path: str, meta: Meta) -> bytes:
    """Return the header blocks of one entry; its content and `padding` follow.

    Raises:
        LayerError: a name or value that no reader would take back.
    """
    kind, mode, uid, gid, size, mtime, link, major, minor, xattrs = meta
    name = encode_name(path) if path else b"."
    if kind == DIRECTORY:
        name += b"/"
    target = encode_name(link)
    if (
        xattrs
        or len(name) > _NAME
        or len(target) > _NAME
        or not (name.isascii() and target.isascii())
        or b"\0" in name
        or b"\0" in target
        or not 0 <= uid <= _MAX_OCTAL_7
        or not 0 <= gid <= _MAX_OCTAL_7
        or not 0 <= mtime <= MAX_OCTAL_11
        or not 0 <= size <= MAX_OCTAL_11
        or major
        or minor
    ):
        return _careful_header(path, name, target, meta)
    return _block(
        name,
        target,
        b"%07o\0%07o\0%07o\0%011o\0%011o\0" % (mode, uid, gid, size, mtime),
        _TYPES[kind],
    )


def header_with_records(path: str, meta: Meta, type_bits: int) -> bytes:
    """Return the header blocks of an entry whose ``xattrs`` are PAX records, to be written as they are.

    ``type_bits`` (as in `stat.S_IFDIR`) are written beside the mode.

    Raises:
        LayerError: as `header`.
    """
    name = encode_name(path) + (b"/" if meta.kind == DIRECTORY else b"")
    own = meta.xattrs
    meta = meta._replace(mode=meta.mode | type_bits, xattrs=())
    block = header(path, meta)
    if len(block) == BLOCK_SIZE:  # nothing but ``own`` needs a record
        return _pax(name, _joined_own(own)) + block if own else block
    return _careful_header(path, name, encode_name(meta.link), meta, own)


def _block(
    name: bytes,
    link: bytes,
    numbers: bytes,
    flag: bytes,
    *,
    devices: bytes = _NO_DEVICE,
    prefix: bytes = b"",
) -> bytes:
    # Summing the parts costs a fifth of summing 512 bytes that are mostly zero.
    checksum = (
        sum(name) + sum(link) + sum(numbers) + flag[0] + sum(devices) + sum(prefix) + _FIXED_SUM
    )
    return _WRITE.pack(name, numbers, b"%06o\0 " % checksum, flag, link, _USTAR, devices, prefix)


def _careful_header(
    path: str, name: bytes, link: bytes, meta: Meta, own: tuple[tuple[str, bytes], ...] = ()
) -> bytes:
    """Write what does not fit a single plain block, or turns out to. ``own`` are more records."""
    _check_writable(path, name, link, meta)
    records: dict[bytes, bytes] = {}
    prefix, plain_name = b"", name
    if len(name) > _NAME or not name.isascii():
        split = _split(name)
        if split:
            prefix, plain_name = split
        else:
            records[b"path"] = name
            plain_name = _ascii(name)
    if len(link) > _NAME or not link.isascii():
        records[b"linkpath"] = link
    numbers = b""
    for key, value, digits in (
        (b"", meta.mode, 7),
        (b"uid", meta.uid, 7),
        (b"gid", meta.gid, 7),
        (b"size", meta.size, 11),
        (b"mtime", meta.mtime, 11),
    ):
        fits = 0 <= value < 8**digits
        if not fits:
            records[key] = b"%d" % value
        numbers += b"%0*o\0" % (digits, value if fits else 0)
    for key_text, data in meta.xattrs:
        records[XATTR + encode_name(key_text)] = data
    devices = b"%07o\0%07o\0" % (meta.major, meta.minor)
    block = _block(
        plain_name[:_NAME],
        _ascii(link)[:_NAME],
        numbers,
        _TYPES[meta.kind],
        devices=devices,
        prefix=prefix,
    )
    records |= {key_text.encode(): data for key_text, data in own}
    return _pax(name, _joined(records)) + block if records else block


def _check_writable(path: str, name: bytes, link: bytes, meta: Meta) -> None:
    problem = ""
    if len(name) > MAX_NAME_BYTES or len(link) > MAX_NAME_BYTES:
        problem = f"longer than {MAX_NAME_BYTES} bytes"
    elif any(len(part) > MAX_COMPONENT_BYTES for part in name.split(b"/")):
        problem = f"has a component longer than {MAX_COMPONENT_BYTES} bytes"
    elif b"\0" in name or b"\0" in link:
        problem = "has a zero byte in its name"
    elif not (0 <= meta.uid <= MAX_ID and 0 <= meta.gid <= MAX_ID):
        problem = f"owned by {meta.uid}:{meta.gid}, which is no user and group"
    elif not (0 <= meta.major <= _MAX_OCTAL_7 and 0 <= meta.minor <= _MAX_OCTAL_7):
        problem = f"device {meta.major}:{meta.minor} cannot be stored in a layer"
    elif any("=" in key or not key for key, _ in meta.xattrs):
        problem = "has an extended attribute whose name cannot be stored in a layer"
    if problem:
        raise LayerError(f'"{path[:200]}"', problem)


def _split(name: bytes) -> tuple[bytes, bytes] | None:
    """Split a long name at a slash into prefix and name, as late as possible; None if it cannot be."""
    if not name.isascii():
        return None
    end = min(len(name) - name.endswith(b"/"), _PREFIX + 1)
    slash = name.rfind(b"/", 0, end)
    rest = name[slash + 1 :]
    return (name[:slash], rest) if slash > 0 and len(rest) <= _NAME else None


def _ascii(name: bytes) -> bytes:
    """Return what a reader without PAX shall see."""
    return name.decode("ascii", "ignore").encode()


@lru_cache(maxsize=256)
def _joined_own(own: tuple[tuple[str, bytes], ...]) -> bytes:
    """Do as `_joined` does for what many entries have alike."""
    return _joined({key.encode(): value for key, value in own})


def _joined(records: Mapping[bytes, bytes]) -> bytes:
    """Return records as they stand in an extended header."""
    return b"".join(_record(key, records[key]) for key in sorted(records))


def _pax(name: bytes, data: bytes) -> bytes:
    """Return an extended header entry with the records ``data`` for the entry ``name``."""
    if len(data) > MAX_PAX_BYTES:
        raise LayerError(
            f'"{name.decode("utf-8", "surrogateescape")[:200]}"',
            f"has extended attributes of more than {MAX_PAX_BYTES} bytes",
        )
    directory, slash, base = name.rstrip(b"/").rpartition(b"/")
    shown = _ascii(directory + slash + b"PaxHeaders.0/" + base)[:_NAME].rstrip(b"/")
    numbers = b"%07o\0%07o\0%07o\0%011o\0%011o\0" % (0, 0, 0, len(data), 0)
    return _block(shown, b"", numbers, b"x") + data + padding(len(data))


def _record(key: bytes, value: bytes) -> bytes:
    """Return `length key=value`; the length counts its own digits."""
    rest = len(key) + len(value) + 3  # space, equals sign, newline
    size = rest + len(str(rest))
    size = rest + len(str(size))
    return b"%d %s=%s\n" % (size, key, value)
