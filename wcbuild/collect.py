"""Deleting what nothing needs: blobs, indexes, build results and unpacked trees."""

from __future__ import annotations

import contextlib

from wcbuild.snapshot.base import Snapshotter
from wcbuild.snapshot.removal import remove_tree
from wcbuild.solve.cache import LocalCache
from wcbuild.store import LocalStore


def collect_unnamed(store: LocalStore) -> int:
    """Delete the blobs that neither an image nor the build cache needs; return bytes freed.

    The caller holds the store exclusively.
    """
    cache = LocalCache(store.root / "cache", store.has)
    cached = {record.diff_id for _, record in cache.records()}
    return store.collect(cached.__contains__, derived=True)[0]


def collect_cache(store: LocalStore, snapshotter: Snapshotter) -> int:
    """Delete the build cache and all that no image needs; return bytes freed.

    The caller holds the store exclusively.
    """
    LocalCache(store.root / "cache", store.has).clear()
    freed, chains = store.collect(lambda _: False, derived=False)
    # Caches of mounts may hold files of ids that this process has no map for any more.
    with contextlib.suppress(PermissionError):
        freed += remove_tree(store.root / "mounts")
        freed += remove_tree(store.root / "wine")
    return freed + snapshotter.prune(chains)
