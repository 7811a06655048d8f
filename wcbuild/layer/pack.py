"""Changes to a layer tar: the same changes give the same bytes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from typing import Final, NamedTuple, Protocol

from registry.oci.digest import DiffId, Digest
from wcbuild.errors import ContextChangedError, LayerError
from wcbuild.layer import tar, whiteout
from wcbuild.layer.changes import (
    FILE,
    HARDLINK,
    STREAM,
    WITH_CONTENT,
    BlobRange,
    Change,
    Content,
    Entry,
    HostFile,
    Inline,
    Meta,
)
from wcbuild.layer.hashing import BLOCKS_IN_USE, Hasher
from wcbuild.layer.hostfiles import HostFiles

_BATCH_BYTES = 1 << 20
_ODD_STARTS = (".", "/")
_SMALL_BYTES = 128 * 1024
"""Up to here a file is hashed at once and travels with its neighbours; handing it over would cost more."""

_MARKER: Final = Meta(FILE, 0)


class Writable(Protocol):
    """What takes the tar. A write must take all it is given and keep no reference to it."""

    def write(self, data: bytes | memoryview, /) -> object:
        """Append ``data``."""
        ...


class Codec(Protocol):
    """How the layers of an operating system's images say what a file is."""

    def prepare(self, changes: list[Change]) -> tuple[bytes, list[Change]]:
        """Return what stands before all entries, and ``changes`` with what every layer has.

        Raises:
            LayerError: ``changes`` has what that system cannot take.
        """
        ...

    def complete(self, meta: Meta) -> Meta:
        """Return metadata as it will be read back from the layer."""
        ...

    def header(self, path: str, meta: Meta) -> bytes:
        """Return the header of an entry whose metadata `complete` gave."""
        ...

    def marker(self, path: str) -> bytes:
        """Return the header of an empty file that only means something by its name."""
        ...


class Packed(NamedTuple):
    """A layer tar that was written."""

    diff_id: DiffId
    size: int
    """Bytes of the tar."""
    entries: tuple[Entry, ...]
    """In the tar's order, as `wcbuild.layer.scan` finds them; an opaque marker is in its directory's."""


def pack(
    changes: Iterable[Change], out: Writable, *, epoch: int | None, codec: Codec | None = None
) -> Packed:
    """Write ``changes`` as one uncompressed layer tar and return what it holds.

    Deterministic: parents before children, whiteouts before their siblings (as the specification asks),
    names in byte order, times clamped to ``epoch`` (seconds since 1970, UTC) if given. Of several hard
    links to a file the first in that order is the file and the others refer to it. Parents are not
    invented. Each file is read once; memory does not grow with the size of files. Of a file whose inode is
    given, what was appended to it is left out.

    Args:
        changes: any order; each path at most once. A hard link's target is among them.
        out: receives the tar, in blocks of about 1 MiB.
        epoch: no time in the layer is later.
        codec: of a system other than Linux; made for the same ``epoch``.

    Raises:
        LayerError: a path is there twice, a name cannot be stored, or a file changed or vanished while
            it was read, or has not the digest that its content names.
        ContextChangedError: a file whose inode is given is shorter, or longer and another one.

    Spec: https://github.com/opencontainers/image-spec/blob/main/layer.md#representing-changes
    """
    codec = codec or _LinuxCodec(epoch)
    start, ordered = codec.prepare(_in_order(changes))
    packer = _Packer(out, codec)
    try:
        packer.begin(start)
        for change in ordered:
            packer.add(change)
        return packer.finish()
    finally:
        packer.close()


def _is_odd(path: str) -> bool:
    """Say whether a path goes other ways than down."""
    return any(name in ("", ".", "..") for name in path.split("/"))


def _in_order(changes: Iterable[Change]) -> list[Change]:
    ordered = sorted(changes, key=_sort_key)
    by_path = {change.path: number for number, change in enumerate(ordered)}
    if len(by_path) != len(ordered):
        doubled = next(c.path for n, c in enumerate(ordered) if by_path[c.path] != n)
        raise LayerError(f'"{doubled}"', "appears twice among the changes of one layer")
    links: dict[int, list[int]] = {}
    for number, change in enumerate(ordered):
        if change.meta is not None and change.meta.kind == HARDLINK:
            links.setdefault(_target(ordered, by_path, change), []).append(number)
    for target, others in links.items():
        _point_backwards(ordered, target, others)
    return ordered


def _sort_key(change: Change) -> bytes:
    # A slash that sorts before everything else keeps a directory's subtree together and behind it; an
    # empty component, which no name can be, puts whiteouts before their siblings.
    path = change.path
    if change.meta is None:
        parent, slash, name = path.rpartition("/")
        path = f"{parent}{slash}/{name}"
    elif change.meta.kind == STREAM:
        # At once behind its file: before deletions in a directory, and before what is in it.
        path = path.replace(":", "///")
    return tar.encode_name(path).replace(b"/", b"\0")


