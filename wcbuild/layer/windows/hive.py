"""Registry hives: the files that `Hives/` and `Windows/System32/config/` of a layer hold.

Written are hives with nothing but their root key, which a base image without a system needs and which
every reader of hives takes, and deltas: what a layer adds to the registry of those below it. A delta has
the marks that Windows looks for (version 1.6, layered keys), and every key in it merges with the one below.

Spec: https://github.com/msuhanov/regf/blob/master/Windows%20registry%20file%20format%20specification.md
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from wcbuild.errors import LayerError

MAX_HIVE_BYTES = 16 * 1024 * 1024
"""Of a delta that is read; what installers write is a hundredth of it."""
MAX_VALUE_BYTES = 16344
"""Longer data would have to be written in pieces."""
_MAX_KEYS = 100_000
_MAX_DEPTH = 512  # as Windows has it
_MAX_LISTS = 4

_BASE_BLOCK_BYTES = 4096
_BIN_BYTES = 4096
_ROOT_NAME = b"ROOT"
_NO_CELL = 0xFFFFFFFF

# signature, sequence numbers, last written, version, type, format, root cell, length of bins,
# clustering factor, file name
_BASE_BLOCK = struct.Struct("<4sIIQIIIIIII64s")
_MAJOR, _MINOR, _MINOR_OF_DELTAS = 1, 5, 6
_DIRECT_MEMORY_LOAD = 1
_FLAGS_OFFSET, _LAYERED_KEYS = 144, 2
_CHECKSUM_OFFSET = 508
_WRITER = "wcbuild".encode("utf-16-le")
_WRITER_OFFSET = 48

# signature, offset, size, reserved, timestamp, spare
_BIN = struct.Struct("<4sII8sQI")

# signature, flags, last written, access bits, parent, subkeys (stable, volatile), lists of them, values,
# list of them, security, class name, largest lengths (4), work variable, lengths of name and class
_KEY = struct.Struct("<2sHQIIIIIIIIIIIIIIIHH")
_ROOT_FLAGS = 0x4 | 0x8 | 0x20
"""The root; not to be deleted; its name in single bytes."""
_SHORT_NAME = 0x20
"""A key's name is in single bytes; of a value it is `_SHORT_VALUE_NAME`."""
_SHORT_VALUE_NAME = 1

# signature, length of name, size of data, data or its cell, type, flags, spare
_VALUE = struct.Struct("<2sHIIIHH")
_IN_PLACE = 0x80000000
_PLACE_BYTES = 4

_SECURITY = struct.Struct("<2sHIIII")


class Value(NamedTuple):
    """A registry value."""

    name: str
    """Empty for a key's default value."""
    kind: int
    """`REG_*`."""
    data: bytes


class Key(NamedTuple):
    """A key and what it has."""

    path: str
    """From the hive's root, with backslashes; empty is the root."""
    values: tuple[Value, ...] = ()


@dataclass(slots=True)
class _Node:
    """A key that is being written."""

    name: bytes
    flags: int
    values: list[Value] = field(default_factory=list)
    children: dict[str, _Node] = field(default_factory=dict)
    """By name in capitals, which is also their order."""
    cell: int = 0


def empty_hive(descriptor: bytes) -> bytes:
    """Return a hive that has a root key alone, with this security descriptor (binary)."""
    return _hive((), descriptor, delta=False)


def delta_hive(keys: Iterable[Key], descriptor: bytes) -> bytes:
    """Return the delta that adds ``keys`` and their values; of one value the last counts.

    Keys have this security descriptor (binary). Values are at most `MAX_VALUE_BYTES` long.
    """
    return _hive(keys, descriptor, delta=True)


def _hive(keys: Iterable[Key], descriptor: bytes, *, delta: bool) -> bytes:
    root = _tree(keys)
    nodes = list(_in_order(root))
    cells = _Cells()
    for position, node in enumerate(nodes):
        node.cell = cells.reserve(_KEY.size + len(node.name))
        if position == 0:
            # Linked to itself: it is the only one.
            size = _SECURITY.size + len(descriptor)
            security = cells.reserve(size)
            links = (security, security, len(nodes), len(descriptor))
            cells.write(security, _SECURITY.pack(b"sk", 0, *links) + descriptor)
    parents = {id(child): node for node in nodes for child in node.children.values()}
    for node in nodes:
        parent = parents.get(id(node))
        _write_key(cells, node, _NO_CELL if parent is None else parent.cell, security)
    bins = cells.bins()
    return _base_block(len(bins), delta=delta) + bins


