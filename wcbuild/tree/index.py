"""The table of a layer's entries, kept beside the blob so that nobody reads the tar for it again.

A file in four parts: a header; tables of fixed-size numbers (where each record begins, a checksum for
each block of records, which records are implied directories); and the records, sorted by parent
directory and then by name, so that a directory's children lie together. It is mapped into memory and
searched, never parsed whole. Each block is checked when it is first touched. It is a cache: in native
byte order, and made anew whenever it does not read well.
"""

from __future__ import annotations

import mmap
import os
import struct
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from zlib import crc32

from registry.files import atomic_write
from wcbuild.errors import WcbuildError
from wcbuild.layer.changes import DIRECTORY, Entry, Meta

_MAGIC = b"wcbidx1\n"
_HEADER = struct.Struct("=8sIIQ")
"""Magic, number of records, number of implied directories, bytes of records."""
_CHECKSUM = struct.Struct("=I")
"""Of the header, the block checksums and the list of implied directories; it follows them."""

_BLOCK = 64
"""Records per checksum: few enough that a search checks little."""

_OPAQUE, _DELETED, _IMPLIED = 1, 2, 4


class DamagedIndexError(WcbuildError):
    """An index file that is not what `write_index` wrote; make it again."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"layer index {self.path} {self.reason}; delete it, it is made again when needed"


Fold = Callable[[str], str]
"""Gives the one spelling under which all spellings of a path are found, of the same length."""


def write_index(path: Path, entries: Iterable[Entry], *, fold: Fold | None = None) -> None:
    """Replace the index at ``path`` with one of ``entries``, in any order.

    With ``fold`` paths of different spellings are one.

    Of several entries for a path the last one counts, as when a tar is unpacked; together with a
    deletion of the same path it is an entry that hides what lower layers have there. Directories that
    entries lie in, but that have none themselves, are remembered as implied; with ``meta`` None if
    they hold nothing but deletions.

    Raises:
        OSError: nothing was changed.
    """
    table = _gather(entries, fold)
    records = sorted(_encode(entry, flags, fold) for entry, flags in table.values())
    offsets = array("I", bytes(4 * (len(records) + 1)))
    position = 0
    for number, record in enumerate(records):
        offsets[number] = position
        position += len(record)
    offsets[len(records)] = position
    data = b"".join(records)
    checksums = array(
        "I",
        (
            _block_checksum(
                offsets[first : first + _BLOCK + 1].tobytes(),
                b"".join(records[first : first + _BLOCK]),
            )
            for first in range(0, len(records), _BLOCK)
        ),
    )
    implied = array("I", (n for n, record in enumerate(records) if _flags(record) & _IMPLIED))
    header = _HEADER.pack(_MAGIC, len(records), len(implied), len(data))
    head = header + checksums.tobytes() + implied.tobytes()
    atomic_write(path, head + _CHECKSUM.pack(crc32(head)) + offsets.tobytes() + data, durable=False)


def _gather(entries: Iterable[Entry], fold: Fold | None) -> dict[str, tuple[Entry, int]]:
    """Return one entry and its flags for each path, implied directories included."""
    table: dict[str, tuple[Entry, int]] = {}
    for entry in entries:
        key = entry.path if fold is None else fold(entry.path)
        known = table.get(key)
        flags = (_OPAQUE if entry.opaque else 0) | (_DELETED if entry.meta is None else 0)
        if known is not None and flags & _DELETED:
            # What the layer itself has at a path is never deleted by the layer's own whiteout.
            table[key] = (known[0], known[1] | _OPAQUE)
            continue
        if known is not None and known[1] & (_DELETED | _OPAQUE):
            flags |= _OPAQUE
        table[key] = (entry, flags)
    files = [each for each in table.items() if not each[1][1] & _DELETED]
    deleted = [each for each in table.items() if each[1][1] & _DELETED]
    _imply(table, files, Meta(DIRECTORY, 0o755), _IMPLIED)
    # A deletion does not make its directory exist, but whoever looks for it must find the way.
    _imply(table, deleted, None, _IMPLIED | _DELETED)
    return table


def _imply(
    table: dict[str, tuple[Entry, int]],
    present: list[tuple[str, tuple[Entry, int]]],
    meta: Meta | None,
    flags: int,
) -> None:
    """Add the directories that entries lie in where they are missing."""
    for key, (entry, _) in present:
        parent, path = key.rpartition("/")[0], entry.path
        while parent and parent not in table:
            path = path.rpartition("/")[0]
            table[parent] = (Entry(path, meta), flags)
            parent = parent.rpartition("/")[0]


def _key(path: str) -> bytes:
    """Return what a path's record begins with. The order of keys is that of (parent, name) pairs."""
    parent, _, name = path.rpartition("/")
    return b"%b\0%b\0" % (
        parent.encode("utf-8", "surrogateescape"),
        name.encode("utf-8", "surrogateescape"),
    )


