"""Streams that compress or decompress what is read through them, in bounded memory.

Compression is deterministic: the bytes depend on the input, the codec and the level, never on the number of
threads or on timing. They may change with the version of the library below, so a digest is
remembered and never predicted.
"""

from __future__ import annotations

import io
import os
from collections import deque
from collections.abc import Callable, Generator, Iterator
from typing import Any, BinaryIO

from registry.errors import DamagedDataError
from registry.streams import Layered

Chunks = Generator[bytes, None, None]
_Deflated = tuple[bytes, int, int]
"""A block's raw deflate data, and the checksum and length of what went in."""

SNIFF = "sniff"
"""Instead of a compression's name: look at the first bytes."""

MAX_WINDOW_BYTES = 128 * 1024 * 1024
"""Most memory that a zstd window or an xz dictionary may ask for; what the zstd tool allows, too."""

DEFAULT_LEVELS = {"gzip": 1, "zstd": 3, "none": 0}
"""Levels used when nobody chose one. gzip 1 is the fast one that still finds repetitions."""

_MAX_ISAL_LEVEL = 3
"""isal is fast; who asks for more than it has wants smaller layers, and waits for zlib."""

_CHUNK = 1024 * 1024
_MAX_THREADS = 4
"""More would wait for the one that reads, and each holds memory."""

_BLOCK = 256 * 1024
"""Input that one thread compresses at a time. Part of the output's definition."""

_ZSTD_JOB = 1024 * 1024
_FORMAT = 1
"""Counts the ways in which this module has cut its input; raise it when the bytes change."""

_DEFLATE_WINDOW = 32 * 1024
_DEFLATE_END = b"\x03\x00"
"""The empty last block."""

_GZIP_HEADER = bytes((0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 0xFF))
"""No name, no time, unknown system."""

_SKIPPABLE = b"\x2a\x4d\x18"
_MAGIC = (
    ("gzip", b"\x1f\x8b\x08"),
    ("bzip2", b"BZh"),
    ("xz", b"\xfd7zXZ\x00"),
    ("zstd", b"\x28\xb5\x2f\xfd"),
    *(("zstd", bytes((0x50 + number,)) + _SKIPPABLE) for number in range(16)),
)
_MAGIC_LENGTH = 6


def sniff(head: bytes) -> str:
    """Return how data that starts with ``head`` (6 bytes suffice) is compressed, `none` if it is not."""
    return next((name for name, magic in _MAGIC if head.startswith(magic)), "none")


def decompressing(stream: BinaryIO, compression: str, what: str = "compressed data") -> BinaryIO:
    """Return a stream of what ``stream`` holds compressed as `gzip`, `bzip2`, `xz`, `zstd` or `none`.

    With `SNIFF` the first bytes decide. All of ``stream`` is read, so that a reader which verifies a
    digest at its end gets there; closing closes it. ``what`` names it in errors. The result can go
    back to its start if ``stream`` can.

    Raises (from read):
        DamagedDataError: truncated, a wrong checksum, trailing bytes, or too large a window.
    """
    head = b""
    if compression == SNIFF:
        head = read_block(stream, _MAGIC_LENGTH)
        compression = sniff(head)
    if compression == "none" and not head:
        return stream
    decompress = _DECOMPRESSORS[compression]
    return _buffered(lambda: decompress(_Input(stream, head, what)), stream)


def compressing(
    stream: BinaryIO, codec: str, level: int | None = None, *, threads: int | None = None
) -> BinaryIO:
    """Return a stream of what ``stream`` holds, compressed as `gzip`, `zstd` or `none`.

    ``level`` is gzip's (0 to 3 are isal's, 4 to 9 zlib's) or zstd's; ``threads`` changes the speed only.
    Closing closes ``stream``.
    The result can go back to its start if ``stream`` can.
    """
    if codec == "none":
        return stream
    threads = min(threads or len(os.sched_getaffinity(0)), _MAX_THREADS)
    compress, chosen = _COMPRESSORS[codec], DEFAULT_LEVELS[codec] if level is None else level
    return _buffered(lambda: compress(stream, chosen, threads), stream)


def encoder(codec: str, level: int | None = None) -> str:
    """Name all that decides which bytes `compressing` makes, to remember them under."""
    if codec == "none":
        return codec
    if codec == "gzip" and (level or 0) > _MAX_ISAL_LEVEL:
        from zlib import ZLIB_RUNTIME_VERSION as version  # noqa: PLC0415, N811
    elif codec == "gzip":
        from isal import __version__ as version  # noqa: PLC0415
    else:
        from zstandard import __version__ as version  # noqa: PLC0415
    return f"{codec}-{DEFAULT_LEVELS[codec] if level is None else level}-{_FORMAT}-{version}"


