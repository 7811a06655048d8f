"""Tar headers, read and written.

Written: ustar where the values fit, PAX otherwise, both as Go's `archive/tar` chooses, so that our layers
look like everybody's; owners' names empty, directories with a trailing slash. Read: ustar, PAX, GNU long
names and base-256 numbers, V7. Where readers are known to disagree about an archive (which of two
sizes counts, what a lone zero block means), it is refused: else a scanner of images would see other
files than the machine that runs them. Sparse files are refused too, clearly.

Names travel as UTF-8 with surrogate escapes whatever the locale, so that equal trees give equal bytes.

Spec: https://pubs.opengroup.org/onlinepubs/9699919799/utilities/pax.html#tag_20_92_13
"""

from __future__ import annotations

import struct
from typing import Final

from wcbuild.errors import LayerError
from wcbuild.layer.changes import (
    BLOCK,
    CHARACTER,
    DIRECTORY,
    FIFO,
    FILE,
    HARDLINK,
    SYMLINK,
    Meta,
)

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
MAX_NUMBER = (1 << 63) - 1
READ_SIZE = 1 << 20

_XATTR = b"SCHILY.xattr."

_TYPES: Final = {
    FILE: b"0",
    HARDLINK: b"1",
    SYMLINK: b"2",
    CHARACTER: b"3",
    BLOCK: b"4",
    DIRECTORY: b"5",
    FIFO: b"6",
}
_KINDS: Final = {
    **{flag: kind for kind, flag in _TYPES.items()},
    b"\0": FILE,  # before ustar
    b"7": FILE,  # contiguous: a hint that no file system takes
}

# name, numbers (mode 8, uid 8, gid 8, size 12, mtime 12), checksum, type, link, magic and version, owners'
# names, device numbers (8 and 8), prefix
_WRITE = struct.Struct("100s 48s 8s c 100s 8s 64x 16s 155s 12x")
_READ = struct.Struct("100s 8s 8s 8s 12s 12s 8s c 100s 8s 64x 8s 8s 155s 8x 4s")
_USTAR = b"ustar\x0000"
_NO_DEVICE = b"0000000\x000000000\0"
_FIXED_SUM = sum(_USTAR) + sum(b" " * 8)

_MAX_OCTAL_7 = 0o7777777
_MAX_OCTAL_11 = 0o77777777777
_NAME, _PREFIX = 100, 155


def encode_name(path: str) -> bytes:
    """Return the bytes that stand for a path in an archive."""
    return path.encode("utf-8", "surrogateescape")


def padding(size: int) -> bytes:
    """Return the zero bytes that follow content of this size."""
    return bytes(-size % BLOCK_SIZE)


# --------------------------------------------------------------------------------------------------
# Writing


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
        or not 0 <= mtime <= _MAX_OCTAL_11
        or not 0 <= size <= _MAX_OCTAL_11
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


def _careful_header(path: str, name: bytes, link: bytes, meta: Meta) -> bytes:
    """Write what does not fit a single plain block, or turns out to."""
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
        records[_XATTR + encode_name(key_text)] = data
    devices = b"%07o\0%07o\0" % (meta.major, meta.minor)
    block = _block(
        plain_name[:_NAME],
        _ascii(link)[:_NAME],
        numbers,
        _TYPES[meta.kind],
        devices=devices,
        prefix=prefix,
    )
    return _pax(name, records) + block if records else block


def _check_writable(path: str, name: bytes, link: bytes, meta: Meta) -> None:
    problem = ""
    if len(name) > MAX_NAME_BYTES or len(link) > MAX_NAME_BYTES:
        problem = f"longer than {MAX_NAME_BYTES} bytes"
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


def _pax(name: bytes, records: dict[bytes, bytes]) -> bytes:
    """Return an extended header entry for the entry ``name``."""
    data = b"".join(_record(key, records[key]) for key in sorted(records))
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
