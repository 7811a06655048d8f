"""`--cache-from`: what other builds left elsewhere; documents are read at once, layers when needed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

from registry.blobs import CHUNK
from registry.errors import (
    InvalidDocumentError,
    RegistryError,
    SizeMismatchError,
    StoreError,
    TooLargeError,
    UnreachableError,
)
from registry.image import Layer, open_layer, read_document
from registry.oci import mediatypes
from registry.oci.descriptor import Descriptor
from registry.oci.digest import DiffId, Digest
from registry.oci.manifest import Index, Manifest
from registry.reference import Reference
from registry.store import BlobSource, Source, read_all
from registry.threads import run_all
from wcbuild.errors import CancelledError
from wcbuild.graph.keys import CacheKey
from wcbuild.remotecache.document import (
    CONFIG_TYPE,
    INLINE,
    MAX_DOCUMENT_BYTES,
    CachedResult,
    parse_results,
)
from wcbuild.remotecache.spec import CacheFrom
from wcbuild.solve.cache import Cache, Record
from wcbuild.solve.events import Emit, Notice, Transfer
from wcbuild.store import LocalStore

if TYPE_CHECKING:
    from registry.remote.client import Client
    from registry.sign import Policy

MAX_IMAGES = 64
"""Of an index, whose caches are read."""

WORKERS = 4
_TOLD_BYTES = 1024 * 1024
_BUILDKIT = "vnd.buildkit"


class Repository(Source, Protocol):
    """Where a cache is: its documents, its layers, and whether a layer is still there."""

    def has(self, descriptor: Descriptor) -> bool:
        """Say whether a blob is there."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Place:
    """One cache, and what it holds."""

    name: str
    repository: Repository
    reference: Reference | None
    """Of a registry's."""
    results: tuple[CachedResult, ...]


def open_places(
    specs: Iterable[CacheFrom],
    client: Callable[[], Client],
    policy: Callable[[], Policy | None],
    emit: Emit,
) -> tuple[Place, ...]:
    """Read the documents of caches. One that cannot be had is told as a warning, and is none.

    ``policy`` decides whether a cache may be used, as if it were an image.
    """
    places = []
    for spec in specs:
        try:
            place = _open(spec, client, policy())
        except (RegistryError, OSError) as error:
            emit(Notice(level="warning", text=f"cache {spec} is not used: {error}"))
            continue
        places.append(place)
        emit(Notice(level="info", text=f"cache {spec} knows {_count(place.results, 'result')}"))
    return tuple(places)


def _open(spec: CacheFrom, client: Callable[[], Client], policy: Policy | None) -> Place:
    reference = spec.reference
    repository: Repository
    if reference is None:
        from registry.layout import OciLayout  # noqa: PLC0415 - few builds have one

        layout = repository = OciLayout(Path(spec.src))
        descriptor = repository.resolve(spec.digest or spec.tag)
        if policy is not None:
            policy.check_layout(Path(spec.src), spec.tag, (descriptor,), lambda: layout)
    else:
        remote = repository = client().repository(reference)
        if policy is not None:
            policy.needs_signatures(reference)  # what is refused anyway is not asked for
        descriptor = repository.resolve(str(reference.digest or reference.tag))
        if policy is not None:
            policy.check(reference, (descriptor,), lambda: remote)
    results = tuple(_results(repository, descriptor))
    return Place(name=str(spec), repository=repository, reference=reference, results=results)


def _results(source: BlobSource, descriptor: Descriptor) -> Iterator[CachedResult]:
    """Yield the results of a cache, or of the images that have theirs in them."""
    document = read_document(source, descriptor)
    documents = [document] if isinstance(document, Manifest) else _images(source, document)
    found = False
    for each in documents:
        what = f"cache {each.descriptor.digest}"
        if each.config.media_type == CONFIG_TYPE:
            if each.config.size > MAX_DOCUMENT_BYTES:
                raise TooLargeError(what, MAX_DOCUMENT_BYTES)
            yield from parse_results(read_all(source, each.config), each.layers, what)
        elif INLINE in each.annotations:
            yield from parse_results(each.annotations[INLINE].encode(), each.layers, what)
        else:
            continue
        found = True
    if not found:
        raise InvalidDocumentError(str(descriptor.digest), _what_else(document))