def _tree(keys: Iterable[Key]) -> _Node:
    root = _Node(_ROOT_NAME, _ROOT_FLAGS)
    for key in keys:
        node = root
        for name in filter(None, key.path.split("\\")):
            encoded, short = _name(name)
            child = _Node(encoded, _SHORT_NAME if short else 0)
            node = node.children.setdefault(name.upper(), child)
        names = {value.name.upper(): value for value in (*node.values, *key.values)}
        node.values = list(names.values())
    return root


def _in_order(node: _Node) -> Iterator[_Node]:
    todo = [node]
    while todo:
        node = todo.pop()
        yield node
        todo += [child for _, child in sorted(node.children.items(), reverse=True)]


def _name(name: str) -> tuple[bytes, bool]:
    """Return a name as it is written, and whether in single bytes."""
    try:
        return name.encode("latin-1"), True
    except UnicodeEncodeError:
        return name.encode("utf-16-le", "surrogatepass"), False


def _write_key(cells: _Cells, node: _Node, parent: int, security: int) -> None:
    children = sorted(node.children.items())
    subkeys = values = _NO_CELL
    if children:
        listed = b"".join(struct.pack("<II", child.cell, _hash(name)) for name, child in children)
        subkeys = cells.add(struct.pack("<2sH", b"lh", len(children)) + listed)
    if node.values:
        places = [_write_value(cells, value) for value in node.values]
        values = cells.add(struct.pack(f"<{len(places)}I", *places))
    largest = (
        max((2 * len(name) for name in node.children), default=0),
        0,
        max((2 * len(value.name) for value in node.values), default=0),
        max((len(value.data) for value in node.values), default=0),
    )
    head = _KEY.pack(
        *(b"nk", node.flags, 0, 0, parent, len(children), 0, subkeys, _NO_CELL),
        *(len(node.values), values, security, _NO_CELL, *largest, 0, len(node.name), 0),
    )
    cells.write(node.cell, head + node.name)


def _hash(name: str) -> int:
    """Return what a list of subkeys has beside the cell of a key whose name in capitals is this."""
    value = 0
    for char in name:
        value = (value * 37 + ord(char)) & 0xFFFFFFFF
    return value


def _write_value(cells: _Cells, value: Value) -> int:
    if len(value.data) > MAX_VALUE_BYTES:
        raise LayerError(f'registry value "{value.name[:200]}"', "is too long for a hive's cell")
    name, short = _name(value.name)
    size = len(value.data)
    if size <= _PLACE_BYTES:
        size, place = size | _IN_PLACE, int.from_bytes(value.data, "little")
    else:
        place = cells.add(value.data)
    flags = _SHORT_VALUE_NAME if short and name else 0
    return cells.add(_VALUE.pack(b"vk", len(name), size, place, value.kind, flags, 0) + name)