class _Input:
    """Compressed bytes that can be handed back, for decompressors that find where a member ends."""

    def __init__(self, stream: BinaryIO, head: bytes, what: str) -> None:
        self._stream = stream
        self._held = head
        self._what = what

    def read(self) -> bytes:
        """Return some bytes; empty is the end."""
        data, self._held = self._held, b""
        return data or self._stream.read(_CHUNK)

    def hold(self, data: bytes) -> None:
        """Make the next read return ``data``, which it returned last."""
        self._held = data

    def take(self, size: int) -> bytes:
        """Return exactly ``size`` bytes. Raises DamagedDataError if there are fewer."""
        held, self._held = self._held[:size], self._held[size:]
        if len(held) < size:
            held += read_block(self._stream, size - len(held))
        if len(held) < size:
            raise self.damaged("is truncated")
        return held

    def at_end(self) -> bool:
        """Say whether no byte is left."""
        self._held = self.read()
        return not self._held

    def damaged(self, reason: str) -> DamagedDataError:
        """Return the error to raise."""
        return DamagedDataError(self._what, reason)


class _ChunkReader(Layered):
    """Reads the byte strings that ``start`` makes of ``below``."""

    def __init__(self, start: Callable[[], Chunks], below: BinaryIO) -> None:
        super().__init__(below)
        self._new = start
        self._chunks = start()
        self._rest = memoryview(b"")

    def next(self, size: int) -> memoryview:
        """Return bytes that follow; none at the end."""
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                break
            self._rest = memoryview(chunk)
        data, self._rest = self._rest[:size], self._rest[size:]
        return data

    def rewound(self) -> None:
        """Begin the work again."""
        self._chunks.close()
        self._chunks, self._rest = self._new(), memoryview(b"")

    def close(self) -> None:
        """End the work and close the stream below."""
        if not self.closed:
            self._chunks.close()
        super().close()


def _buffered(start: Callable[[], Chunks], below: BinaryIO) -> BinaryIO:
    return io.BufferedReader(_ChunkReader(start, below), buffer_size=_CHUNK)


def read_block(stream: BinaryIO, size: int) -> bytes:
    """Read ``size`` bytes, fewer only at the end; a stream may give less than asked at any time."""
    data = stream.read(size)
    if len(data) == size or not data:
        return data
    parts, length = [data], len(data)
    while length < size and (data := stream.read(size - length)):
        parts.append(data)
        length += len(data)
    return b"".join(parts)


def _plain(source: _Input) -> Chunks:
    while data := source.read():
        yield data


def _members(
    source: _Input, new: Callable[[], Any], errors: type[Exception] | tuple[type[Exception], ...]
) -> Chunks:
    """Decompress members one after the other; zero bytes after the last are padding.

    ``new`` makes an object like bz2's: `decompress(data, max_length)`, `needs_input`, `eof`,
    `unused_data`.
    """
    padding = False
    while not padding or not source.at_end():
        data = source.read().lstrip(b"\0") if padding else source.read()
        if padding and not data:
            continue
        member = new()
        while True:
            try:
                chunk = member.decompress(data, _CHUNK)
            except errors as error:
                raise source.damaged(f"is damaged ({error})") from error
            if chunk:
                yield chunk
            if member.eof:
                break
            data = source.read() if member.needs_input else b""
            if member.needs_input and not data:
                raise source.damaged("is truncated")
        source.hold(member.unused_data)
        padding = True


def _gunzip(source: _Input) -> Chunks:
    # Imported when used, here and below: a build without compressed layers does not pay for it.
    from isal import igzip_lib  # noqa: PLC0415

    return _members(
        source,
        lambda: igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP),
        igzip_lib.error,  # type: ignore[arg-type]  # its stubs forget that this is a class
    )


def _bunzip2(source: _Input) -> Chunks:
    import bz2  # noqa: PLC0415

    return _members(source, bz2.BZ2Decompressor, (OSError, ValueError))


def _unxz(source: _Input) -> Chunks:
    import lzma  # noqa: PLC0415

    return _members(
        source,
        lambda: lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=MAX_WINDOW_BYTES),
        lzma.LZMAError,
    )


