"""Snapshots as overlays: each keeps what differs from its parents, and the kernel shows the whole."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from wcbuild import kernel, overlayfs
from wcbuild.layer.changes import Change
from wcbuild.sandbox.base import RootMount
from wcbuild.snapshot import diff
from wcbuild.snapshot.base import Snapshot
from wcbuild.snapshot.directory import SnapshotDirectory


class OverlaySnapshotter(SnapshotDirectory):
    """Needs a process that may mount, best in a mount namespace of its own.

    Where overlays differ from an ordinary file system: writing to one name of a file that has several
    in a lower layer leaves the others as they were; they become separate files.
    """

    name = "overlay"

    def __init__(self, root: Path) -> None:
        # Neither kind of mark means anything to overlays of the other.
        kind = "overlay-user" if overlayfs.user_xattrs() else "overlay"
        super().__init__(root, kind, needs_parents=True)

    def prepare(self, parent: Snapshot | None) -> Snapshot:
        snapshot = self.create(parent)
        fs = self.fs(snapshot.id)
        self.make_root(fs)
        os.mkdir(self.work(snapshot.id), 0o700)
        if parent is not None:
            # The root directory of an overlay is that of its upper directory.
            status = os.stat(self.fs(parent.id))
            os.chown(fs, status.st_uid, status.st_gid)
            os.chmod(fs, status.st_mode & 0o7777)
            os.utime(fs, ns=(status.st_atime_ns, status.st_mtime_ns))
        return snapshot

    def root(self, snapshot: Snapshot, *, read_only: bool = False) -> RootMount:
        fs = self.fs(snapshot.id)
        below = self._below(snapshot)
        if read_only:
            return RootMount(lower=(fs, *below))
        if not below:
            return RootMount(upper=fs)
        return RootMount(lower=below, upper=fs, work=self.work(snapshot.id))

    @contextlib.contextmanager
    def mounted(self, snapshot: Snapshot | None, *, read_only: bool = False) -> Iterator[Path]:
        if snapshot is None:
            yield self.empty
        elif not snapshot.parents:
            yield self.fs(snapshot.id)
        else:
            root = self.root(snapshot, read_only=read_only)
            with self.mount_point() as path:
                overlayfs.mount(
                    path,
                    lower=root.lower,
                    upper=root.upper,
                    work=root.work,
                    flags=kernel.MS_NOSUID | kernel.MS_NODEV,
                )
                try:
                    yield path
                finally:
                    # Detached, because a thread that still closes its last file is no reason to fail.
                    kernel.umount(str(path), kernel.MNT_DETACH)

    def changes(self, snapshot: Snapshot) -> Iterator[Change]:
        below = tuple(map(str, self._below(snapshot)))
        return diff.changes(
            str(self.fs(snapshot.id)),
            below,
            root=os.stat(below[0]) if below else None,
            opaque=overlayfs.opaque_xattr(),
        )

    def _below(self, snapshot: Snapshot) -> tuple[Path, ...]:
        return tuple(self.fs(parent) for parent in snapshot.parents)


def usable(root: Path) -> str | None:
    """Say why overlays cannot be used for snapshots below ``root``; None if they can.

    Mounts a tiny one and replaces a directory in it, which leaves the mark that changes are read from.
    Success is remembered until the machine starts anew: a build that is fully cached mounts nothing.
    """
    try:
        snapshots = OverlaySnapshotter(root)
        if not snapshots.was_tried():
            _try_overlay(snapshots)
            snapshots.remember_tried()
    except OSError as error:
        return error.strerror or str(error)
    return None


def _try_overlay(snapshots: OverlaySnapshotter) -> None:
    made: list[Snapshot] = []
    try:
        base = snapshots.prepare(None)
        made.append(base)
        os.mkdir(snapshots.fs(base.id) / "directory")
        top = snapshots.prepare(base)
        made.append(top)
        with snapshots.mounted(top) as path:
            os.rmdir(path / "directory")
            os.mkdir(path / "directory")
        os.getxattr(snapshots.fs(top.id) / "directory", overlayfs.opaque_xattr())
    finally:
        for snapshot in reversed(made):
            snapshots.remove(snapshot)
