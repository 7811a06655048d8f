"""Deleting what nothing needs: blobs, indexes, build results and unpacked trees."""

from __future__ import annotations

import contextlib

from wcbuild.context import git, http
from wcbuild.snapshot.base import Snapshotter
from wcbuild.snapshot.removal import remove_tree
from wcbuild.solve.cache import LocalCache
from wcbuild.store import LocalStore


def collect_unnamed(store: LocalStore) -> int:
    """Delete what neither an image nor the build cache nor the next build needs; return bytes freed.

    The caller holds the store exclusively.
    """
    cache = LocalCache(store.root / "cache", store.has)
    cached = {record.diff_id for _, record in cache.records()}
    freed = store.collect(cached.__contains__, derived=True)[0]
    freed += http.sweep(store.root / "downloads")
    for path in (store.root / "git/trees").glob(f"{git.HALF_WRITTEN}*"):
        freed += remove_tree(path)
    return freed


def collect_cache(store: LocalStore, snapshotter: Snapshotter) -> int:
    """Delete the build cache and all that no image needs; return bytes freed.

    The caller holds the store exclusively.
    """
    LocalCache(store.root / "cache", store.has).clear()
    freed, chains = store.collect(lambda _: False, derived=False)
    freed += store.blobs.sweep(parts_kept_s=0)
    for path in (store.root / "contexts").iterdir():
        freed += path.stat().st_size
        path.unlink()
    # Caches of mounts may hold files of ids that this process has no map for any more.
    with contextlib.suppress(PermissionError):
        freed += remove_tree(store.root / "mounts")
    for fetched in ("downloads", "git"):
        freed += remove_tree(store.root / fetched)
    with contextlib.suppress(PermissionError):
        freed += remove_tree(store.root / "wine")
    return freed + snapshotter.prune(chains)
