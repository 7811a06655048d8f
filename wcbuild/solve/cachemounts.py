"""Directories of `RUN --mount=type=cache`, which outlive builds.

    <root>/
      <name>-<number>        what commands see; more than one if `private` steps ran at the same time
      <name>-<number>.lock   held while commands use it: shared, or exclusively (`locked` and `private`)
      new                    a directory that is being made or deleted by who holds the root's lock

Names are hashes, so no id is a path. Prune deletes all of it while it holds the store alone.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event

from registry.files import FileLock, locked_directory
from wcbuild.errors import CancelledError
from wcbuild.graph.keys import CacheKey
from wcbuild.snapshot.removal import remove_tree


class CacheMounts:
    """The caches of one store. Safe to use from several threads and processes."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @contextlib.contextmanager
    def held(
        self, name: CacheKey, sharing: str, fill: Callable[[Path], None], cancel: Event
    ) -> Iterator[Path]:
        """Give a cache's directory for the `with` block; ``fill`` makes it if it is not there.

        Args:
            name: says which cache.
            sharing: with others that use it now: `shared`, `locked` (wait for them), or `private`
                (take another directory).
            fill: makes a directory at a path, with what a new cache holds.
            cancel: ends waiting when it is set.

        Raises:
            CancelledError: ``cancel`` was set.
        """
        self._root.mkdir(mode=0o700, exist_ok=True)
        path, lock = self._take(name, sharing, cancel)
        try:
            with locked_directory(self._root):
                if not path.exists():
                    new = self._root / "new"
                    remove_tree(new)  # what a killed process has left
                    fill(new)
                    new.rename(path)
            yield path
        finally:
            lock.release()

    def empty(self, name: CacheKey, cancel: Event) -> None:
        """Let a cache begin anew, as soon as nobody uses it.

        Raises:
            CancelledError: ``cancel`` was set.
        """
        for path in self._root.glob(f"{name}-*[0-9]"):
            lock = FileLock(path.with_suffix(".lock"))
            try:
                if not lock.acquire_unless(cancel, shared=False):
                    raise CancelledError
                with locked_directory(self._root):
                    if path.exists():
                        old = self._root / "new"
                        remove_tree(old)
                        path.rename(old)
                        remove_tree(old)
            finally:
                lock.release()

    def _take(self, name: CacheKey, sharing: str, cancel: Event) -> tuple[Path, FileLock]:
        shared = sharing == "shared"
        for number in itertools.count():
            path = self._root / f"{name}-{number}"
            lock = FileLock(path.with_suffix(".lock"))
            if sharing == "private":
                if lock.acquire(shared=False, wait=False):
                    return path, lock
                lock.release()
            elif lock.acquire_unless(cancel, shared=shared):
                return path, lock
            else:
                lock.release()
                raise CancelledError
        raise AssertionError