def _encode(entry: Entry, flags: int, fold: Fold | None) -> bytes:
    """Return a record: NUL after parent, name, numbers and link; then xattrs in hexadecimal.

    Where the key is folded, the path follows as it is spelled.
    """
    meta = entry.meta or Meta(DIRECTORY, 0)
    numbers = (
        f"{flags} {meta.kind} {meta.mode} {meta.uid} {meta.gid} {meta.size} {meta.mtime} "
        f"{meta.major} {meta.minor} {entry.offset} {entry.digest}\0{meta.link}\0"
    )
    xattrs = _encode_xattrs(meta.xattrs) if meta.xattrs else ""
    if fold is None:
        return _key(entry.path) + (numbers + xattrs).encode("utf-8", "surrogateescape")
    text = f"{numbers}{xattrs}\0{entry.path}"
    return _key(fold(entry.path)) + text.encode("utf-8", "surrogateescape")


@lru_cache(maxsize=256)
def _encode_xattrs(xattrs: tuple[tuple[str, bytes], ...]) -> str:
    """Return them in hexadecimal; many files of a Windows image have the same."""
    return " ".join(
        f"{name.encode('utf-8', 'surrogateescape').hex()}={value.hex()}" for name, value in xattrs
    )


def _flags(record: bytes) -> int:
    return int(record.split(b"\0", 3)[2].partition(b" ")[0])


def _decode(record: bytes) -> tuple[Entry, int]:
    parent, name, numbers, link, xattrs, *spelled = record.split(b"\0")
    path_bytes = spelled[0] if spelled else parent + b"/" + name if parent else name
    path = path_bytes.decode("utf-8", "surrogateescape")
    flag, kind, mode, uid, gid, size, mtime, major, minor, offset, digest = numbers.split(b" ")
    flags = int(flag)
    meta = Meta(
        kind.decode(),
        int(mode),
        int(uid),
        int(gid),
        int(size),
        int(mtime),
        link.decode("utf-8", "surrogateescape") if link else "",
        int(major),
        int(minor),
        _decode_xattrs(xattrs) if xattrs else (),
    )
    entry = Entry(
        path,
        None if flags & _DELETED else meta,
        int(offset),
        digest.decode(),
        bool(flags & _OPAQUE),
    )
    return entry, flags


def _decode_xattrs(text: bytes) -> tuple[tuple[str, bytes], ...]:
    pairs = (pair.split("=") for pair in text.decode().split(" "))
    return tuple(
        (bytes.fromhex(name).decode("utf-8", "surrogateescape"), bytes.fromhex(value))
        for name, value in pairs
    )


def _block_checksum(offsets: bytes | memoryview, records: bytes | memoryview) -> int:
    return crc32(records, crc32(offsets))


