"""Pull-through: a registry that fetches what it does not have from another one, and keeps it.

Tags are looked up at the other registry each time, and served from here when it cannot be reached.
Content is stored once it is verified. Whether a repository has a blob is asked of the other registry,
never concluded from what other repositories here have.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from registry.errors import NotFoundError, RegistryError, UnreachableError
from registry.files import create_temporary, store_errors, write_all
from registry.oci.descriptor import Descriptor
from registry.oci.digest import Digest
from registry.oci.manifest import Index, Manifest
from registry.reference import Reference
from registry.remote.client import Client
from registry.remote.repository import RemoteRepository
from registry.server.messages import BrokenBodyError, StreamContent
from registry.server.storage import Repository, read_document
from registry.store import read_all

BLOCK = 256 * 1024
MAX_FETCHES = 64
"""Blobs on their way at a time; each has a thread, which goes on if its client leaves."""

_STALL_S = 120.0


class PullThrough:
    """What the repositories here are copies of: those of the same names at ``host``."""

    def __init__(self, client: Client, host: str) -> None:
        self._client = client
        self._host = host
        self._fetches: dict[tuple[str, Digest], _Fetch] = {}
        self._lock = threading.Lock()

    def manifest(
        self, repository: Repository, tag_or_digest: str
    ) -> tuple[Manifest | Index, Descriptor]:
        """Return a manifest, as the other registry has it now. Raises as clients do."""
        remote = self._remote(repository)
        if ":" in tag_or_digest:
            try:
                return repository.manifest(repository.digest_of(tag_or_digest))
            except NotFoundError:
                return self._fetch_manifest(repository, remote, remote.resolve(tag_or_digest), ())
        try:
            descriptor = remote.resolve(tag_or_digest)
        except UnreachableError:
            try:
                return repository.manifest(repository.digest_of(tag_or_digest))
            except NotFoundError:
                pass  # then the first error says more
            raise
        try:
            found = repository.manifest(descriptor.digest)
        except NotFoundError:
            return self._fetch_manifest(repository, remote, descriptor, (tag_or_digest,))
        repository.tag(descriptor, tag_or_digest)
        return found

    def blob(self, repository: Repository, digest: Digest) -> StreamContent | None:
        """Return a blob on its way here; None if it is here already. Raises as clients do."""
        if repository.size(digest) is not None:
            return None
        remote = self._remote(repository)
        descriptor = remote.find_blob(digest)
        if repository.take(digest, None):
            return None
        key = (repository.name, digest)
        with self._lock:
            fetch = self._fetches.get(key)
            if fetch is None:
                if len(self._fetches) >= MAX_FETCHES:
                    raise UnreachableError(self._host, "too much is being fetched at a time")
                fetch = self._fetches[key] = _Fetch(repository, remote, descriptor)
                threading.Thread(target=self._run, args=(key, fetch), daemon=True).start()
        return fetch.follow()

    def size(self, repository: Repository, digest: Digest) -> int | None:
        """Return the size of a blob at the other registry; None if there is none."""
        try:
            return self._remote(repository).find_blob(digest).size
        except NotFoundError:
            return None

    def tags(self, repository: Repository) -> Iterator[str]:
        """Return all tags, sorted."""
        try:
            return iter(sorted(self._remote(repository).tags()))
        except UnreachableError:
            return repository.tags()

    def referrers(
        self, repository: Repository, subject: Digest, artifact_type: str
    ) -> Iterator[Descriptor]:
        """Return what refers to ``subject``, in the order of digests."""
        try:
            found = list(self._remote(repository).referrers(subject, artifact_type))
        except UnreachableError:
            return repository.referrers(subject, artifact_type)
        return iter(sorted(found, key=lambda entry: entry.digest))

    def _remote(self, repository: Repository) -> RemoteRepository:
        reference = Reference(registry=self._host, repository=repository.name)
        if self._host == "docker.io":
            # There `debian` is `library/debian`.
            reference = Reference.parse(str(reference))
        return self._client.repository(reference)

    def _fetch_manifest(
        self,
        repository: Repository,
        remote: RemoteRepository,
        descriptor: Descriptor,
        tags: tuple[str, ...],
    ) -> tuple[Manifest | Index, Descriptor]:
        raw = read_all(remote, descriptor)
        document = read_document(raw, descriptor.media_type, f"manifest {descriptor.digest}")
        # What it names comes when somebody asks for it.
        repository.put_manifest(document, descriptor.digest, tags, sparse=True)
        return document, descriptor

    def _run(self, key: tuple[str, Digest], fetch: _Fetch) -> None:
        try:
            fetch.run()
        finally:
            with self._lock:
                del self._fetches[key]


class _Fetch:
    """One blob on its way from the other registry into a file, which any number of readers follow."""

    def __init__(
        self, repository: Repository, remote: RemoteRepository, descriptor: Descriptor
    ) -> None:
        self._repository = repository
        self._remote = remote
        self._descriptor = descriptor
        self._changed = threading.Condition()
        self._path: Path | None = None
        self._here = 0
        self._done = False
        self._error: Exception | None = None

    def run(self) -> None:
        """Fetch, verify and store; readers are told of what comes, and of what goes wrong."""
        failure: Exception | None = None
        try:
            with self._remote.open(self._descriptor) as stream:
                self._store(stream)
        except Exception as error:  # noqa: BLE001 - the readers raise it
            failure = error
        with self._changed:
            self._error, self._done = failure, failure is None
            self._changed.notify_all()

    def _store(self, stream: BinaryIO) -> None:
        ingest = self._repository.storage.ingest
        with store_errors(ingest):
            fd, name = create_temporary(ingest, ".proxy-")
        path = Path(name)
        try:
            with open(fd, "w+b", buffering=0) as file, store_errors(path):
                with self._changed:
                    self._path = path
                    self._changed.notify_all()
                # The stream verifies: at its end it raises unless all was right.
                while data := stream.read(BLOCK):
                    write_all(file, data)
                    with self._changed:
                        self._here += len(data)
                        self._changed.notify_all()
                self._repository.add_file(file.fileno(), path, self._descriptor.digest)
        finally:
            path.unlink(missing_ok=True)

    def follow(self) -> StreamContent | None:
        """Return the blob as it comes; None if it is stored by now.

        Raises:
            RegistryError: it does not come.
        """
        with self._changed:
            self._wait(lambda: self._path is not None or self._done)
            if self._done or self._path is None:
                return None
            try:
                file = open(self._path, "rb", buffering=0)  # noqa: SIM115 - closed by `_read`
            except FileNotFoundError:
                self._wait(lambda: self._done)
                return None
        return StreamContent(chunks=self._read(file), size=self._descriptor.size)

    def _read(self, file: BinaryIO) -> Iterator[bytes]:
        sent = 0
        with file:
            while sent < self._descriptor.size:
                data = file.read(min(BLOCK, self._more_than(sent) - sent))
                if not data:
                    raise BrokenBodyError("a file is shorter than what was written to it")
                sent += len(data)
                yield data

    def _more_than(self, sent: int) -> int:
        """Wait until more than ``sent`` bytes may be read; return how many."""
        # The last byte waits until all of them are verified.
        unverified = self._descriptor.size - 1
        with self._changed:
            self._wait(lambda: self._done or min(self._here, unverified) > sent)
            return self._descriptor.size if self._done else min(self._here, unverified)

    def _wait(self, ready: Callable[[], bool]) -> None:
        came = self._changed.wait_for(lambda: self._error is not None or ready(), _STALL_S)
        if isinstance(self._error, RegistryError):
            raise self._error
        if self._error is not None:
            raise BrokenBodyError(str(self._error))
        if not came:
            raise UnreachableError(self._remote.name, "nothing came for too long")
