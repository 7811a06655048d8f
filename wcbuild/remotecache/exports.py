"""`--cache-to`: which results of a build go into a cache, and writing it."""

from __future__ import annotations

import io
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from registry.errors import RegistryError
from registry.oci.descriptor import Descriptor
from registry.oci.digest import Digest, sha256
from registry.oci.manifest import Manifest
from registry.reference import Reference
from registry.store import BlobSource
from wcbuild.graph.keys import CacheKey
from wcbuild.remotecache.document import (
    ARTIFACT_TYPE,
    CONFIG_TYPE,
    INLINE,
    CachedResult,
    encode_results,
)
from wcbuild.remotecache.spec import CacheTo
from wcbuild.solve.cache import Record
from wcbuild.solve.events import Emit, Notice
from wcbuild.solve.results import FileSystem, Result
from wcbuild.store import LocalStore

if TYPE_CHECKING:
    from registry.copy import BlobProgress
    from registry.layout import OciLayout
    from registry.remote.client import Client

Locate = Callable[[Descriptor], Descriptor | None]
"""Returns the blob that a layer, named by its diff_id, is; None if there is none."""


def select_results(
    noted: Mapping[CacheKey, Record],
    results: Iterable[Result],
    locate: Locate,
    only: Collection[CacheKey] | None = None,
) -> tuple[CachedResult, ...]:
    """Return what a build found and made, by its keys; ``results`` are those of its steps.

    With ``only``, the identities of some results, the others are without their layers: that is enough
    to find what stands on them.
    """
    made = {
        (each.key, each.layer().diff_id)
        for each in results
        if isinstance(each, FileSystem) and each.layer is not None
    }
    by_record: dict[Record, set[CacheKey]] = {}
    for key, record in noted.items():
        if (record.identity, record.diff_id) in made:
            by_record.setdefault(record, {record.identity}).add(key)
    chosen = [
        CachedResult(
            keys=tuple(sorted(keys)),
            record=record,
            layer=locate(record.layer) if only is None or record.identity in only else None,
        )
        for record, keys in by_record.items()
    ]
    # In an order of its own: the same results are the same bytes, whichever step ended first.
    return tuple(sorted(chosen, key=lambda each: each.keys))


def identities(images: Iterable[FileSystem]) -> frozenset[CacheKey]:
    """Return what `select_results` keeps the layers of with `mode=min`."""
    return frozenset(each.key for image in images for each in image.stack())


def inline(
    noted: Mapping[CacheKey, Record],
    results: Sequence[Result],
    image: FileSystem,
    layers: Sequence[Descriptor],
) -> dict[str, str]:
    """Return the annotation that makes an image its own cache; ``layers`` are its manifest's."""
    blobs: dict[Digest, Descriptor] = {
        built.diff_id: blob for built, blob in zip(image.layers(), layers, strict=True)
    }
    chosen = select_results(
        noted, results, lambda layer: blobs.get(layer.digest), identities([image])
    )
    return {INLINE: encode_results(chosen, layers).decode()}


def _blobs(layout: OciLayout, tag: str) -> dict[Digest, Descriptor]:
    """Return all that a cache in a folder is made of; nothing if there is none, or something odd."""
    try:
        return _parts(layout, layout.resolve(tag))
    except RegistryError:
        return {}


def _parts(layout: OciLayout, root: Descriptor) -> dict[Digest, Descriptor]:
    from registry.copy import read_tree  # noqa: PLC0415 - as below

    parts: dict[Digest, Descriptor] = {}
    for document in read_tree(layout, root).values():
        named = (
            (document.config, *document.layers)
            if isinstance(document, Manifest)
            else document.manifests
        )
        parts |= {each.digest: each for each in (document.descriptor, *named)}
    return parts


def _remove_unnamed(layout: OciLayout, before: Mapping[Digest, Descriptor]) -> None:
    """Remove what only the cache named that was there ``before``.

    A folder that is kept from job to job would grow with each of them.
    """
    try:
        kept = {digest for entry in layout.index().manifests for digest in _parts(layout, entry)}
        for digest, blob in before.items():
            if digest not in kept and layout.has(blob):
                layout.delete(blob)
    except RegistryError:
        return  # what cannot be read may name anything, so nothing goes


class CacheWriter:
    """Writes caches. ``source`` opens the layers, wherever they are; what a place has is not sent again."""

    def __init__(
        self,
        store: LocalStore,
        source: BlobSource,
        client: Callable[[], Client],
        *,
        progress: Callable[[BlobProgress], None],
        emit: Emit,
    ) -> None:
        self._store = store
        self._source = source
        self._client = client
        self._progress = progress
        self._emit = emit

    def write(self, spec: CacheTo, results: Sequence[CachedResult]) -> None:
        """Write one cache, and tell how it went.

        Raises:
            What the registry or the folder raises, unless the spec says that it does not matter. No name
            was changed there.
        """
        layers = tuple(dict.fromkeys(each.layer for each in results if each.layer is not None))
        if not layers:
            self._tell(f"cache {spec}: nothing to write: no step of this build made a layer")
            return
        self._tell(f"writing cache {spec}")
        try:
            self._write(spec, results, layers)
        except (RegistryError, OSError) as error:
            if not spec.ignore_error:
                raise
            self._tell(f"cache {spec} is not written: {error}", level="warning")
        else:
            kept = sum(each.layer is not None for each in results)
            self._tell(f"cache {spec} knows {len(results)} results, {kept} with their layers")

    def _write(
        self, spec: CacheTo, results: Sequence[CachedResult], layers: Sequence[Descriptor]
    ) -> None:
        from registry.copy import Recompress, copy  # noqa: PLC0415 - only when something is moved

        raw = encode_results(results, layers)
        config = Descriptor(media_type=CONFIG_TYPE, digest=sha256(raw), size=len(raw))
        manifest = Manifest.build(config=config, layers=layers, artifact_type=ARTIFACT_TYPE)
        # Nothing names them here, so they go with the next `prune`.
        self._store.put(io.BytesIO(raw), config)
        self._store.put(io.BytesIO(manifest.raw), manifest.descriptor)
        recompress = None
        if spec.compression != "uncompressed":
            # The document tells layers by their places in the list, so their digests may change.
            recompress = Recompress(
                codec=spec.compression,
                level=spec.level,
                memo=self._store.compressed,
                config_types=(CONFIG_TYPE,),
            )
        write = partial(
            copy, self._source, emit=self._progress, recompress=recompress, root=manifest.descriptor
        )
        if spec.kind == "registry":
            reference = Reference.parse(spec.ref).with_default_tag()
            write(target=self._client().repository(reference), tags=(reference.tag,))
            return
        from registry.layout import OciLayout  # noqa: PLC0415 - few builds have one

        layout = OciLayout(Path(spec.dest))
        before = _blobs(layout, spec.tag)
        write(target=layout, tags=(spec.tag,))
        _remove_unnamed(layout, before)

    def _tell(self, text: str, level: str = "info") -> None:
        self._emit(Notice(level=level, text=text))
