"""Entries of archives: ustar, PAX, GNU long names and base-256 numbers, V7.

Where readers are known to disagree about an archive (which of two sizes counts, what a lone zero block
means), it is refused: else a scanner of images would see other files than the machine that runs them.
Sparse files are refused too, clearly.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import BinaryIO, Final

from wcbuild.errors import UnsafeArchiveError
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
from wcbuild.layer.tar.format import (
    BLOCK_SIZE,
    MAX_COMPONENT_BYTES,
    MAX_ID,
    MAX_NAME_BYTES,
    MAX_OCTAL_11,
    MAX_PAX_BYTES,
    XATTR,
    decode_name,
)

MAX_NUMBER = (1 << 63) - 1
READ_SIZE = 1 << 18
"""Bytes asked of a stream at once."""

_KINDS: Final = {
    b"0": FILE,
    b"1": HARDLINK,
    b"2": SYMLINK,
    b"3": CHARACTER,
    b"4": BLOCK,
    b"5": DIRECTORY,
    b"6": FIFO,
    b"\0": FILE,  # before ustar
    b"7": FILE,  # contiguous: a hint that no file system takes
}
# name, mode, uid, gid, size, mtime, checksum, type, link, magic and version, device numbers, prefix, and
# what star writes behind that
_READ = struct.Struct("100s 8s 8s 8s 12s 12s 8s c 100s 8s 64x 8s 8s 155s 8x 4s")
_ZEROS = bytes(BLOCK_SIZE)
_GLOBAL = b"g"
_LONG_NAMES = {b"L", b"K"}
_EXTENSIONS = {b"x", _GLOBAL, *_LONG_NAMES}
_SPARSE = b"GNU.sparse."
_MOVING = {b"path", b"linkpath", b"size"}
_LONGEST_NUMBER = 19
"""Decimal digits of `MAX_NUMBER`."""


class RawEntry:
    """One entry of an archive: safe to use, but not interpreted; whiteouts are files here.

    The path and a hard link's target are relative to the root, without `.`, `..` or empty components. Of
    the extended attributes only those are here that mean something in an image.
    """

    __slots__ = ("_left", "_source", "meta", "offset", "path")

    def __init__(self, path: str, meta: Meta, source: _Source) -> None:
        self.path = path
        self.meta = meta
        self.offset = source.offset
        """Where the content begins in the archive, in bytes."""
        self._source = source
        self._left = meta.size

    def read(self) -> bytes:
        """Return the content that has not been read yet, whole: for files known to be small.

        Raises:
            UnsafeArchiveError: the archive ends too early.
        """
        size, self._left = self._left, 0
        return self._source.take(size, self.path)

    def blocks(self) -> Iterator[bytes]:
        """Yield the content that has not been read yet, in pieces of any size up to 1 MiB.

        Raises:
            UnsafeArchiveError: the archive ends too early.
        """
        while self._left:
            block = self._source.some(self._left, self.path)
            self._left -= len(block)
            yield block

    def pass_over(self) -> None:
        """Leave the content and its padding behind."""
        size, self._left = self._left + -self.meta.size % BLOCK_SIZE, 0
        self._source.skip(size, self.path)


class _Source:
    """A stream with a little read ahead."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._buffer = b""
        self._position = 0
        self.offset = 0
        """How many bytes have been taken."""

    def header(self) -> bytes:
        """Return a block, or less at the end of the stream."""
        if len(self._buffer) - self._position < BLOCK_SIZE:
            self._fill(BLOCK_SIZE)
        block = self._buffer[self._position : self._position + BLOCK_SIZE]
        self._position += len(block)
        self.offset += len(block)
        return block

    def take(self, size: int, entry: str) -> bytes:
        """Return the next ``size`` bytes."""
        if size > len(self._buffer) - self._position:
            self._fill(size)
        data = self._buffer[self._position : self._position + size]
        if len(data) < size:
            raise UnsafeArchiveError(entry, "is truncated")
        self._position += size
        self.offset += size
        return data

    def some(self, limit: int, entry: str) -> bytes:
        """Return at least one byte and at most ``limit``, without reading ahead."""
        if self._position < len(self._buffer):
            data = self._buffer[self._position : self._position + limit]
            self._position += len(data)
        else:
            data = self._stream.read(min(limit, 4 * READ_SIZE))
            if not data:
                raise UnsafeArchiveError(entry, "is truncated")
        self.offset += len(data)
        return data

    def skip(self, size: int, entry: str) -> None:
        if size <= len(self._buffer) - self._position:
            self._position += size
            self.offset += size
            return
        while size:
            size -= len(self.some(size, entry))

    def drain(self) -> None:
        """Read to the end of the stream, so that whoever verifies it on the way sees all of it."""
        self._buffer = b""
        while self._stream.read(4 * READ_SIZE):
            pass

    def _fill(self, size: int) -> None:
        """Have ``size`` bytes in the buffer, or all that is left of the stream."""
        parts = [self._buffer[self._position :]]
        have = len(parts[0])
        while have < size and (more := self._stream.read(READ_SIZE)):
            parts.append(more)
            have += len(more)
        self._buffer = b"".join(parts)
        self._position = 0


