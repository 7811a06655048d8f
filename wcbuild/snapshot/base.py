"""What every snapshotter does, in containerd's life-cycle words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from registry.oci.digest import ChainId
from wcbuild.layer.changes import Change
from wcbuild.sandbox.base import RootMount


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """An unpacked tree. Writable until it is sealed by being somebody's parent or getting a name."""

    id: str
    """Random; the name of a directory of the snapshotter."""
    parents: tuple[str, ...] = ()
    """Ids of the snapshots below, the nearest first."""


class Snapshotter(Protocol):
    """Keeps snapshots. A snapshot that never got a name is gone when its process ends."""

    name: str
    """`overlay` or `copying`."""

    def prepare(self, parent: Snapshot | None) -> Snapshot:
        """Return a new writable snapshot whose content is ``parent``'s; None is an empty tree.

        From now on ``parent`` must not be written to.
        """
        ...

    def root(self, snapshot: Snapshot, *, read_only: bool = False) -> RootMount:
        """Say how a sandbox makes the snapshot visible."""
        ...

    def mounted(
        self, snapshot: Snapshot | None, *, read_only: bool = False
    ) -> AbstractContextManager[Path]:
        """Make the snapshot's whole tree visible to this process at a path, for the `with` block."""
        ...

    def changes(self, snapshot: Snapshot) -> Iterator[Change]:
        """Yield the exact difference to the parent, any order, each path at most once."""
        ...

    def commit(self, snapshot: Snapshot, chain_id: ChainId) -> None:
        """Name a snapshot for good. If another process was faster, both stay usable."""
        ...

    def find(self, chain_id: ChainId) -> Snapshot | None:
        """Return the committed snapshot of that name."""
        ...

    def remove(self, snapshot: Snapshot) -> None:
        """Delete a snapshot that is nobody's parent, whatever modes its files have."""
        ...

    def sweep(self) -> object:
        """Delete what processes that were killed have left.

        Only while no other process uses the store.
        """
        ...

    def prune(self, keep: frozenset[ChainId]) -> int:
        """Delete all but ``keep`` and what they stand on; return the bytes freed.

        Only while no other process uses the store.
        """
        ...