class _Cells:
    """The cells of a hive, in one bin."""

    def __init__(self) -> None:
        self._data = bytearray(_BIN.size)

    def reserve(self, length: int) -> int:
        """Make a cell for so many bytes and return its offset."""
        offset, size = len(self._data), _cell_size(length)
        self._data += struct.pack("<i", -size).ljust(size, b"\0")  # in use: negative
        return offset

    def write(self, cell: int, data: bytes) -> None:
        """Fill a cell."""
        self._data[cell + 4 : cell + 4 + len(data)] = data

    def add(self, data: bytes) -> int:
        """Make a cell with ``data`` and return its offset."""
        cell = self.reserve(len(data))
        self.write(cell, data)
        return cell

    def bins(self) -> bytes:
        """Return the bin, the rest of which is one free cell."""
        total = -(-(len(self._data)) // _BIN_BYTES) * _BIN_BYTES
        free = total - len(self._data)
        if free:
            self._data += struct.pack("<i", free).ljust(free, b"\0")
        self._data[: _BIN.size] = _BIN.pack(b"hbin", 0, total, bytes(8), 0, 0)
        return bytes(self._data)


def _base_block(length: int, *, delta: bool) -> bytes:
    head = bytearray(
        _BASE_BLOCK.pack(
            *(b"regf", 1, 1, 0, _MAJOR, _MINOR_OF_DELTAS if delta else _MINOR, 0),
            *(_DIRECT_MEMORY_LOAD, _BIN.size, length, 1, _WRITER if delta else b""),
        ).ljust(_CHECKSUM_OFFSET, b"\0")
    )
    if delta:
        struct.pack_into("<I", head, _FLAGS_OFFSET, _LAYERED_KEYS)
    checksum = 0
    for (word,) in struct.iter_unpack("<I", head):
        checksum ^= word
    # Zero and all ones mean that there is none.
    checksum = {0: 1, _NO_CELL: _NO_CELL - 1}.get(checksum, checksum)
    return (bytes(head) + struct.pack("<I", checksum)).ljust(_BASE_BLOCK_BYTES, b"\0")


def _cell_size(length: int) -> int:
    return -(-(length + 4) // 8) * 8


# -- reading


def is_ours(hive: bytes) -> bool:
    """Whether `delta_hive` wrote it."""
    return hive[_WRITER_OFFSET : _WRITER_OFFSET + len(_WRITER) + 2] == _WRITER + b"\0\0"


def read_keys(hive: bytes) -> tuple[Key, ...]:
    """Return the keys of a hive that `delta_hive` wrote, or of one that is as simple.

    Raises:
        LayerError: it is damaged, or has more than is reasonable.
    """
    try:
        return tuple(_Reader(hive).keys())
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise LayerError("registry hive", "is damaged") from error


class _Reader:
    def __init__(self, hive: bytes) -> None:
        self._hive = hive
        self._count = 0
        if hive[:4] != b"regf":
            raise LayerError("registry hive", 'does not begin with "regf"')
        (self._root,) = struct.unpack_from("<I", hive, 36)

    def keys(self) -> Iterator[Key]:
        todo = [(self._root, "", 0)]
        while todo:
            cell, parent, depth = todo.pop()
            self._count += 1
            if self._count > _MAX_KEYS or depth > _MAX_DEPTH:
                raise LayerError("registry hive", "has too many keys")
            data = self._cell(cell)
            fields = _KEY.unpack_from(data)
            if fields[0] != b"nk":
                raise LayerError("registry hive", "has something else where a key should be")
            name = self._text(data[_KEY.size :][: fields[-2]], short=bool(fields[1] & _SHORT_NAME))
            # The root's own name is part of no path.
            path = f"{parent}\\{name}".lstrip("\\") if depth else ""
            yield Key(path, tuple(self._values(fields[10], fields[9])))
            if fields[5]:
                todo += [(child, path, depth + 1) for child in self._children(fields[7], 0)][::-1]

    def _values(self, cell: int, count: int) -> Iterator[Value]:
        if not count:
            return
        for place in struct.unpack_from(f"<{min(count, _MAX_KEYS)}I", self._cell(cell)):
            data = self._cell(place)
            signature, length, size, where, kind, flags, _ = _VALUE.unpack_from(data)
            if signature != b"vk":
                raise LayerError("registry hive", "has something else where a value should be")
            name = self._text(data[_VALUE.size :][:length], short=bool(flags & _SHORT_VALUE_NAME))
            if size & _IN_PLACE:
                content = where.to_bytes(4, "little")[: size & 7]
            else:
                content = self._cell(where)[:size]
            yield Value(name, kind, content)

    def _children(self, cell: int, depth: int) -> Iterator[int]:
        data = self._cell(cell)
        signature, count = struct.unpack_from("<2sH", data)
        if signature in (b"lh", b"lf"):
            yield from (struct.unpack_from("<I", data, 4 + 8 * n)[0] for n in range(count))
        elif signature == b"li":
            yield from struct.unpack_from(f"<{count}I", data, 4)
        elif signature == b"ri" and depth < _MAX_LISTS:
            for inner in struct.unpack_from(f"<{count}I", data, 4):
                yield from self._children(inner, depth + 1)
        else:
            raise LayerError("registry hive", "has something else where a list of keys should be")

    def _cell(self, offset: int) -> bytes:
        start = _BASE_BLOCK_BYTES + offset
        (size,) = struct.unpack_from("<i", self._hive, start)
        if size >= 0:
            raise LayerError("registry hive", "refers to a cell that is not in use")
        return self._hive[start + 4 : start - size]

    @staticmethod
    def _text(data: bytes, *, short: bool) -> str:
        return data.decode("latin-1") if short else data.decode("utf-16-le", "surrogatepass")
