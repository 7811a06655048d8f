"""Garbage collection: what no manifest names, after a grace period, while everything goes on.

A blob is kept while a manifest of its repository names it, or while it is young; who was told that it
is here made it young again (see `storage.LEASE_S`), so a push under way never loses what it relies on.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from registry.blobs import BlobDirectory
from registry.errors import RegistryError
from registry.files import store_errors
from registry.oci.digest import Digest
from registry.oci.manifest import Index, Manifest
from registry.server.storage import Repository, Storage

GRACE_S = 3600.0
UPLOAD_EXPIRY_S = 24 * 3600.0

_PATIENCE_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What a collection removed, or would have."""

    manifests: int = 0
    blobs: int = 0
    """Links of blobs to repositories; the bytes go when the last one does."""
    uploads: int = 0
    freed: int = 0
    """Bytes."""
    busy: tuple[str, ...] = ()
    """Repositories that were left out because they were in use all the time, or are damaged."""


def collect(
    storage: Storage,
    *,
    grace_s: float = GRACE_S,
    upload_expiry_s: float = UPLOAD_EXPIRY_S,
    untagged: bool = False,
    dry_run: bool = False,
) -> Collected:
    """Remove blobs that nothing needs, uploads that nobody goes on with, and what writers left behind.

    ``untagged`` also removes manifests to which no tag leads: not itself, not through an index, and
    not as a referrer of what is kept. Nothing younger than ``grace_s`` is removed.

    Raises:
        StoreError
    """
    work = _Collection(storage, time.time() - grace_s, dry_run=dry_run)
    found = Collected()
    for repository in storage:
        uploads = work.expire_uploads(repository, time.time() - upload_expiry_s)
        found = replace(found, uploads=found.uploads + uploads)
        lock = repository.try_alone(_PATIENCE_S)
        if lock is None:
            found = replace(found, busy=(*found.busy, repository.name))
            continue
        try:
            manifests, blobs = work.clean(repository, untagged=untagged)
            found = replace(found, manifests=found.manifests + manifests, blobs=found.blobs + blobs)
        except RegistryError:
            # A manifest that cannot be read may name anything: then everything stays.
            found = replace(found, busy=(*found.busy, repository.name))
        finally:
            lock.release()
    work.drop_unlinked()
    work.sweep_ingest()
    return replace(found, freed=work.freed)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """What has to be known of a manifest; all of a repository's are in memory at once."""

    children: tuple[Digest, ...]
    subject: Digest | None
    size: int

    @classmethod
    def of(cls, document: Manifest | Index) -> _Known:
        """Take it from a manifest."""
        entries = (
            document.manifests
            if isinstance(document, Index)
            else (document.config, *document.layers)
        )
        return cls(
            children=tuple(entry.digest for entry in entries),
            subject=document.subject.digest if document.subject is not None else None,
            size=len(document.raw),
        )


class _Collection:
    def __init__(self, storage: Storage, before: float, *, dry_run: bool) -> None:
        self._storage = storage
        self._before = before
        self._dry_run = dry_run
        self._links: dict[int, int] = {}
        """Links that each inode loses."""
        self.freed = 0

    def clean(self, repository: Repository, *, untagged: bool) -> tuple[int, int]:
        """Clean a repository that is held alone; return the numbers of manifests and blobs."""
        known = {
            digest: _Known.of(repository.read_manifest(digest)[0])
            for digest in repository.manifests
        }
        removed = self._untagged(repository, known) if untagged else set()
        for digest in removed:
            self.freed += known[digest].size
            if not self._dry_run:
                with contextlib.suppress(RegistryError):
                    repository.forget_manifest(digest)
        needed = {
            child
            for digest, manifest in known.items()
            if digest not in removed
            for child in manifest.children
        }
        blobs = 0
        for digest in repository.blobs:
            if digest not in needed and self._remove_old(repository.blobs, digest):
                blobs += 1
        return len(removed), blobs

    def expire_uploads(self, repository: Repository, before: float) -> int:
        """Remove uploads that nobody has written to since ``before``; return how many."""
        return self._remove_files(repository.uploads, lambda _: True, before)

    def drop_unlinked(self) -> None:
        """Remove shared blobs that no repository has."""
        for digest in self._storage.shared:
            path = self._storage.shared.path(digest)
            with store_errors(path), contextlib.suppress(FileNotFoundError):
                status = os.stat(path)
                # Whoever links it just now either finds it, or brings its own.
                if status.st_nlink - self._links.get(status.st_ino, 0) <= 1:
                    self.freed += status.st_size
                    if not self._dry_run:
                        os.unlink(path)

    def sweep_ingest(self) -> None:
        """Remove what writers that died have left."""
        self._remove_files(self._storage.ingest, lambda name: name.startswith("."), self._before)

    def _untagged(self, repository: Repository, known: dict[Digest, _Known]) -> set[Digest]:
        kept: set[Digest] = set()
        reached = [repository.digest_of(tag) for tag in repository.tags()]
        reached += [
            digest for digest in known if not self._is_old(repository.manifests.path(digest))
        ]
        referrers: dict[Digest, list[Digest]] = {}
        for digest, manifest in known.items():
            if manifest.subject is not None:
                referrers.setdefault(manifest.subject, []).append(digest)
        while reached:
            digest = reached.pop()
            if digest in kept or digest not in known:
                continue
            kept.add(digest)
            reached += [*known[digest].children, *referrers.get(digest, ())]
        return set(known) - kept

    def _is_old(self, path: Path) -> bool:
        try:
            return os.stat(path).st_mtime < self._before
        except FileNotFoundError:
            return False

    def _remove_old(self, place: BlobDirectory, digest: Digest) -> bool:
        path = place.path(digest)
        if not self._is_old(path):
            return False
        status = os.stat(path)
        if self._dry_run:
            self._links[status.st_ino] = self._links.get(status.st_ino, 0) + 1
        else:
            place.remove(digest)
        if status.st_nlink == 1:
            self.freed += status.st_size
        return True

    def _remove_files(self, folder: Path, wanted: Callable[[str], bool], before: float) -> int:
        removed = 0
        with (
            store_errors(folder),
            contextlib.suppress(FileNotFoundError),
            os.scandir(folder) as entries,
        ):
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):
                    status = entry.stat(follow_symlinks=False)
                    if not wanted(entry.name) or status.st_mtime >= before:
                        continue
                    removed += 1
                    self.freed += status.st_size
                    if not self._dry_run:
                        os.unlink(entry.path)
        return removed
