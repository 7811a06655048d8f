"""A layer tar to the list of what is in it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import BinaryIO

from wcbuild.layer import whiteout
from wcbuild.layer.changes import DIRECTORY, WITH_CONTENT, Entry, Meta
from wcbuild.layer.tar import RawEntry, read_entries

_SMALL_BYTES = 128 * 1024
_IMPLIED = Meta(DIRECTORY, 0o755)


Read = Callable[[BinaryIO], Iterator[RawEntry]]


def scan(stream: BinaryIO, *, read: Read = read_entries) -> Iterator[Entry]:
    """Yield the entries of an uncompressed layer tar, and read the stream to its end.

    Paths are checked and made relative to the root. A path that the tar has twice is yielded twice: the
    last one counts. A directory whose opaque marker comes after it is yielded again, then opaque; a
    marker without a directory entry yields one of mode 0755. ``read`` tells entries from bytes, as the
    layers of the image's system need it.

    Raises:
        UnsafeArchiveError: see `wcbuild.layer.tar.read_entries`.
    """
    directories: dict[str, Meta] = {}
    opaque: set[str] = set()
    for entry in read(stream):
        path, meta = entry.path, entry.meta
        if whiteout.is_reserved(path):
            marker = whiteout.read(path)
            if marker is None:
                continue
            if not marker.opaque:
                yield Entry(marker.path, None)
                continue
            opaque.add(marker.path)
            path, meta = marker.path, directories.get(marker.path, _IMPLIED)
        if meta.kind in WITH_CONTENT:
            if meta.size <= _SMALL_BYTES:
                digest = hashlib.sha256(entry.read())
            else:
                digest = hashlib.sha256()
                for block in entry.blocks():
                    digest.update(block)
            yield Entry(path, meta, entry.offset, digest.hexdigest())
        elif meta.kind == DIRECTORY:
            directories[path] = meta
            yield Entry(path, meta, opaque=path in opaque)
        else:
            yield Entry(path, meta)
