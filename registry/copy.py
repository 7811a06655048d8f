"""Copying images between stores: pull, push, export and import are this one verb.

Children before parents: blobs, then the manifests that name them, then tags. A copy that is cut off
leaves no manifest without its blobs, and the next one goes on where it ended.
"""

from __future__ import annotations

import contextlib
import io
import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import BinaryIO, Protocol

from registry.compress import compressing, encoder
from registry.errors import (
    DigestMismatchError,
    InvalidDocumentError,
    ProtocolError,
    SizeMismatchError,
    TooLargeError,
    UnreachableError,
)
from registry.image import MAX_DEPTH, read_document
from registry.oci import mediatypes
from registry.oci.descriptor import Descriptor
from registry.oci.digest import DiffId, Digest
from registry.oci.manifest import Index, Manifest, encode, parse
from registry.store import (
    BlobSource,
    Forwarding,
    Keeper,
    Mounter,
    Resumable,
    Sequential,
    StreamSink,
    Target,
    describe,
)
from registry.streams import Layered, read_into
from registry.threads import run_all

WORKERS = 4
"""Blobs on their way at once. More gains little and holds more memory."""

MAX_DOCUMENTS = 1000
"""Manifests below one root; an index of indexes could otherwise name any number."""

_LARGE = 8 * 1024 * 1024
_LARGE_AT_ONCE = 2
"""Compressions of ``_LARGE`` layers; each uses all processors alone, and much memory."""

_CHUNK = 1024 * 1024
_BUFFER = 64 * 1024
"""Less than anybody who is in a hurry reads at once."""
_BLOB_UNKNOWN = "MANIFEST_BLOB_UNKNOWN"


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobProgress:
    """Where one blob stands. Each ends with one event that is ``finished``, unless it fails."""

    digest: Digest
    """As the source names it; a recompressed layer gets another."""
    note: str
    """`copying`, `compressing`, `exists`, `mounted`, or `foreign` for one that is left out."""
    done: int
    """Bytes read from the source so far."""
    total: int
    finished: bool = False


