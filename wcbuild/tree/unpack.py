"""Archives that ADD unpacks: recognized by content, whatever their name."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from registry.compress import decompressing, sniff
from registry.errors import DamagedDataError
from registry.files import store_errors
from wcbuild.errors import UnsafeArchiveError
from wcbuild.layer.changes import FILE, SYMLINK, BlobRange, Content, HostFile, Meta
from wcbuild.layer.tar import BLOCK_SIZE, read_entries
from wcbuild.tree.base import Node
from wcbuild.tree.content import open_content

_COPY_BYTES = 1024 * 1024
_CHECKSUM = slice(148, 156)
"""Where a tar header keeps the sum of all its bytes, its own taken as spaces."""


@dataclass(frozen=True, slots=True)
class Archive:
    """An uncompressed tar that lies in (part of) a file."""

    node: Node
    """The tar; its content says where it lies."""
    path: os.PathLike[str] | str
    offset: int

    def entries(self) -> Iterator[tuple[str, Meta, Content | None]]:
        """Yield path, metadata and content of each entry, in the archive's order.

        Raises:
            UnsafeArchiveError: the archive is damaged or would lead out of its root.
        """
        with open_content(self.node) as stream:
            for entry in read_entries(stream):
                has_content = entry.meta.kind == FILE and entry.meta.size
                place = BlobRange(self.path, self.offset + entry.offset) if has_content else None
                yield entry.path, plain_link(entry.meta), place


def plain_link(meta: Meta) -> Meta:
    """Return what a file system makes of an entry of an archive: it knows no modes of symlinks."""
    return meta._replace(mode=0o777) if meta.kind == SYMLINK else meta


def find_archive(node: Node, name: str, scratch: Callable[[], Path] | None) -> Archive | None:
    """Return the tar that a file is, plain or compressed; None if it is something else.

    A compressed one is decompressed into a file that ``scratch`` names. ``name`` is for messages.

    Raises:
        UnsafeArchiveError: it begins well, but its compression is damaged.
        StoreError: the disk refused.
    """
    with open_content(node) as stream:
        head = stream.read(BLOCK_SIZE)
    compression = sniff(head)
    if compression == "none":
        if not is_header(head):
            return None
        match node.content:
            case HostFile(path, _):
                return Archive(node, path, 0)
            case BlobRange(path, offset):
                return Archive(node, path, offset)
            case _:
                return None
    with decompressing(open_content(node), compression, name) as stream:
        try:
            head = stream.read(BLOCK_SIZE)
        except DamagedDataError:
            return None
        if not is_header(head):
            return None
        if scratch is None:
            raise AssertionError(name)  # whoever lets ADD unpack gives a place for it
        place = scratch()
        size = _spool(head, stream, place, name)
    return Archive(Node(Meta(FILE, 0o600, size=size), HostFile(place)), place, 0)


def _spool(head: bytes, stream: BinaryIO, place: Path, name: str) -> int:
    """Write ``head`` and the rest of a stream to ``place`` and return how much it was."""
    size = 0
    with store_errors(place), open(place, "wb") as file:
        block = head
        while block:
            size += file.write(block)
            try:
                block = stream.read(_COPY_BYTES)
            except DamagedDataError as error:
                raise UnsafeArchiveError(name, error.reason) from error
    return size


def is_header(block: bytes) -> bool:
    """Say whether a block is a tar header: nothing else has the sum of its bytes in that place."""
    if len(block) < BLOCK_SIZE:
        return False
    field = block[_CHECKSUM]
    try:
        expected = int(field.strip(b" \0") or b"0", 8)
    except ValueError:
        return False
    return expected > 0 and expected == sum(block) - sum(field) + 8 * ord(" ")