def _target(ordered: list[Change], by_path: dict[str, int], link: Change) -> int:
    """Return the number of the change that a hard link leads to, through other links."""
    meta = link.meta
    seen = set()
    while meta is not None and meta.kind == HARDLINK and meta.link not in seen:
        seen.add(meta.link)
        number = by_path.get(meta.link)
        if number is None:
            break
        meta = ordered[number].meta
        if meta is not None and meta.kind != HARDLINK:
            return number
    raise LayerError(f'"{link.path}"', "is a hard link to a file that is not in the same layer")


def _point_backwards(ordered: list[Change], target: int, links: list[int]) -> None:
    """Make the first path of a set of hard links the file, and the others links to it."""
    first = min(target, links[0])
    file = ordered[target]
    assert file.meta is not None, "_target returns no whiteouts"  # noqa: S101
    link = file.meta._replace(kind=HARDLINK, link=ordered[first].path, size=0)
    for number in (target, *links):
        if number == first:
            ordered[number] = file._replace(path=ordered[first].path)
        else:
            ordered[number] = Change(ordered[number].path, link)


class _LinuxCodec:
    """Headers as they are, with no time after ``epoch``."""

    def __init__(self, epoch: int | None) -> None:
        self._epoch = epoch
        self.header = tar.header

    def prepare(self, changes: list[Change]) -> tuple[bytes, list[Change]]:
        return b"", changes

    def complete(self, meta: Meta) -> Meta:
        if self._epoch is not None and meta.mtime > self._epoch:
            return meta._replace(mtime=self._epoch)
        return meta

    def marker(self, path: str) -> bytes:
        return tar.header(path, _MARKER)