class LayerMemo(Protocol):
    """Remembers which blob a layer's tar becomes, so that it is compressed once."""

    def find(self, diff_id: DiffId, encoder: str) -> Descriptor | None:
        """Return the descriptor remembered under both, if any."""
        ...

    def remember(self, diff_id: DiffId, encoder: str, descriptor: Descriptor) -> None:
        """Keep ``descriptor``."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Recompress:
    """Compress the layers that are plain tars; those that are compressed already stay as they are."""

    codec: str
    """`gzip` or `zstd`."""
    level: int | None = None
    memo: LayerMemo | None = None
    config_types: tuple[str, ...] = mediatypes.CONFIGS
    """Manifests with other configs are artifacts, whose layers mean what they are byte by byte."""


class Foreign(StrEnum):
    """What becomes of layers that may not be distributed, which have URLs of their own."""

    LEAVE_OUT = "leave out"
    TAKE_ALONG = "take along"
    CONVERT = "convert"
    """Take them along and give them the media type of ordinary layers."""


Emit = Callable[[BlobProgress], None]


def copy(
    source: BlobSource,
    target: Target,
    root: Descriptor,
    *,
    tags: Iterable[str] = (),
    emit: Emit | None = None,
    recompress: Recompress | None = None,
    foreign: Foreign = Foreign.LEAVE_OUT,
    workers: int = WORKERS,
) -> Descriptor:
    """Copy ``root``, a manifest or index, with all it names; return what ``target`` now calls it.

    That is ``root`` itself unless layers were compressed or made ordinary ones: then manifests are new
    values with new bytes, while configs, and so image ids, stay. Blobs go in parallel, and those that
    ``target`` has or can mount are not sent. When one fails the others still arrive, and then the first
    failure is raised. Wrong bytes from afar are asked for once more. ``tags`` are set last. ``foreign``
    says what becomes of layers that may not be distributed.

    ``emit`` is called from several threads, one at a time. ``target`` must be a `StreamSink` when
    ``recompress`` is given.

    Raises:
        InvalidDocumentError, TooLargeError, and whatever ``source`` and ``target`` raise.
    """
    documents = read_tree(source, root)
    blobs: dict[Digest, _Blob] = {}
    for document in documents.values():
        for blob in _blobs(document, recompress, foreign):
            blobs.setdefault(blob.descriptor.digest, blob)
    work = _Work(source, target, recompress, emit)
    renamed = work.run(blobs.values(), workers)
    if foreign is Foreign.CONVERT:
        layers = (
            x for each in documents.values() if isinstance(each, Manifest) for x in each.layers
        )
        renamed |= {x.digest: _ordinary(x) for x in layers if mediatypes.is_foreign(x.media_type)}
    for digest, document in documents.items():
        new = _rewrite(document, renamed)
        renamed[digest] = new.descriptor
        # A referrer may be there and still not be listed, if an earlier copy was cut off.
        if new.subject is not None or not target.has(new.descriptor):
            try:
                target.put(io.BytesIO(new.raw), new.descriptor)
            except ProtocolError as error:
                if _BLOB_UNKNOWN not in error.codes or isinstance(document, Index):
                    raise
                # The registry has collected a blob that it said it had: once more, then.
                named = {child.digest for child in (document.config, *document.layers)}
                work.run([blobs[digest] for digest in named], workers, anew=True)
                target.put(io.BytesIO(new.raw), new.descriptor)
    if renamed[root.digest].digest != root.digest:
        root = replace(
            root, digest=renamed[root.digest].digest, size=renamed[root.digest].size, data=None
        )
    for tag in tags:
        target.tag(root, tag)
    return root


def read_tree(source: BlobSource, root: Descriptor) -> dict[Digest, Manifest | Index]:
    """Return ``root`` and all manifests below it, children first.

    Raises:
        InvalidDocumentError, TooLargeError, and whatever ``source`` raises.
    """
    documents: dict[Digest, Manifest | Index] = {}
    _read_tree(source, root, documents, MAX_DEPTH)
    return documents


@dataclass(frozen=True, slots=True, kw_only=True)
class _Blob:
    descriptor: Descriptor
    compress: bool = False
    skip: bool = False


def _read_tree(
    source: BlobSource, descriptor: Descriptor, found: dict[Digest, Manifest | Index], depth: int
) -> None:
    """Add to ``found`` all that ``descriptor`` names and then itself: children come first."""
    if descriptor.digest in found:
        return
    document = read_document(source, descriptor)
    if isinstance(document, Index):
        if depth == 0:
            what = f"index {descriptor.digest}"
            raise InvalidDocumentError(what, f"is nested more than {MAX_DEPTH} levels deep")
        for entry in document.manifests:
            if mediatypes.is_document(entry.media_type):
                _read_tree(source, entry, found, depth - 1)
    found[descriptor.digest] = document
    if len(found) > MAX_DOCUMENTS:
        raise TooLargeError(f"number of manifests of {descriptor.digest}", MAX_DOCUMENTS)


def _blobs(
    document: Manifest | Index, recompress: Recompress | None, foreign: Foreign
) -> Iterator[_Blob]:
    if isinstance(document, Index):
        for entry in document.manifests:
            if not mediatypes.is_document(entry.media_type):
                yield _Blob(descriptor=entry)
        return
    yield _Blob(descriptor=document.config)
    compress = recompress is not None and document.config.media_type in recompress.config_types
    for layer in document.layers:
        yield _Blob(
            descriptor=layer,
            compress=compress and layer.media_type in _PLAIN_LAYERS,
            skip=foreign is Foreign.LEAVE_OUT and mediatypes.is_foreign(layer.media_type),
        )


_PLAIN_LAYERS = (mediatypes.OCI_LAYER, mediatypes.DOCKER_LAYER)


def _rewrite(document: Manifest | Index, renamed: Mapping[Digest, Descriptor]) -> Manifest | Index:
    """Return ``document`` with its children's new names; itself if they kept their own."""
    if isinstance(document, Index):
        key, children = "manifests", document.manifests
    else:
        key, children = "layers", document.layers
    news = [renamed.get(child.digest, child) for child in children]
    if all(_is_same(new, child) for new, child in zip(news, children, strict=True)):
        return document
    data = json.loads(document.raw)
    for item, new, child in zip(data[key], news, children, strict=True):
        if _is_same(new, child):
            continue
        item.pop("data", None)
        item.pop("urls", None)
        item |= {"digest": new.digest, "size": new.size}
        if isinstance(document, Manifest):
            docker = document.media_type == mediatypes.DOCKER_MANIFEST
            item["mediaType"] = mediatypes.layer(
                mediatypes.compression(new.media_type), docker=docker
            )
    return parse(encode(data), document.media_type)