def _images(source: BlobSource, index: Index) -> list[Manifest]:
    entries = [entry for entry in index.manifests if mediatypes.is_manifest(entry.media_type)]
    if len(entries) > MAX_IMAGES:
        raise TooLargeError("number of images of a cache", MAX_IMAGES)
    documents = [read_document(source, entry) for entry in entries]
    return [document for document in documents if isinstance(document, Manifest)]


def _what_else(document: Manifest | Index) -> str:
    """Say what it is that is no cache of ours."""
    if isinstance(document, Index):
        types = [entry.media_type for entry in document.manifests]
    else:
        types = [document.config.media_type, document.artifact_type]
    if any(_BUILDKIT in media_type for media_type in types):
        return "is a cache of BuildKit, which knows steps by other keys; write one with --cache-to"
    if isinstance(document, Index) or document.config.media_type in mediatypes.CONFIGS:
        return "is an image without a cache in it; --cache-to type=inline puts one there"
    kind = document.artifact_type or document.config.media_type
    return f'is an artifact of type "{kind[:100]}", not a cache'


class ImportedCache:
    """The local cache, and behind it those of others. Safe to use from several threads.

    ``places`` is asked when something is not known here. As a source of blobs it opens layers wherever they
    are. ``staying`` are registries whose layers may stay there because the results go there, too.
    """

    def __init__(
        self,
        local: Cache,
        places: Callable[[], Iterable[Place]],
        store: LocalStore,
        emit: Emit,
        *,
        cancel: threading.Event,
        staying: frozenset[str] = frozenset(),
    ) -> None:
        self._local = local
        self._places: Callable[[], Iterable[Place]] | None = places
        self._store = store
        self._emit = emit
        self._cancel = cancel
        self._staying = staying
        self._records: dict[CacheKey, Record] = {}
        self._layers: dict[Digest, list[tuple[Place, Descriptor]]] = {}
        """Where the blob of each layer is, by diff_id."""
        self._blobs: dict[Digest, Place] = {}
        self._lost: set[Digest] = set()
        self._lock = threading.Lock()

    # -- wcbuild.solve.cache.Cache

    def find(self, key: CacheKey) -> Record | None:
        """Return what is known here, else elsewhere; then its layer may have to be obtained."""
        record = self._local.find(key)
        if record is not None:
            return record
        record = self._elsewhere().get(key)
        if record is None or record.diff_id in self._lost:
            return None
        # No record yet, but one as soon as the layer is here.
        self._local.remember(key, record)
        return record

    def knew(self, key: CacheKey) -> bool:
        return self._local.knew(key) or key in self._elsewhere()

    def _elsewhere(self) -> Mapping[CacheKey, Record]:
        """Return what others know, asking them the first time."""
        with self._lock:
            if self._places is not None:
                places, self._places = self._places, None
                self._learn(places())
        return self._records

    def _learn(self, places: Iterable[Place]) -> None:
        for place in places:
            for result in place.results:
                for key in result.keys:
                    self._records.setdefault(key, result.record)
                if result.layer is not None:
                    where = self._layers.setdefault(result.record.diff_id, [])
                    where.append((place, result.layer))
                    self._blobs.setdefault(result.layer.digest, place)

    def remember(self, key: CacheKey, record: Record) -> None:
        self._local.remember(key, record)

    def obtain(
        self, layers: Iterable[Descriptor], *, dry: bool = False, may_stay: bool = False
    ) -> frozenset[Digest]:
        with self._lock:
            missing = {each.digest: each for each in layers if not self._store.has(each)}
            lost = {digest for digest in missing if not self._layers.get(digest)}
            todo = [
                layer
                for digest, layer in missing.items()
                if digest not in lost and not dry and not (may_stay and self._stays(digest))
            ]
            if todo:
                lost |= self._fetch_all(todo)
            self._lost |= lost
            return frozenset(lost)

    # -- the layers

    def located(self, layer: Descriptor) -> Descriptor | None:
        """Return the blob that a layer, named by its diff_id, is: itself if it is here; None if nowhere.

        One that stays in a registry can be opened by later commands, too.
        """
        if self._store.has(layer):
            return layer
        for place, blob in self._layers.get(layer.digest, ()):
            if place.reference is not None:
                self._store.note_origin([blob], place.reference)
            return blob
        return None

    def open(self, descriptor: Descriptor) -> BinaryIO:
        """Return a verifying stream of a blob that is here or elsewhere."""
        place = self._blobs.get(descriptor.digest)
        if place is None or self._store.has(descriptor):
            return self._store.open(descriptor)
        return place.repository.open(descriptor)

    def origin(self, descriptor: Descriptor) -> BlobSource | None:
        """Return the repository that a blob came from, if it is known."""
        place = self._blobs.get(descriptor.digest)
        return place.repository if place is not None else self._store.origin(descriptor)

    def _stays(self, diff_id: Digest) -> bool:
        """Say whether a layer is in a registry that it may stay in; from now on that is where it is."""
        for place, blob in self._layers[diff_id]:
            if place.reference is None or place.reference.registry not in self._staying:
                continue
            try:
                if place.repository.has(blob):
                    self._layers[diff_id] = [(place, blob)]
                    return True
            except UnreachableError:
                self._forget(place)
            except RegistryError:
                continue
        return False

    def _fetch_all(self, layers: Collection[Descriptor]) -> set[Digest]:
        """Bring layers here, several at a time; return those that cannot be had."""
        fetched = run_all(self._fetch, layers, WORKERS, stop=self._cancel.set)
        return {
            layer.digest
            for layer, future in zip(layers, fetched, strict=True)
            if not future.result()
        }

    def _fetch(self, layer: Descriptor) -> bool:
        """Bring a layer here from the first place that gives it; False if none does."""
        for place, blob in tuple(self._layers[layer.digest]):
            try:
                self._take(layer, blob, place.repository)
            except StoreError:
                raise
            except RegistryError as error:
                text = f"cache {place.name}: layer {blob.digest.hex[:12]} is not used: {error}"
                self._emit(Notice(level="warning", text=text))
                if isinstance(error, UnreachableError):
                    self._forget(place)
            else:
                return True
        return False

    def _forget(self, gone: Place) -> None:
        """Ask a place no more: each layer would wait for it as long as the first."""
        for digest, where in self._layers.items():
            self._layers[digest] = [each for each in where if each[0] is not gone]

    def _take(self, layer: Descriptor, blob: Descriptor, source: BlobSource) -> None:
        """Put a layer's tar into the store as if it had been made here."""
        wanted = Layer(diff_id=DiffId(layer.digest), descriptor=blob)
        done = told = 0
        with (
            open_layer(source, wanted) as stream,
            self._store.blobs.create(hashing=False) as writer,
        ):
            while data := stream.read(CHUNK):
                if self._cancel.is_set():
                    raise CancelledError
                done += writer.write(data)
                if done > layer.size:
                    break
                if done - told >= _TOLD_BYTES:
                    told = done
                    self._tell(blob, done, layer.size)
            if done != layer.size:
                raise SizeMismatchError(layer.size, done, f"layer {blob.digest}, uncompressed")
            writer.commit(layer.digest, done)
        self._tell(blob, done, layer.size, finished=True)
        self._remember_compressed(wanted)

    def _remember_compressed(self, layer: Layer) -> None:
        """Let a push find the blob that the layer was: a registry may have it."""
        from registry.compress import encoder  # noqa: PLC0415 - few builds import layers

        codec = mediatypes.compression(layer.descriptor.media_type)
        if codec != "none" and self._store.compressed.find(layer.diff_id, encoder(codec)) is None:
            self._store.compressed.remember(layer.diff_id, encoder(codec), layer.descriptor)

    def _tell(self, blob: Descriptor, done: int, total: int, *, finished: bool = False) -> None:
        name = blob.digest.hex[:12]
        self._emit(Transfer(verb="import", name=name, done=done, total=total, finished=finished))


def _count(things: Collection[object], name: str) -> str:
    return f"{len(things)} {name}{'' if len(things) == 1 else 's'}"