_Numbers = tuple[int, int, int, int, int]
"""Mode, uid, gid, size and mtime."""
_Xattrs = tuple[tuple[str, bytes], ...]


Keep = Callable[[dict[bytes, bytes], str], _Xattrs]
"""Picks from the PAX records of an entry, given with its path, what becomes its extended attributes, sorted
by name."""


def read_entries(stream: BinaryIO, *, keep: Keep | None = None) -> Iterator[RawEntry]:
    """Yield the entries of an uncompressed archive, in its order, and read the stream to its end.

    ``keep`` replaces what is otherwise kept: a file's own attributes, as Linux has them.

    An entry's content can be read until the next entry is asked for. An archive that simply ends between
    two entries is taken as whole, as all readers do: only a digest can tell.

    Raises:
        UnsafeArchiveError: the archive is damaged, would lead out of its root, or is of a kind that
            readers disagree about.
    """
    source = _Source(stream)
    keep = keep or _linux_attributes
    extension = _Extension()
    while True:
        place = source.offset
        block = source.header()
        if not block or block == _ZEROS:
            break
        name, numbers, flag, link = _parse(block, place)
        if flag in _EXTENSIONS:
            extension.read(flag, numbers[3], source, place)
            continue
        xattrs: _Xattrs = ()
        if extension.used:
            name, numbers, link, xattrs = extension.apply(name, numbers, link, keep)
            extension = _Extension()
        path, meta = _interpret(name, numbers, flag, link, xattrs)
        if meta.kind in (CHARACTER, BLOCK):
            major, minor = _devices(block, path)
            meta = meta._replace(major=major, minor=minor)
        entry = RawEntry(path, meta, source)
        yield entry
        entry.pass_over()
    if extension.used:
        raise UnsafeArchiveError(_at(place), "is truncated")
    if block and source.header().strip(b"\0"):
        # Some readers stop at a lone block of zeros, others go on.
        raise UnsafeArchiveError(_at(place), "is a block of zeros between entries")
    source.drain()


def _parse(block: bytes, place: int) -> tuple[bytes, _Numbers, bytes, bytes]:
    """Return name, numbers, type and link's target of a header block."""
    if len(block) < BLOCK_SIZE:
        raise UnsafeArchiveError(_at(place), "is truncated")
    name, mode, uid, gid, size, mtime, checksum, flag, link, magic, _, _, prefix, trailer = (
        _READ.unpack(block)
    )
    try:
        expected = _number(checksum)
        found = sum(block) - sum(checksum) + 8 * 32
        if found != expected and _signed_sum(block) != expected:
            raise UnsafeArchiveError(_at(place), "is not a tar header")
        numbers = (_number(mode), _number(uid), _number(gid), _number(size), _number(mtime))
    except ValueError as error:
        raise UnsafeArchiveError(_at(place), "is not a tar header") from error
    name = _text(name)
    if prefix[0] and magic[:6] == b"ustar\0":
        # star keeps times behind a shorter prefix.
        name = _text(prefix[:131] if trailer == b"tar\0" else prefix) + b"/" + name
    return name, numbers, flag, _text(link)


