"""Making layers of what steps change, until the build is cancelled."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from threading import Event
from types import MappingProxyType

from wcbuild.errors import CancelledError
from wcbuild.layer.changes import Change, Entry
from wcbuild.solve.cache import timestamp
from wcbuild.solve.layers import Layers
from wcbuild.solve.results import BuiltLayer
from wcbuild.tree.base import FileTree

_NO_HIVES: Mapping[str, bytes] = MappingProxyType({})


class Packer:
    """Makes layers; ``epoch`` (seconds since 1970) is the latest time that anything may carry."""

    def __init__(self, layers: Layers, *, epoch: int | None, cancel: Event) -> None:
        self._layers = layers
        self._epoch = epoch
        self._cancel = cancel

    def pack(
        self, changes: Iterable[Change], for_os: str, hives: Mapping[str, bytes] = _NO_HIVES
    ) -> tuple[BuiltLayer, tuple[Entry, ...]]:
        """Make a layer of an image ``for_os``, with ``hives`` of registry by name if that is Windows.

        Raises:
            CancelledError
        """
        return self._layers.pack(
            self._until_cancelled(changes),
            created=timestamp(self._epoch),
            epoch=self._epoch,
            for_os=for_os,
            hives=hives,
        )

    def _until_cancelled(self, changes: Iterable[Change]) -> Iterator[Change]:
        for change in changes:
            if self._cancel.is_set():
                raise CancelledError
            yield change

    def without_unchanged(self, changes: Sequence[Change], tree: FileTree) -> tuple[Change, ...]:
        """Return what a layer of ``changes`` needs where ``tree`` lies below it."""
        # Imported when used: a cached build packs nothing.
        from wcbuild.tree.unchanged import without_unchanged  # noqa: PLC0415

        return without_unchanged(changes, tree, latest=self._epoch)

    def now(self) -> int:
        """Return the time of what has none, in seconds since 1970."""
        return int(time.time()) if self._epoch is None else self._epoch
