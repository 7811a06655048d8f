"""`--squash`: what a build adds to its base image becomes one layer; the base's layers stay.

The steps' own layers stay as well, in the store: they are what the next build finds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from registry.oci.digest import DiffId
from wcbuild.errors import UsageError
from wcbuild.graph.keys import CacheKey, digest
from wcbuild.graph.ops import Graph
from wcbuild.graph.plan import ImagePlan, PlannedHistory
from wcbuild.graph.reading import base_step
from wcbuild.sizes import format_size
from wcbuild.solve.cache import Cache, Record
from wcbuild.solve.events import Emit, Notice
from wcbuild.solve.layers import Layers, uncompressed
from wcbuild.solve.results import BuiltLayer, FileSystem, Result, file_system, ready

if TYPE_CHECKING:
    from wcbuild.remotecache.spec import CacheTo

_COMMENT = "wcbuild.squash"
"""Of the line of history that has the layer."""
_VERSION = "wcbuild-squash-1"
"""Changes when the same layers are to give another one."""


def check(caches: Sequence[CacheTo], *, wine_registry: bool) -> None:
    """Refuse what cannot be squashed, before anything is built.

    Raises:
        UsageError
    """
    if wine_registry:
        raise UsageError(
            "--squash: --wine-registry keeps changes to the registry in the layers of RUNs, and"
            " those of several layers cannot be told by one"
        )
    if any(cache.kind == "inline" for cache in caches):
        raise UsageError(
            "--squash: --cache-to type=inline keeps the layers of steps in the image, which has one"
            " layer of all; use type=registry or type=local"
        )


class Squasher:
    """Squashes images of one store.

    ``cache`` remembers what layers became; with ``anew`` it is not asked.
    """

    def __init__(self, layers: Layers, cache: Cache, emit: Emit, *, anew: bool) -> None:
        self._layers = layers
        self._cache = cache
        self._emit = emit
        self._anew = anew

    def squash(
        self, plans: Sequence[ImagePlan], graph: Graph, results: Sequence[Result]
    ) -> tuple[list[ImagePlan], list[Result]]:
        """Return plans for images that have one layer each on their bases, and ``results`` with these.

        In the history the lines of the steps have no layer any more, and one for all of them follows. A
        plan that adds no layer, or only one, stays as it is.

        Raises:
            LayerError, UnsafeArchiveError: a layer is damaged.
        """
        squashed, more = [], list(results)
        for plan in plans:
            below = base_step(graph, plan.rootfs)
            base = file_system(results[below])
            own = file_system(results[plan.rootfs]).layers()[len(base.layers()) :]
            if len(own) < 2:  # noqa: PLR2004 - one is what there should be
                squashed.append(plan)
                continue
            # A Windows image from scratch has a line for the layer that it stands on.
            lines = tuple(replace(line, is_squashed=line.step != below) for line in plan.history)
            text = f"squash {len(own)} layers"
            line = PlannedHistory(created_by=text, comment=_COMMENT, step=len(more))
            squashed.append(replace(plan, rootfs=len(more), history=(*lines, line)))
            more.append(self._merged(base, own))
        return squashed, more

    def _merged(self, base: FileSystem, own: Sequence[BuiltLayer]) -> FileSystem:
        key = _key([layer.diff_id for layer in base.layers()], [layer.diff_id for layer in own])
        found = None if self._anew else self._cache.find(key)
        if found is None:
            layer = self._merge(base, own)
            found = Record(
                diff_id=layer.diff_id,
                size=layer.descriptor.size,
                identity=key,
                created=layer.created,
            )
            self._cache.remember(key, found)
        # The time is that of the steps, whoever squashed them first.
        layer = uncompressed(found.diff_id, found.size, own[-1].created)
        return FileSystem(key=key, parent=base, layer=ready(layer), os=base.os)

    def _merge(self, base: FileSystem, own: Sequence[BuiltLayer]) -> BuiltLayer:
        before = sum(layer.descriptor.size for layer in own)
        self._emit(Notice(level="info", text=f"squashing {len(own)} layers"))
        layer = self._layers.squash(base, own)
        sizes = f"{format_size(before)} are {format_size(layer.descriptor.size)} now"
        self._emit(Notice(level="info", text=f"squashed {len(own)} layers: {sizes}"))
        return layer


def _key(base: Sequence[DiffId], own: Sequence[DiffId]) -> CacheKey:
    return digest(_VERSION, list(base), list(own))