def _text(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


def _number(field: bytes) -> int:
    """Read octal digits or base-256; ValueError if it is neither."""
    if field[0] & 0x80:
        bits = 8 * len(field) - 1
        value = int.from_bytes(field, "big") & ~(1 << bits)
        return value - (1 << bits) if field[0] & 0x40 else value
    digits = field.strip(b" \0")
    if not digits:
        return 0
    if not digits.isdigit():  # int() would take a sign and underscores
        raise ValueError(digits)
    return int(digits, 8)


def _signed_sum(block: bytes) -> int:
    """Return the checksum as some old machines made it, whose characters had a sign."""
    return sum(byte - 256 * (byte > 127) for byte in block[:148] + b" " * 8 + block[156:])  # noqa: PLR2004 - where signed bytes end


def _devices(block: bytes, path: str) -> tuple[int, int]:
    try:
        major, minor = _number(block[329:337]), _number(block[337:345])
    except ValueError as error:
        raise UnsafeArchiveError(path, "has no device number") from error
    if not (0 <= major < 1 << 12 and 0 <= minor < 1 << 20):
        raise UnsafeArchiveError(path, "has a device number that Linux does not know")
    return major, minor


def _at(place: int) -> str:
    return f"at byte {place}"


class _Extension:
    """What the entries before an entry say about it: PAX records, GNU long names."""

    def __init__(self) -> None:
        self._records: dict[bytes, bytes] | None = None
        self._names: dict[bytes, bytes] = {}
        """By type: the name and the link's target."""

    @property
    def used(self) -> bool:
        return self._records is not None or bool(self._names)

    def read(self, flag: bytes, size: int, source: _Source, place: int) -> None:
        """Take in an extension entry whose header has been read."""
        entry = _at(place)
        if not 0 <= size <= MAX_PAX_BYTES:
            raise UnsafeArchiveError(
                entry, f"is an extended header of {size} bytes; at most {MAX_PAX_BYTES} are read"
            )
        data = source.take(size, entry)
        rest = source.take(-size % BLOCK_SIZE, entry)
        if flag in _LONG_NAMES:
            if b"\0" not in data and rest.strip(b"\0"):
                # Some readers stop at the size, some at the first zero byte.
                raise UnsafeArchiveError(entry, "is a long name without an end")
            if flag in self._names:
                raise UnsafeArchiveError(entry, "is a second long name for one entry")
            self._names[flag] = _text(data)
            return
        records = _records(data, entry)
        if flag == _GLOBAL:
            # Go and containerd leave these alone, GNU tar does not.
            if _MOVING & records.keys() or any(key.startswith(_SPARSE) for key in records):
                raise UnsafeArchiveError(entry, "gives all entries one name or size")
        elif self._records is not None:
            raise UnsafeArchiveError(entry, "is a second extended header for one entry")
        else:
            self._records = records

    def apply(
        self, name: bytes, numbers: _Numbers, link: bytes, keep: Keep
    ) -> tuple[bytes, _Numbers, bytes, _Xattrs]:
        """Return what an entry's header says once the extensions have had their say."""
        records = self._records or {}
        entry = decode_name(name)
        for key, flag in ((b"path", b"L"), (b"linkpath", b"K")):
            if records.get(key) and flag in self._names:
                raise UnsafeArchiveError(entry, "has two long names")
        name = records.get(b"path") or self._names.get(b"L", name)
        link = records.get(b"linkpath") or self._names.get(b"K", link)
        entry = decode_name(name)
        if any(key.startswith(_SPARSE) for key in records):
            raise _sparse(entry)
        mode, uid, gid, size, mtime = numbers
        uid = _whole(records, b"uid", uid, entry)
        gid = _whole(records, b"gid", gid, entry)
        true_size = _whole(records, b"size", size, entry)
        if true_size != size and true_size <= MAX_OCTAL_11:
            # There is no need for two sizes, and readers differ in which they believe.
            raise UnsafeArchiveError(entry, f"has two sizes, {size} and {true_size} bytes")
        mtime = _time(records, mtime, entry)
        return name, (mode, uid, gid, true_size, mtime), link, keep(records, entry)


def _linux_attributes(records: dict[bytes, bytes], _entry: str) -> _Xattrs:
    xattrs = sorted(
        (decode_name(key[len(XATTR) :]), value)
        for key, value in records.items()
        if key.startswith(XATTR) and _is_meaningful(key[len(XATTR) :])
    )
    return tuple(xattrs)


def _records(data: bytes, entry: str) -> dict[bytes, bytes]:
    """Parse `length key=value` lines."""
    records: dict[bytes, bytes] = {}
    position = 0
    while position < len(data):
        space = data.find(b" ", position, position + 20)
        digits = data[position:space] if space > 0 else b""
        end = position + int(digits) if digits.isdigit() else 0
        equals = data.find(b"=", space, end)
        if equals <= space + 1 or end > len(data) or data[end - 1 : end] != b"\n":
            raise UnsafeArchiveError(entry, "is a damaged extended header")
        key, value = data[space + 1 : equals], data[equals + 1 : end - 1]
        if records.setdefault(key, value) != value:
            raise UnsafeArchiveError(entry, f'says "{decode_name(key)[:40]}" twice')
        position = end
    return records


def _whole(records: dict[bytes, bytes], key: bytes, default: int, entry: str) -> int:
    text = records.get(key)
    if not text:
        return default
    if not text.isdigit() or len(text) > _LONGEST_NUMBER:
        raise UnsafeArchiveError(entry, f"has a {key.decode()} that is no number")
    return int(text)


def _time(records: dict[bytes, bytes], default: int, entry: str) -> int:
    text = records.get(b"mtime")
    if not text:
        return default
    seconds, _, fraction = text.removeprefix(b"-").partition(b".")
    if not (seconds + fraction).isdigit() or len(seconds) > _LONGEST_NUMBER:
        raise UnsafeArchiveError(entry, "has a time that is no number")
    whole = int(seconds or b"0")
    # Towards the past, as a clock that shows whole seconds.
    return -whole - bool(fraction.strip(b"0")) if text.startswith(b"-") else whole


def _is_meaningful(xattr: bytes) -> bool:
    """Say whether an extended attribute is the file's own, not a file system's or a machine's."""
    return xattr == b"security.capability" or (
        xattr.startswith(b"user.") and not xattr.startswith(b"user.overlay.") and b"\0" not in xattr
    )


def _interpret(
    name: bytes, numbers: _Numbers, flag: bytes, link: bytes, xattrs: _Xattrs
) -> tuple[str, Meta]:
    """Return an entry's path and metadata, checked."""
    path = relative_path(name)
    mode, uid, gid, size, mtime = numbers
    kind = _KINDS.get(flag)
    if kind is None:
        if flag == b"S":
            raise _sparse(path)
        raise UnsafeArchiveError(path, f'has the unknown type "{flag.decode("latin-1")}"')
    if kind == FILE and name.endswith(b"/"):
        if flag != b"\0":
            # Some readers make a directory of it, some a file.
            raise UnsafeArchiveError(path, "is a file with a directory's name")
        kind = DIRECTORY
    if not path and kind != DIRECTORY:
        raise UnsafeArchiveError(decode_name(name), "would replace the image root itself")
    if size and (kind != FILE or not 0 < size <= MAX_NUMBER):
        # Where the next header is depends on whom you ask.
        raise UnsafeArchiveError(path, f"has a size of {size} bytes that it cannot have")
    if not (0 <= uid <= MAX_ID and 0 <= gid <= MAX_ID):
        raise UnsafeArchiveError(path, f"is owned by {uid}:{gid}, which is no user and group")
    if not -MAX_NUMBER <= mtime <= MAX_NUMBER:
        raise UnsafeArchiveError(path, "has a time that is no time")
    target = ""
    if kind == HARDLINK:
        target = relative_path(link)
    elif kind == SYMLINK:
        target = decode_name(link)
        if not link or len(link) >= MAX_NAME_BYTES or b"\0" in link:
            raise UnsafeArchiveError(path, "is a symlink whose target cannot be")
    return path, Meta(kind, mode & 0o7777, uid, gid, size, mtime, target, 0, 0, xattrs)


def relative_path(name: bytes) -> str:
    """Return the path, relative to the root, that an archive means by a name.

    Raises:
        UnsafeArchiveError: it has `..` in it, or no file system would take it.
    """
    text = decode_name(name)
    if b"\0" in name:
        raise UnsafeArchiveError(text, "has a zero byte in its name")
    if len(name) > MAX_COMPONENT_BYTES and (
        len(name) > MAX_NAME_BYTES
        or any(len(part) > MAX_COMPONENT_BYTES for part in name.split(b"/"))
    ):
        raise UnsafeArchiveError(text[:200], "has a name that is too long")
    if name[:1] in {b"", b"/", b"."} or b"/." in name or b"//" in name:
        parts = [part for part in text.split("/") if part not in {"", "."}]
        if ".." in parts:
            raise UnsafeArchiveError(text, 'has ".." in its name')
        return "/".join(parts)
    return text.removesuffix("/")


def _sparse(entry: str) -> UnsafeArchiveError:
    return UnsafeArchiveError(
        entry, "is a sparse file, which is not supported; make the archive without --sparse"
    )