def _is_same(new: Descriptor, old: Descriptor) -> bool:
    return (new.digest, new.media_type) == (old.digest, old.media_type)


def _ordinary(layer: Descriptor) -> Descriptor:
    """Return the descriptor of a foreign layer as one that anybody may distribute."""
    return replace(layer, media_type=mediatypes.layer(mediatypes.compression(layer.media_type)))


class _Work:
    """The blobs of one copy, each handled by one thread at a time."""

    def __init__(
        self, source: BlobSource, target: Target, recompress: Recompress | None, emit: Emit | None
    ) -> None:
        self._source = source
        self._target = target
        self._recompress = recompress
        self._emit = emit
        self._lock = threading.Lock()
        self._large = threading.Semaphore(_LARGE_AT_ONCE)
        self._stopped = False

    def run(
        self, blobs: Iterable[_Blob], workers: int, *, anew: bool = False
    ) -> dict[Digest, Descriptor]:
        """Move ``blobs``; return the new descriptors of those that were compressed.

        ``anew`` also those that the target says it has.
        """
        # The largest first, lest it be the one that all others have to wait for.
        ordered = sorted(blobs, key=lambda blob: -blob.descriptor.size)
        one_by_one = isinstance(self._target, Sequential) and self._target.sequential
        futures = run_all(
            lambda blob: self._move(blob, anew),
            ordered,
            1 if one_by_one else workers,
            stop=self._stop,
        )
        if errors := [error for future in futures if (error := future.exception())]:
            for other in errors[1:]:
                errors[0].add_note(f"failed too: {other}")
            raise errors[0]
        results = (future.result() for future in futures)
        return {
            blob.descriptor.digest: new
            for blob, new in zip(ordered, results, strict=True)
            if new is not None
        }

    def _stop(self) -> None:
        """Let threads end at their next read."""
        self._stopped = True

    def _move(self, blob: _Blob, anew: bool) -> Descriptor | None:
        descriptor = blob.descriptor
        if blob.skip:
            self._tell(descriptor, "foreign", 0, finished=True)
            return None
        if blob.compress and self._recompress is not None:
            with self._large if descriptor.size > _LARGE else contextlib.nullcontext():
                return self._compress(descriptor, self._recompress, anew)
        if anew or not self._held(descriptor, descriptor):
            self._transfer(descriptor)
            self._tell(descriptor, "copying", descriptor.size, finished=True)
        return None

    def _transfer(self, descriptor: Descriptor) -> None:
        """Move one blob; what came of it earlier is not asked for again, unless it proves wrong."""
        source, target = self._source, self._target
        if not isinstance(source, Resumable):
            with self._read(source.open(descriptor), descriptor, "copying") as stream:
                target.put(stream, descriptor)
            return
        kept = target.kept(descriptor) if isinstance(target, Keeper) else None
        try:
            opened = source.open_after(descriptor, kept) if kept else source.open(descriptor)
            with self._read(opened, descriptor, "copying") as stream:
                target.put(stream, descriptor)
        except (DigestMismatchError, SizeMismatchError):
            with self._read(source.open(descriptor), descriptor, "copying") as stream:
                target.put(stream, descriptor)

    def _compress(self, plain: Descriptor, how: Recompress, anew: bool) -> Descriptor:
        """Store a plain layer compressed. What a memo knows is checked, and else made again."""
        diff_id, key = DiffId(plain.digest), encoder(how.codec, how.level)
        known = how.memo.find(diff_id, key) if how.memo is not None else None
        if known is not None:
            if not anew and self._held(known, plain):
                return known
            # The library may make other bytes on another machine; then there is no such blob.
            with contextlib.suppress(DigestMismatchError, SizeMismatchError):
                with self._read_compressed(plain, how) as stream:
                    self._target.put(stream, known)
                self._tell(plain, "compressing", plain.size, finished=True)
                return known
        if not isinstance(self._target, StreamSink):
            raise TypeError("compressing needs a target that takes blobs of unknown digest")
        try:
            with self._read_compressed(plain, how) as stream:
                new = self._target.put_new(stream, mediatypes.layer(how.codec))
        except UnreachableError:
            # A broken upload can go on only where the digest is known, so find it out first.
            with self._read_compressed(plain, how) as stream:
                new = describe(stream, mediatypes.layer(how.codec))
            with self._read_compressed(plain, how) as stream:
                self._target.put(stream, new)
        if how.memo is not None:
            how.memo.remember(diff_id, key, new)
        self._tell(plain, "compressing", plain.size, finished=True)
        return new

    def _held(self, wanted: Descriptor, named: Descriptor) -> bool:
        """Say whether the target has ``wanted``, or takes it without our sending it."""
        if self._target.has(wanted):
            self._tell(named, "exists", 0, finished=True)
            return True
        if isinstance(self._target, Mounter) and self._target.mount(wanted, self._origin(wanted)):
            self._tell(named, "mounted", 0, finished=True)
            return True
        return False

    def _origin(self, descriptor: Descriptor) -> BlobSource:
        """Return the source that a registry may know as its own."""
        origin = self._source.origin(descriptor) if isinstance(self._source, Forwarding) else None
        return origin or self._source

    def _read(self, stream: BinaryIO, descriptor: Descriptor, note: str) -> BinaryIO:

        def report(done: int) -> None:
            if self._stopped:
                raise InterruptedError
            self._tell(descriptor, note, done)

        return io.BufferedReader(_Progress(stream, report), buffer_size=_BUFFER)

    def _read_compressed(self, descriptor: Descriptor, how: Recompress) -> BinaryIO:
        stream = self._read(self._source.open(descriptor), descriptor, "compressing")
        return compressing(stream, how.codec, how.level)

    def _tell(
        self, descriptor: Descriptor, note: str, done: int, *, finished: bool = False
    ) -> None:
        if self._emit is None:
            return
        event = BlobProgress(
            digest=descriptor.digest,
            note=note,
            done=done,
            total=descriptor.size,
            finished=finished,
        )
        with self._lock:
            self._emit(event)


class _Progress(Layered):
    """Reads a stream through and reports how much came."""

    same_bytes = True

    def __init__(self, stream: BinaryIO, report: Callable[[int], None]) -> None:
        super().__init__(stream)
        self._report = report
        self._reported = 0

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # typeshed: WriteableBuffer
        """Read into ``buffer``; 0 is the end."""
        size = read_into(self._below, buffer)
        self.passed(size)
        return size

    def passed(self, size: int) -> None:
        """Count ``size`` bytes more."""
        self._position += size
        if self._position - self._reported >= _CHUNK:
            self._reported = self._position
            self._report(self._position)

    def rewound(self) -> None:
        """Count from 0 again."""
        self._reported = 0
