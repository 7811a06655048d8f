"""Reading what a node of a tree holds."""

from __future__ import annotations

import io
import os
from typing import BinaryIO

from wcbuild.layer.changes import BlobRange, HostFile, Inline
from wcbuild.layer.hostfiles import HostFiles
from wcbuild.tree.base import Node

_BUFFER = 256 * 1024


def open_content(node: Node) -> BinaryIO:
    """Open the content of a file; no more than its size is read.

    Raises:
        OSError: it is gone, or has become something that is not a file.
    """
    match node.content:
        case None:
            return io.BytesIO()
        case Inline(data):
            return io.BytesIO(data)
        case HostFile():
            return io.BufferedReader(_Part(node.content, 0, node.meta.size), _BUFFER)
        case BlobRange(path, offset):
            file = HostFile(os.fspath(path))
            return io.BufferedReader(_Part(file, offset, node.meta.size), _BUFFER)


class _Part(io.RawIOBase):
    """Bytes of a file from ``offset`` on, ``size`` of them or fewer."""

    def __init__(self, file: HostFile, offset: int, size: int) -> None:
        with HostFiles() as files:
            self._fd = files.open(file)
        self._position = offset
        self._end = offset + size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # typeshed: WriteableBuffer
        size = min(len(buffer), self._end - self._position)
        if size <= 0:
            return 0
        got = os.preadv(self._fd, [memoryview(buffer)[:size]], self._position)
        self._position += got
        return got

    def close(self) -> None:
        if not self.closed:
            os.close(self._fd)
        super().close()
