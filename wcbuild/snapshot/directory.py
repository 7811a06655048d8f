"""How snapshots lie on the disk and live: one directory each, and one symlink for each name.

    <root>/snapshots/<kind>/
      <id>/fs             the files: all of them, or those that differ from the parents (overlay)
      <id>/work           scratch space of the kernel (overlay)
      <id>/parents        the boot it was made in, then the ids below it, nearest first; a line each
      by-chain/<hex>      a symlink to ../<id>: the snapshot is complete and has this name
      mounts/             mount points; the mounts are seen by the process that made them alone
      tried               the boot and device on which this kind of snapshot was found to work

Files are not forced to the disk: a snapshot can be made again from its layers, so it does not outlive
the boot that it was made in. All of it is closed to other users, because setuid programs lie in it.
"""

from __future__ import annotations

import contextlib
import os
import zlib
from collections.abc import Iterator
from pathlib import Path

from registry.files import atomic_write
from registry.oci.digest import ChainId
from wcbuild.snapshot.base import Snapshot
from wcbuild.snapshot.removal import remove_tree


class SnapshotDirectory:
    """Snapshots of one kind in one store. Safe to use from several processes, but for `sweep`."""

    def __init__(self, root: Path, kind: str, *, needs_parents: bool) -> None:
        """Make the directories.

        Args:
            root: of the local store.
            kind: tells apart what lies on the disk in different ways.
            needs_parents: a named snapshot is worth nothing without those below it.
        """
        # What lies on the disk has a meaning only together with the map of user ids it was written by.
        self._all = root / "snapshots"
        self._path = self._all / f"{kind}{_id_map()}"
        self._names = self._path / "by-chain"
        self._mounts = self._path / "mounts"
        self._tried = self._path / "tried"
        self._needs_parents = needs_parents
        self._boot = _boot_id()
        for path in (self._all, self._path, self._names, self._mounts):
            path.mkdir(mode=0o700, exist_ok=True)

    def fs(self, snapshot_id: str) -> Path:
        """Return where a snapshot's own files are."""
        return self._path / snapshot_id / "fs"

    def work(self, snapshot_id: str) -> Path:
        """Return the directory beside the files."""
        return self._path / snapshot_id / "work"

    @property
    def empty(self) -> Path:
        """A directory with nothing in it."""
        return self._mounts

    def create(self, parent: Snapshot | None) -> Snapshot:
        """Make a new snapshot's directory, and its parents file, with nothing else in it."""
        snapshot = Snapshot(
            id=os.urandom(8).hex(), parents=(parent.id, *parent.parents) if parent else ()
        )
        directory = f"{self._path}/{snapshot.id}"
        os.mkdir(directory, 0o700)
        with open(f"{directory}/parents", "x", encoding="ascii") as file:
            file.writelines(f"{line}\n" for line in (self._boot, *snapshot.parents))
        return snapshot

    @staticmethod
    def make_root(fs: Path) -> None:
        """Make an image's root directory as it is when nothing says otherwise."""
        os.mkdir(fs)
        # A store in a directory with the setgid bit must not give its group to the image.
        os.chown(fs, os.geteuid(), os.getegid())
        os.chmod(fs, 0o755)  # noqa: S103 (for all users that the image has)

    @contextlib.contextmanager
    def mount_point(self) -> Iterator[Path]:
        """Make a directory to mount something on, for the `with` block."""
        path = self._mounts / os.urandom(8).hex()
        os.mkdir(path, 0o700)
        try:
            yield path
        finally:
            os.rmdir(path)

    def was_tried(self) -> bool:
        """Say whether `remember_tried` was called here since the machine was started."""
        try:
            return self._tried.read_text(encoding="ascii") == self._here()
        except FileNotFoundError:
            return False

    def remember_tried(self) -> None:
        """Remember that this kind of snapshot works here."""
        atomic_write(self._tried, self._here().encode(), durable=False)

    def _here(self) -> str:
        return f"{self._boot} {os.stat(self._path).st_dev}\n"

    def commit(self, snapshot: Snapshot, chain_id: ChainId) -> None:
        target, link = f"../{snapshot.id}", self._names / chain_id.hex
        try:
            os.symlink(target, link)
        except FileExistsError:
            if self.find(chain_id) is None:  # left over from another boot
                temporary = self._names / snapshot.id
                os.symlink(target, temporary)
                os.rename(temporary, link)

    def find(self, chain_id: ChainId) -> Snapshot | None:
        return self._find(chain_id.hex)

    def _find(self, name: str) -> Snapshot | None:
        try:
            snapshot_id = os.path.basename(os.readlink(self._names / name))
            with open(self._path / snapshot_id / "parents", encoding="ascii") as file:
                boot, *parents = file.read().splitlines()
        except FileNotFoundError:
            return None
        if boot != self._boot:
            return None
        return Snapshot(id=snapshot_id, parents=tuple(parents))

    def remove(self, snapshot: Snapshot) -> None:
        remove_tree(self._path / snapshot.id)

    def prune(self, keep: frozenset[ChainId]) -> int:
        kept = {chain_id.hex for chain_id in keep}
        for name in os.listdir(self._names):
            if name not in kept:
                os.unlink(self._names / name)
        freed = self.sweep()
        for other in self._all.iterdir():
            if other != self._path:
                # May hold files of ids that this process has no map for any more.
                with contextlib.suppress(PermissionError):
                    freed += remove_tree(other)
        return freed

    def sweep(self) -> int:
        """Delete what has no name, and is not below something that has one; return the bytes freed.

        Only while no other process uses the store, and this one has not begun to.
        """
        needed = {self._names.name, self._mounts.name, self._tried.name}
        for name in os.listdir(self._names):
            snapshot = self._find(name)
            if snapshot is None or name == snapshot.id:  # the temporary name that `commit` uses
                os.unlink(self._names / name)
                continue
            needed.add(snapshot.id)
            if self._needs_parents:
                needed.update(snapshot.parents)
        freed = 0
        for name in os.listdir(self._path):
            if name not in needed:
                freed += remove_tree(self._path / name)
        for name in os.listdir(self._mounts):
            os.rmdir(self._mounts / name)
        return freed


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return "unknown"


def _id_map() -> str:
    """Name the map of user and group ids; empty outside of a user namespace."""
    text = ""
    for kind in ("uid", "gid"):
        with contextlib.suppress(FileNotFoundError):
            text += Path(f"/proc/self/{kind}_map").read_text(encoding="ascii")
    if text.split() == ["0", "0", "4294967295"] * 2 or not text:
        return ""
    return f"-{zlib.crc32(text.encode()):08x}"
