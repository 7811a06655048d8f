"""The caches of one build: the local store's, others that are asked, and those that are written."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import TYPE_CHECKING

from registry.oci.descriptor import Descriptor
from wcbuild.access import RegistryAccess, open_client
from wcbuild.graph.keys import CacheKey
from wcbuild.images import MoreAnnotations
from wcbuild.remotecache.spec import CacheFrom, CacheTo
from wcbuild.solve.cache import Cache, LocalCache, Record
from wcbuild.solve.events import Emit
from wcbuild.solve.results import FileSystem, Result
from wcbuild.store import LocalStore

if TYPE_CHECKING:
    from registry.copy import BlobProgress
    from registry.sign import Policy
    from wcbuild.remotecache.imports import ImportedCache


class BuildCaches:
    """What a build may find instead of doing it, and where it leaves what it did.

    ``sources`` are asked for what the local store does not know. ``staying`` are registries whose layers
    may stay there because the image goes there, too.
    """

    def __init__(
        self,
        store: LocalStore,
        emit: Emit,
        *,
        sources: Sequence[CacheFrom],
        targets: Sequence[CacheTo],
        registries: RegistryAccess,
        policy: Callable[[], Policy | None],
        staying: frozenset[str],
        cancel: threading.Event,
    ) -> None:
        self.local = LocalCache(store.root / "cache", store.has)
        self.imported: ImportedCache | None = None
        self._store = store
        self._emit = emit
        self._targets = targets
        self._registries = registries
        if sources:
            from wcbuild.remotecache.imports import (  # noqa: PLC0415 - most builds have none
                ImportedCache,
                open_places,
            )

            client = cache(partial(open_client, registries, hurried=True))
            self.imported = ImportedCache(
                self.local,
                partial(open_places, sources, client, policy, emit),
                store,
                emit,
                cancel=cancel,
                staying=staying,
            )

    @property
    def all(self) -> Cache:
        """The local cache, with the others behind it."""
        return self.imported or self.local

    def located(self, layer: Descriptor) -> Descriptor | None:
        """Return the blob that a layer of a result is now."""
        return layer if self.imported is None else self.imported.located(layer)

    def inline(
        self, noted: Mapping[CacheKey, Record], results: Sequence[Result]
    ) -> MoreAnnotations | None:
        """Return what writes a cache into an image, if that is wanted."""
        if all(spec.kind != "inline" for spec in self._targets):
            return None
        from wcbuild.remotecache.exports import inline  # noqa: PLC0415 - few builds have it

        return partial(inline, noted, results)

    def write(
        self,
        noted: Mapping[CacheKey, Record],
        results: Sequence[Result],
        images: Sequence[FileSystem],
        progress: Callable[[BlobProgress], None],
    ) -> None:
        """Write what is wanted beside the image; ``images`` are what the steps gave, squashed or not."""
        specs = [spec for spec in self._targets if spec.kind != "inline"]
        if not specs:
            return
        from wcbuild.remotecache import exports  # noqa: PLC0415 - most builds write none

        writer = exports.CacheWriter(
            self._store,
            self.imported or self._store,
            partial(open_client, self._registries),
            progress=progress,
            emit=self._emit,
        )
        kept = exports.identities(images)
        for spec in specs:
            only = kept if spec.mode == "min" else None
            writer.write(spec, exports.select_results(noted, results, self.located, only))
