"""What takes the space of the local store."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from wcbuild.solve.cache import LocalCache
from wcbuild.store import LocalStore

_BLOCK = 512
"""Bytes that `st_blocks` counts in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """One kind of thing in the store."""

    kind: str
    count: int
    size: int
    """Bytes of disk space."""


def measure(store: LocalStore) -> tuple[Usage, ...]:
    """Return what images take, the build cache, caches of mounts, and fetched sources.

    A blob that an image needs counts as the image's alone; unpacked trees, and the tars of compressed
    layers, are the build cache's. What vanishes meanwhile, or may not be looked into, counts nothing.

    Raises:
        InvalidDocumentError: the store is damaged.
    """
    root = store.root
    records = store.images()
    blobs = {digest for record in records for digest in store.closure(record.descriptor)}
    images = _space(store.blobs.path(digest) for digest in blobs)
    results = LocalCache(root / "cache", store.has).records()
    mounts = [path for path in _listed(root / "mounts") if path.is_dir()]
    fetched = [root / "downloads", root / "git"]
    sources = sum(len(_listed(folder)) for folder in (*fetched[:1], *_listed(root / "git")))
    others = [path for path in _listed(root) if path not in (root / "mounts", *fetched)]
    return (
        Usage(kind="Images", count=len(records), size=images),
        Usage(kind="Build Cache", count=sum(1 for _ in results), size=_space(others) - images),
        Usage(kind="Cache Mounts", count=len(mounts), size=_space(mounts)),
        Usage(kind="Fetched Sources", count=sources, size=_space(fetched)),
    )


def _listed(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _space(paths: Iterable[Path]) -> int:
    """Return the disk space of files, and of folders with all that is in them; links count once."""
    seen = set[tuple[int, int]]()
    size, todo = 0, [os.fspath(path) for path in paths]
    while todo:
        path = todo.pop()
        with contextlib.suppress(OSError):
            status = os.lstat(path)
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            size += status.st_blocks * _BLOCK
            if stat.S_ISDIR(status.st_mode):
                todo += (os.path.join(path, name) for name in os.listdir(path))
    return size