class LayerIndex:
    """The entries of one layer, found by path in an index file; ``fold`` is what it was written with.

    Raises:
        DamagedIndexError: the file is not whole; any method may notice it later, too.
        OSError: the file cannot be opened.
    """

    def __init__(self, path: Path, *, fold: Fold | None = None) -> None:
        self._path = path
        self._fold = fold
        with open(path, "rb") as file:
            if os.fstat(file.fileno()).st_size < _HEADER.size:
                raise self._damaged("is too short")
            view = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        magic, count, implied, size = _HEADER.unpack_from(view)
        blocks = -(-count // _BLOCK)
        head = _HEADER.size + 4 * (blocks + implied)
        first = head + _CHECKSUM.size + 4 * (count + 1)
        if magic != _MAGIC or len(view) != first + size:
            raise self._damaged("has the wrong size")
        if (crc32(view[:head]),) != _CHECKSUM.unpack_from(view, head):
            raise self._damaged("has a damaged header")
        self._count: int = count
        self._checksums = view[_HEADER.size : _HEADER.size + 4 * blocks].cast("I")
        self._implied = view[_HEADER.size + 4 * blocks : head].cast("I")
        self._offsets = view[head + _CHECKSUM.size : first].cast("I")
        self._records = view[first:]
        self._checked = bytearray(blocks)

    def __len__(self) -> int:
        """Return the number of paths, implied directories among them."""
        return self._count

    def __iter__(self) -> Iterator[Entry]:
        """Yield all entries but those of implied directories."""
        return self._entries(0, self._count)

    def find(self, path: str) -> Entry | None:
        """Return the layer's own entry for ``path``; None for implied directories, too."""
        found = self.look_up(path)
        return None if found is None or found[1] else found[0]

    def below(self, prefix: str) -> Iterator[Entry]:
        """Yield the entries of everything inside directory ``prefix``, at any depth."""
        if not prefix:
            yield from (entry for entry in self if entry.path)
            return
        folded = prefix if self._fold is None else self._fold(prefix)
        start = folded.encode("utf-8", "surrogateescape")
        for low, high in ((start + b"\0", start + b"\1"), (start + b"/", start + b"0")):
            yield from self._entries(self._search(low), self._search(high))

    def look_up(self, path: str) -> tuple[Entry, bool] | None:
        """Return the entry for ``path``, and whether it is only implied by others."""
        key = _key(path if self._fold is None else self._fold(path))
        number = self._search(key)
        if number == self._count:
            return None
        record = self._record(number)
        if not record.startswith(key):
            return None
        entry, flags = self._parse(record)
        return entry, bool(flags & _IMPLIED)

    def children(self, path: str) -> Iterator[tuple[str, Entry, bool]]:
        """Yield name, entry and "only implied" of what lies directly in ``path``, in byte order."""
        folded = path if self._fold is None else self._fold(path)
        start = folded.encode("utf-8", "surrogateescape")
        skip = len(path) + 1 if path else 0
        for number in range(self._search(start + b"\0"), self._search(start + b"\1")):
            entry, flags = self._parse(self._record(number))
            if entry.path:
                yield entry.path[skip:], entry, bool(flags & _IMPLIED)

    def implied(self) -> Iterator[str]:
        """Yield the directories that have no entry of their own, parents first."""
        return iter(sorted(self._parse(self._record(n))[0].path for n in self._implied))

    def _entries(self, start: int, stop: int) -> Iterator[Entry]:
        for number in range(start, stop):
            entry, flags = self._parse(self._record(number))
            if not flags & _IMPLIED:
                yield entry

    def _search(self, key: bytes) -> int:
        return bisect_left(range(self._count), key, key=self._record)

    def _record(self, number: int) -> bytes:
        if not self._checked[number // _BLOCK]:
            self._check(number // _BLOCK)
        return bytes(self._records[self._offsets[number] : self._offsets[number + 1]])

    def _check(self, block: int) -> None:
        first, last = block * _BLOCK, min((block + 1) * _BLOCK, self._count)
        records = self._records[self._offsets[first] : self._offsets[last]]
        if _block_checksum(self._offsets[first : last + 1], records) != self._checksums[block]:
            raise self._damaged("has a damaged block")
        self._checked[block] = 1

    def _parse(self, record: bytes) -> tuple[Entry, int]:
        try:
            return _decode(record)
        except ValueError as error:
            raise self._damaged("has a damaged record") from error

    def _damaged(self, reason: str) -> DamagedIndexError:
        return DamagedIndexError(self._path, reason)
