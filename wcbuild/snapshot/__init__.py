"""Unpacked trees: prepared, written by a RUN or an unpacked layer, sealed, and named by chain id."""

from __future__ import annotations

from pathlib import Path

from wcbuild.sandbox.identity import Identity, IdentityKind
from wcbuild.snapshot.base import Snapshot, Snapshotter
from wcbuild.snapshot.overlay import OverlaySnapshotter, usable

__all__ = ["Snapshot", "Snapshotter", "choose_snapshotter"]


def choose_snapshotter(root: Path, identity: Identity) -> Snapshotter:
    """Return the fastest snapshotter that works for the store at ``root``."""
    if identity.kind is not IdentityKind.NONE:
        problem = usable(root)
        if problem is None:
            return OverlaySnapshotter(root)
    from wcbuild.snapshot.copying import CopyingSnapshotter  # noqa: PLC0415 - rarely needed

    return CopyingSnapshotter(root)
