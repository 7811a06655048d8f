"""Snapshots as full copies, for machines where overlays cannot be mounted.

Needs no privileges, but for those to read what lies in the tree: a user who is not root, not even of a
user namespace, cannot copy a directory of mode 0.

Where the file system can share blocks between files (btrfs, XFS), copies cost no space. Commands see an
ordinary file system, so writing to one name of a file that has several changes all of them, which
overlays do not do; in everything else the same commands give the same changes.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path
from stat import S_IFMT, S_ISCHR, S_ISDIR, S_ISLNK, S_ISREG, S_ISSOCK
from typing import NamedTuple

from registry.oci.digest import ChainId
from wcbuild.layer.changes import Change
from wcbuild.sandbox.base import RootMount
from wcbuild.snapshot import diff
from wcbuild.snapshot.base import Snapshot
from wcbuild.snapshot.directory import SnapshotDirectory

_CHUNK = 1 << 20


class _Copied(NamedTuple):
    """What is known about a copy that was made by this process."""

    directories: dict[str, int]
    """Inode numbers by path."""
    finished_ns: int
    """Inode change time of something made after all else."""
    clocks_ns: tuple[int, int]
    """Time of day and time that never goes back, when it was finished."""


class CopyingSnapshotter(SnapshotDirectory):
    """Each snapshot is a tree of its own; the parent matters only until the changes are known."""

    name = "copying"

    def __init__(self, root: Path) -> None:
        super().__init__(root, self.name, needs_parents=False)
        self._copied: dict[str, _Copied] = {}

    def prepare(self, parent: Snapshot | None) -> Snapshot:
        snapshot = self.create(parent)
        fs = self.fs(snapshot.id)
        if parent is None:
            self.make_root(fs)
            return snapshot
        directories = copy_tree(str(self.fs(parent.id)), str(fs))
        marker = self.work(snapshot.id)
        os.mkdir(marker)
        self._copied[snapshot.id] = _Copied(
            directories, os.stat(marker).st_ctime_ns, (time.time_ns(), time.monotonic_ns())
        )
        return snapshot

    def root(self, snapshot: Snapshot, *, read_only: bool = False) -> RootMount:
        fs = self.fs(snapshot.id)
        return RootMount(lower=(fs,)) if read_only else RootMount(upper=fs)

    @contextlib.contextmanager
    def mounted(
        self,
        snapshot: Snapshot | None,
        *,
        read_only: bool = False,  # noqa: ARG002 (whoever asks for it does not write)
    ) -> Iterator[Path]:
        yield self.fs(snapshot.id) if snapshot else self.empty

    def changes(self, snapshot: Snapshot) -> Iterator[Change]:
        fs = str(self.fs(snapshot.id))
        if not snapshot.parents:
            return diff.changes(fs, ())
        below = str(self.fs(snapshot.parents[0]))
        return diff.changes(
            fs, (below,), root=os.stat(below), untouched=self._untouched(snapshot.id)
        )

    def commit(self, snapshot: Snapshot, chain_id: ChainId) -> None:
        super().commit(snapshot, chain_id)
        # The changes are known when there is a name, which is made from them.
        self._copied.pop(snapshot.id, None)

    def remove(self, snapshot: Snapshot) -> None:
        super().remove(snapshot)
        self._copied.pop(snapshot.id, None)

    def _untouched(self, snapshot_id: str) -> diff.Untouched | None:
        copied = self._copied.get(snapshot_id)
        if copied is None:
            return None
        # If somebody set the clock back meanwhile, so are the times of what was written since.
        day_ns, steady_ns = copied.clocks_ns
        set_back_ns = (time.monotonic_ns() - steady_ns) - (time.time_ns() - day_ns)
        before_ns = copied.finished_ns - max(0, set_back_ns)
        return diff.Untouched(before_ns, copied.directories)


def copy_tree(source: str, target: str) -> dict[str, int]:
    """Copy a directory and all that is in it; return the inode numbers of the copy's directories."""
    inodes: dict[str, int] = {}
    linked: dict[int, str] = {}
    directories = [("", os.lstat(source))]
    for path, _ in directories:  # grows while it is walked, parents first
        here, there = (f"{source}/{path}", f"{target}/{path}") if path else (source, target)
        os.mkdir(there, 0o700)
        inodes[path] = os.lstat(there).st_ino
        with os.scandir(here) as entries:
            for entry in entries:
                status = entry.stat(follow_symlinks=False)
                if S_ISDIR(status.st_mode):
                    directories.append((f"{path}/{entry.name}" if path else entry.name, status))
                else:
                    _copy_entry(f"{here}/{entry.name}", f"{there}/{entry.name}", status, linked)
    # Children first: filling a directory changes its times, and some modes forbid it.
    for path, status in reversed(directories):
        here, there = (f"{source}/{path}", f"{target}/{path}") if path else (source, target)
        _copy_attributes(here, there, status)
    return inodes


def _copy_entry(source: str, target: str, status: os.stat_result, linked: dict[int, str]) -> None:
    mode = status.st_mode
    if S_ISSOCK(mode) or (S_ISCHR(mode) and not status.st_rdev):
        return  # these are never part of an image
    if status.st_nlink > 1:
        first = linked.setdefault(status.st_ino, target)
        if first is not target:
            os.link(first, target, follow_symlinks=False)
            return
    if S_ISREG(mode):
        _copy_content(source, target, status)
    elif S_ISLNK(mode):
        os.symlink(os.readlink(source), target)
    else:
        os.mknod(target, S_IFMT(mode) | 0o600, status.st_rdev)
    _copy_attributes(source, target, status)


def _copy_attributes(source: str, target: str, status: os.stat_result) -> None:
    """Copy owner, mode, extended attributes and times, as far as this user may."""
    # In this order: a new owner clears setuid bits and capabilities, and everything changes times.
    with contextlib.suppress(PermissionError):
        os.lchown(target, status.st_uid, status.st_gid)
    if not S_ISLNK(status.st_mode):
        os.chmod(target, status.st_mode & 0o7777)
    with contextlib.suppress(OSError):
        for name in os.listxattr(source, follow_symlinks=False):
            value = os.getxattr(source, name, follow_symlinks=False)
            with contextlib.suppress(OSError):
                os.setxattr(target, name, value, follow_symlinks=False)
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns), follow_symlinks=False)


def _copy_content(source: str, target: str, status: os.stat_result) -> None:
    """Copy a file's bytes, sharing blocks where possible, and leave holes where there are some."""
    size = status.st_size
    out = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        if not size:
            return
        into = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            if status.st_blocks * 512 >= size:
                _copy_range(into, out, 0, size)
            else:
                os.ftruncate(out, size)
                for start, end in _data(into, size):
                    _copy_range(into, out, start, end)
        finally:
            os.close(into)
    finally:
        os.close(out)


def _data(fd: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield where a file has data."""
    end = 0
    while end < size:
        try:
            start = os.lseek(fd, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:  # nothing but a hole follows
                raise
            return
        end = os.lseek(fd, start, os.SEEK_HOLE)
        yield start, end


def _copy_range(source: int, target: int, start: int, end: int) -> None:
    # The kernel shares the blocks if the file system can.
    with contextlib.suppress(OSError):
        while start < end:
            done = os.copy_file_range(source, target, end - start, start, start)
            if not done:
                break
            start += done
    # Some kernels and file systems do not have that call.
    while start < end:
        data = os.pread(source, min(_CHUNK, end - start), start)
        if not data:
            break
        start += os.pwrite(target, data, start)