def _unzstd(source: _Input) -> Chunks:
    """Decompress block by block: a block's output is at most 128 KiB, so hostile ones stay small.

    The library's own stream reader takes a truncated frame for a whole one, which this cannot.

    Spec: RFC 8878, section 3.1
    """
    import zstandard  # noqa: PLC0415

    decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES)
    started = False
    while not started or not source.at_end():
        started = True
        magic = source.take(4)
        if magic[0] & 0xF0 == 0x50 and magic[1:] == _SKIPPABLE:  # noqa: PLR2004 - 16 magics
            left = int.from_bytes(source.take(4), "little")
            while left:
                left -= len(source.take(min(left, _CHUNK)))
            continue
        frame = decompressor.decompressobj()
        try:
            for piece in _zstd_pieces(source, magic):
                chunk = frame.decompress(piece)
                if chunk:
                    yield chunk
        except zstandard.ZstdError as error:
            raise source.damaged(f"is damaged ({error})") from error
        if not frame.eof:
            raise source.damaged("is damaged (a zstd frame does not end with its last block)")


def _zstd_pieces(source: _Input, magic: bytes) -> Chunks:
    """Cut a frame into its header, its blocks and its checksum."""
    descriptor = source.take(1)
    flags = descriptor[0]
    single_segment, content_size = flags >> 5 & 1, flags >> 6
    length = (1 - single_segment) + (0, 1, 2, 4)[flags & 3]
    length += (single_segment, 2, 4, 8)[content_size]
    yield magic + descriptor + source.take(length)
    last = False
    while not last:
        header = source.take(3)
        fields = int.from_bytes(header, "little")
        last, kind, size = bool(fields & 1), fields >> 1 & 3, fields >> 3
        yield header + source.take(1 if kind == 1 else size)  # kind 1 is one repeated byte
    if flags >> 2 & 1:
        yield source.take(4)


_DECOMPRESSORS: dict[str, Callable[[_Input], Chunks]] = {
    "none": _plain,
    "gzip": _gunzip,
    "bzip2": _bunzip2,
    "xz": _unxz,
    "zstd": _unzstd,
}


def _gzip(stream: BinaryIO, level: int, threads: int) -> Chunks:
    """Compress as one gzip member; blocks are cut at fixed places and start from the one before.

    Each ends on a byte boundary (a sync flush), so joining them needs no more than their order.
    """
    import zlib  # noqa: PLC0415

    from isal import isal_zlib  # noqa: PLC0415

    library: Any = isal_zlib if level <= _MAX_ISAL_LEVEL else zlib

    def deflate(block: bytes, before: bytes) -> _Deflated:
        options = (level, library.DEFLATED, -15)
        # An empty dictionary is not the same to the library as none.
        dictionary = {"zdict": before} if before else {}
        packer = library.compressobj(*options, **dictionary)
        data = packer.compress(block) + packer.flush(library.Z_SYNC_FLUSH)
        return data, isal_zlib.crc32(block), len(block)

    yield _GZIP_HEADER
    checksum, length = 0, 0
    for data, block_checksum, block_length in _in_order(deflate, stream, threads):
        checksum = isal_zlib.crc32_combine(checksum, block_checksum, block_length)
        length += block_length
        yield data
    trailer = checksum.to_bytes(4, "little") + (length & 0xFFFFFFFF).to_bytes(4, "little")
    yield _DEFLATE_END + trailer


def _in_order(
    work: Callable[[bytes, bytes], _Deflated], stream: BinaryIO, threads: int
) -> Iterator[_Deflated]:
    """Do ``work`` on each block and on the window before it; the results come in their order."""
    # Imported when used: it costs more than a cached build can spare.
    from concurrent.futures import Future, ThreadPoolExecutor  # noqa: PLC0415

    before = b""
    waiting: deque[Future[_Deflated]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        while block := read_block(stream, _BLOCK):
            waiting.append(pool.submit(work, block, before))
            before = block[-_DEFLATE_WINDOW:]
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _zstd(stream: BinaryIO, level: int, threads: int) -> Chunks:
    """Compress as one zstd frame with a checksum."""
    import zstandard  # noqa: PLC0415

    parameters = zstandard.ZstdCompressionParameters.from_level(
        level,
        # 0 would be another algorithm with other bytes; from 1 on all cut the input alike.
        threads=max(1, threads),
        # The library's own choice takes 200 MiB and saves less than one part in a hundred.
        job_size=_ZSTD_JOB,
        write_checksum=1,
    )
    packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    while block := read_block(stream, _BLOCK):
        if data := packer.compress(block):
            yield data
    yield packer.flush()


_COMPRESSORS: dict[str, Callable[[BinaryIO, int, int], Chunks]] = {"gzip": _gzip, "zstd": _zstd}