class _Packer:
    def __init__(self, out: Writable, codec: Codec) -> None:
        self._out = out
        self._codec = codec
        self._batch: list[bytes] = []
        self._batched = 0
        """Bytes in the batch."""
        self._written = 0
        """Bytes before the batch."""
        self._entries: list[Entry] = []
        self._large: list[tuple[int, Content | None]] = []
        """Which entries wait for a digest of the content hasher, in its order."""
        self._tar_hash = Hasher()
        self._content_hash = Hasher()
        self._buffers: list[memoryview] = []
        self._turn = 0
        self._files = HostFiles()
        self._sources: dict[str, int] = {}
        """Open files that BlobRange contents lie in."""

    def begin(self, start: bytes) -> None:
        self._append(start)

    def add(self, change: Change) -> None:
        path, meta, content, opaque = change
        if whiteout.is_reserved(path):
            raise LayerError(
                f'"{path}"', 'a name that begins with ".wh." means a deletion in a layer'
            )
        # The first half is quick, and says no of nearly all.
        if ("/." in path or "//" in path or path[:1] in _ODD_STARTS) and _is_odd(path):
            raise LayerError(f'"{path}"', "is not the path of a file")
        if meta is None:
            self._append(self._codec.marker(whiteout.name_for(path)))
            self._entries.append(Entry(path, None))
            return
        meta = self._codec.complete(meta)
        self._append(self._codec.header(path, meta))
        if meta.kind in WITH_CONTENT:
            self._add_file(path, meta, content)
            return
        self._entries.append(Entry(path, meta, opaque=opaque))
        if opaque:
            self._append(self._codec.marker(whiteout.opaque_name_for(path)))

    def finish(self) -> Packed:
        self._append(tar.END_OF_ARCHIVE)
        self._flush()
        self._tar_hash.cut()
        digests = self._content_hash.close()
        for (number, content), digest in zip(self._large, digests, strict=True):
            self._entries[number] = self._entries[number]._replace(digest=digest)
            _check_digest(self._entries[number].path, content, digest)
        (digest,) = self._tar_hash.close()
        diff_id = DiffId(Digest(f"sha256:{digest}"))
        return Packed(diff_id, self._written, tuple(self._entries))

    def close(self) -> None:
        """Let go of threads and files; again is harmless."""
        self._tar_hash.close()
        self._content_hash.close()
        for fd in self._sources.values():
            os.close(fd)
        self._sources.clear()
        self._files.close()

    def _append(self, data: bytes) -> None:
        self._batch.append(data)
        self._batched += len(data)
        if self._batched >= _BATCH_BYTES:
            self._flush()

    def _flush(self) -> None:
        batch = b"".join(self._batch)
        self._batch.clear()
        self._batched = 0
        if batch:
            self._write(batch)

    def _write(self, block: bytes | memoryview) -> None:
        self._tar_hash.update(block)
        self._out.write(block)
        self._written += len(block)

    def _add_file(self, path: str, meta: Meta, content: Content | None) -> None:
        size = meta.size
        offset = self._written + self._batched
        if size > _SMALL_BYTES:
            self._large.append((len(self._entries), content))
            self._entries.append(Entry(path, meta, offset))
            self._add_large(path, content, size)
        else:
            data = self._read_small(path, content, size) if size else b""
            digest = hashlib.sha256(data).hexdigest()
            _check_digest(path, content, digest)
            self._entries.append(Entry(path, meta, offset, digest))
            self._append(data)
        if size % tar.BLOCK_SIZE:
            self._append(tar.padding(size))

    def _read_small(self, path: str, content: Content | None, size: int) -> bytes:
        match content:
            case HostFile(source):
                fd = self._open(content)
                try:
                    # One byte more than there should be shows that the file grew.
                    data = _read(fd, size + 1, source)
                    _check_file(content, fd, size, len(data))
                finally:
                    os.close(fd)
                return data[:size]
            case BlobRange(blob, start):
                data = _read(self._source(os.fspath(blob)), size, blob, start)
                _check_size(blob, size, len(data))
                return data
            case Inline(data):
                _check_size(path, size, len(data))
                return data
            case None:
                raise _no_content(path, size)

    def _add_large(self, path: str, content: Content | None, size: int) -> None:
        self._flush()
        match content:
            case HostFile(source):
                fd = self._open(content)
                try:
                    got = self._copy(fd, 0, size, source)
                    if got == size:
                        got += len(_read(fd, 1, source, size))
                    _check_file(content, fd, size, got)
                finally:
                    os.close(fd)
            case BlobRange(blob, start):
                _check_size(
                    blob, size, self._copy(self._source(os.fspath(blob)), start, size, blob)
                )
            case Inline(data):
                _check_size(path, size, len(data))
                self._content_hash.update(data)
                self._write(data)
            case None:
                raise _no_content(path, size)
        self._content_hash.cut()

    def _copy(self, fd: int, start: int, size: int, source: os.PathLike[str] | str) -> int:
        """Write part of a file, or what it has of it, and return how many bytes that were.

        It is read into a few buffers in turn; see `BLOCKS_IN_USE`.
        """
        if not self._buffers:
            self._buffers = [memoryview(bytearray(_BATCH_BYTES)) for _ in range(BLOCKS_IN_USE)]
        done = 0
        while done < size:
            buffer = self._buffers[self._turn]
            self._turn = (self._turn + 1) % BLOCKS_IN_USE
            try:
                got = os.preadv(fd, [buffer[: size - done]], start + done)
            except OSError as error:
                raise _unreadable(source, error) from error
            if not got:
                break
            block = buffer[:got]
            self._content_hash.update(block)
            self._write(block)
            done += got
        return done

    def _source(self, path: str) -> int:
        if path not in self._sources:
            self._sources[path] = self._open(HostFile(path))
        return self._sources[path]

    def _open(self, file: HostFile) -> int:
        try:
            return self._files.open(file)
        except OSError as error:
            raise _unreadable(file.path, error) from error


def _read(fd: int, size: int, path: os.PathLike[str] | str, start: int = 0) -> bytes:
    """Return ``size`` bytes of a file, or as many as it has."""
    try:
        data = os.pread(fd, size, start)
        while len(data) < size and (more := os.pread(fd, size - len(data), start + len(data))):
            data += more
    except OSError as error:
        raise _unreadable(path, error) from error
    return data


def _unreadable(path: os.PathLike[str] | str, error: OSError) -> LayerError:
    reason = (error.strerror or str(error)).lower()
    return LayerError(os.fspath(path), f"cannot be read for a layer: {reason}")


def _no_content(path: str, size: int) -> LayerError:
    return LayerError(f'"{path}"', f"has no content, but a size of {size} bytes")


def _check_digest(path: str, content: Content | None, found: str) -> None:
    if isinstance(content, BlobRange) and content.digest not in ("", found):
        reason = f'is damaged: the content of "{path}" is not what it was; --no-cache makes it anew'
        raise LayerError(os.fspath(content.path), reason)


def _check_file(file: HostFile, fd: int, expected: int, got: int) -> None:
    if not file.inode:
        _check_size(file.path, expected, got)
    elif got < expected or (got > expected and os.fstat(fd).st_ino != file.inode):
        raise ContextChangedError(os.fspath(file.path))


def _check_size(path: os.PathLike[str] | str, expected: int, got: int) -> None:
    if expected != got:
        found = f"at least {got}" if got == expected + 1 else str(got)
        reason = f"changed while it was read: expected {expected} bytes, found {found}"
        raise LayerError(os.fspath(path), reason)
