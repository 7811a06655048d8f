"""Streams over streams: what verifying, compressing and counting have in common."""

from __future__ import annotations

import io
import os
import stat
from dataclasses import dataclass
from typing import BinaryIO

_NATIVE_READS = (io.RawIOBase.read, io.BufferedReader.read, io.FileIO.read)
"""Of classes whose `readinto` does the same. A class with a `read` of its own may have no other."""


def read_into(stream: BinaryIO, buffer: memoryview) -> int:
    """Read at most as much as ``buffer`` takes; return the number of bytes, 0 at the end.

    Large bodies go through one buffer this way: new memory for each block costs more than its hash.
    """
    if getattr(type(stream), "read", None) in _NATIVE_READS:
        return int(stream.readinto(buffer) or 0)  # type: ignore[attr-defined]  # those have it
    data = stream.read(len(buffer))
    buffer[: len(data)] = data
    return len(data)


class Rewindable(io.RawIOBase):
    """Bytes that are read from the first to the last, each seen, and perhaps all once more."""

    def __init__(self, position: int = 0) -> None:
        self._position = position

    def restart(self) -> None:
        """Make the first byte the next one."""
        raise NotImplementedError

    def readable(self) -> bool:
        """Say yes, as `io` asks."""
        return True

    def seekable(self) -> bool:
        """Say whether `seek` can go back to the start."""
        return True

    def tell(self) -> int:
        """Return the position of the next byte."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go back to the start.

        Raises:
            io.UnsupportedOperation: to any other place, because each byte has to be seen.
        """
        if (offset, whence) not in ((0, io.SEEK_SET), (0, io.SEEK_CUR)):
            raise io.UnsupportedOperation("this stream can only go back to its start")
        if whence == io.SEEK_SET:
            self.restart()
            self._position = 0
        return self._position


class Layered(Rewindable):
    """Bytes made from those of ``below``, which it closes.

    It can go back to its start if ``below`` can, for somebody who has to send it twice.
    """

    same_bytes = False
    """Whether what comes out is what comes from below."""

    def __init__(self, below: BinaryIO) -> None:
        super().__init__()
        self._below = below
        self._start = below.tell() if below.seekable() else 0

    @property
    def below(self) -> BinaryIO:
        """The stream that this one is made from."""
        return self._below

    def next(self, size: int) -> bytes | memoryview:
        """Return at most ``size`` of the bytes that follow; none at the end."""
        raise NotImplementedError

    def rewound(self) -> None:
        """Forget what was read: ``below`` is at its start again."""

    def passed(self, size: int) -> None:
        """Take note that ``size`` bytes went past, straight from the file that lies below."""
        self._position += size

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # typeshed: WriteableBuffer
        """Read into ``buffer``; 0 is the end."""
        data = self.next(len(buffer))
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def seekable(self) -> bool:
        """Say whether ``below`` can go back."""
        return self._below.seekable()

    def restart(self) -> None:
        """Go back to the start of both."""
        self._below.seek(self._start)
        self.rewound()

    def close(self) -> None:
        """Close both."""
        if not self.closed:
            self._below.close()
        super().close()


@dataclass(frozen=True, slots=True)
class FileSlice:
    """Bytes of a local file that nobody here needs to look at."""

    file: io.FileIO
    offset: int
    size: int

    def __len__(self) -> int:
        return self.size


def file_below(stream: object) -> tuple[io.FileIO, tuple[Layered, ...]] | None:
    """Return the regular file whose bytes ``stream`` gives, unchanged, and what lies between.

    None for every other stream. Who takes the bytes from the file itself tells those between, by
    `Layered.passed`; they do not verify them then.
    """
    between: list[Layered] = []
    while True:
        if isinstance(stream, io.FileIO):
            regular = stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
            return (stream, tuple(between)) if regular else None
        if isinstance(stream, io.BufferedReader):
            stream = stream.raw
        elif isinstance(stream, Layered) and stream.same_bytes:
            between.append(stream)
            stream = stream.below
        else:
            return None
