"""Repositories in a folder: blobs shared between them by hard links, manifests, tags, referrers.

    version  server.lock  ingest/
    blobs/ALGORITHM/HEX                              every blob once
    repositories/NAME/_blobs/ALGORITHM/HEX           hard links to those that the repository has
                      _manifests/ALGORITHM/HEX       the exact bytes
                      _referrers/ALGORITHM/HEX/X     a descriptor (JSON); HEX is the subject's
                      _tags/TAG                      a digest
                      _uploads/ID                    what has come of an upload
                      _lock                          held shared while something is looked up and
                                                     then relied on, exclusively by garbage collection

No part of a repository's name begins with an underscore, so that repositories may lie within others.

What is acknowledged survives `kill -9` and power cuts: bytes first, synced and then renamed, then what
refers to them; removal goes the other way. A blob belongs to a repository while it is linked there;
since linking either finds the bytes or does not, collecting what nobody links needs no lock.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import re
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from registry.blobs import BlobDirectory
from registry.errors import (
    DigestMismatchError,
    InvalidDigestError,
    InvalidDocumentError,
    InvalidReferenceError,
    NotFoundError,
    StoreError,
)
from registry.failpoints import reach
from registry.files import FileLock, atomic_write, fsync_directory, read_limited, store_errors
from registry.oci import mediatypes
from registry.oci.descriptor import Descriptor
from registry.oci.digest import Digest
from registry.oci.manifest import (
    MAX_MANIFEST_BYTES,
    Index,
    Manifest,
    encode,
    load_object,
    parse,
)
from registry.referrers import listed
from registry.store import BlobSource, check_bytes

MAX_NAME = 255
"""Characters of a repository's name, as the specification advises for host and name together."""

LEASE_S = 60.0
"""Who is told that something is here relies on it; its age begins anew, at most this often."""

_VERSION = b"wcbuild registry 1\n"
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*", re.ASCII)
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", re.ASCII)
_READERS = threading.BoundedSemaphore(2)
_MAX_DIGEST_FILE = 256
_MAX_REFERRER_BYTES = 2 * MAX_MANIFEST_BYTES


class MissingChildrenError(NotFoundError):
    """A manifest names blobs or manifests that its repository does not have."""

    def __init__(self, missing: tuple[Digest, ...], where: str) -> None:
        super().__init__(", ".join(missing[:3]), where)
        self.missing = missing


def is_name(text: str) -> bool:
    """Say whether a repository can have that name; above all, it cannot lead out of a folder."""
    return len(text) <= MAX_NAME and bool(_NAME.fullmatch(text))


def check_tag(tag: str) -> str:
    """Return ``tag`` if it is one.

    Raises:
        InvalidReferenceError
    """
    if not _TAG.fullmatch(tag):
        raise InvalidReferenceError(tag[:MAX_NAME], "is not a tag")
    return tag


def read_document(raw: bytes, media_type: str = "", what: str = "manifest") -> Manifest | Index:
    """Read a manifest that says its own media type, or is plainly one of OCI's; few at a time.

    4 MiB of JSON may become 200 MiB in memory, and clients decide how many come at once.

    Raises:
        InvalidDocumentError: no manifest, or it was sent as another ``media_type`` than it has.
        TooLargeError
    """
    with _READERS:
        document = parse(raw, what=what)
    if media_type not in ("", document.media_type):
        reason = f'is a "{document.media_type}" and was sent as "{media_type}"'
        raise InvalidDocumentError(what, reason)
    return document


class Storage:
    """All repositories below ``root``, which is made. Several processes may use it at once.

    ``read_only`` never writes, not even locks and leases; nothing may collect garbage meanwhile.

    Raises:
        StoreError: the folder cannot be used, or another version wrote it.
    """

    def __init__(self, root: Path, *, read_only: bool = False) -> None:
        self.root = root
        self.read_only = read_only
        self.repositories = root / "repositories"
        self.ingest = root / "ingest"
        self.shared = BlobDirectory(root / "blobs", ingest=self.ingest)
        marker = root / "version"
        with store_errors(root):
            if not read_only and not marker.exists():
                root.mkdir(mode=0o700, parents=True, exist_ok=True)
                atomic_write(marker, _VERSION)
            try:
                version = read_limited(marker, 64, str(marker))
            except FileNotFoundError as error:
                raise StoreError(str(root), "holds no registry") from error
        if version != _VERSION:
            raise StoreError(str(root), "holds something else, or a newer wcbuild's registry")
        with store_errors(root):
            for folder in () if read_only else (self.repositories, self.ingest):
                folder.mkdir(mode=0o700, exist_ok=True)

    @contextlib.contextmanager
    def serving(self) -> Iterator[None]:
        """Keep other servers off this folder for the `with` block: they know nothing of our uploads.

        Raises:
            StoreError: there is one.
        """
        if self.read_only:
            yield
            return
        lock = FileLock(self.root / "server.lock")
        with store_errors(self.root):
            if not lock.acquire(shared=False, wait=False):
                lock.release()
                raise StoreError(str(self.root), "is served by another process")
        try:
            yield
        finally:
            lock.release()

    def repository(self, name: str) -> Repository:
        """Return the repository of that name; it exists from the first thing put into it.

        Raises:
            InvalidReferenceError
        """
        if not is_name(name):
            raise InvalidReferenceError(name[:MAX_NAME], "is not the name of a repository")
        return Repository(self, name)

    def names(self) -> list[str]:
        """Return the names of all repositories that ever had a manifest, sorted."""
        return [repository.name for repository in self if repository.manifest_folder.is_dir()]

    def __iter__(self) -> Iterator[Repository]:
        """Yield everything that looks like a repository, by name."""
        names = []
        for path, folders, _ in os.walk(self.repositories):
            if any(folder.startswith("_") for folder in folders):
                names.append(os.path.relpath(path, self.repositories))
            folders[:] = [folder for folder in folders if not folder.startswith("_")]
        for name in sorted(names):
            with contextlib.suppress(InvalidReferenceError):
                yield self.repository(name)


class Repository:
    """One repository: a source and a target of `registry.copy`, and what its API needs besides."""

    def __init__(self, storage: Storage, name: str) -> None:
        self.storage = storage
        self.name = name
        self.path = storage.repositories / name
        self.blobs = BlobDirectory(self.path / "_blobs", ingest=storage.ingest)
        self.manifests = BlobDirectory(self.path / "_manifests", ingest=storage.ingest)
        self.manifest_folder = self.path / "_manifests"
        self.uploads = self.path / "_uploads"
        self._tags = self.path / "_tags"
        self._referrers = self.path / "_referrers"

    def exists(self) -> bool:
        """Say whether anything was ever put here."""
        return any(
            folder.is_dir() for folder in (self.manifest_folder, self.path / "_blobs", self.uploads)
        )

    @contextlib.contextmanager
    def relying(self) -> Iterator[None]:
        """Keep garbage collection out of this repository for the `with` block."""
        lock = FileLock(self.path / "_lock")
        if not self.storage.read_only:
            # Nothing of this name: nothing that could be collected.
            with contextlib.suppress(FileNotFoundError):
                lock.acquire(shared=True, wait=True)
        try:
            yield
        finally:
            lock.release()

    def try_alone(self, patience_s: float) -> FileLock | None:
        """Return the lock, held exclusively, that keeps everybody out; None if it stays taken."""
        lock = FileLock(self.path / "_lock")
        until = time.monotonic() + patience_s
        with store_errors(self.path):
            while not lock.acquire(shared=False, wait=False):
                if time.monotonic() > until:
                    lock.release()
                    return None
                time.sleep(0.005)
        return lock

    # -- registry.store protocols

    def has(self, descriptor: Descriptor) -> bool:
        """Say whether the blob or manifest is here, and keep it so for a while."""
        return self.size(descriptor.digest, self._place(descriptor)) == descriptor.size

    def open(self, descriptor: Descriptor) -> BinaryIO:
        """Return a verifying stream.

        Raises:
            NotFoundError, SizeMismatchError, StoreError
        """
        return self._place(descriptor).open(descriptor)

    def put(self, stream: BinaryIO, expected: Descriptor) -> None:
        """Store a blob, or a manifest whose children are here.

        Raises:
            DigestMismatchError, SizeMismatchError, StoreError: nothing was stored.
            InvalidDocumentError, MissingChildrenError: likewise, for a manifest.
        """
        if mediatypes.is_document(expected.media_type):
            raw = stream.read(min(expected.size, MAX_MANIFEST_BYTES) + 1)
            document = read_document(raw, expected.media_type, f"manifest {expected.digest}")
            self.put_manifest(document, expected.digest)
            return
        self.prepare()
        with self.relying():
            if self._take(self.storage.shared, expected.digest) != expected.size:
                self.blobs.put(stream, expected)
                self._share(expected.digest)

    def put_new(self, stream: BinaryIO, media_type: str) -> Descriptor:
        """Store a blob whose digest is not known yet."""
        self.prepare()
        with self.relying():
            descriptor = self.blobs.put_new(stream, media_type)
            self._share(descriptor.digest)
        return descriptor

    def resolve(self, tag_or_digest: str) -> Descriptor:
        """Return the descriptor of a manifest.

        Raises:
            NotFoundError, StoreError
        """
        return self.manifest(self.digest_of(tag_or_digest))[1]

    def tag(self, descriptor: Descriptor, tag: str) -> None:
        """Point ``tag`` at a manifest that is here."""
        with self.relying():
            if self._renewed(self.manifests.path(descriptor.digest)) is None:
                raise NotFoundError(f"manifest {descriptor.digest}", self.name)
            self._write_tag(descriptor.digest, check_tag(tag))

    def find_blob(self, digest: Digest) -> Descriptor:
        """Return a descriptor of a blob, and keep it for a while.

        Raises:
            NotFoundError
        """
        size = self.size(digest)
        if size is None:
            raise NotFoundError(f"blob {digest}", self.name)
        return Descriptor(media_type=mediatypes.OCTETS, digest=digest, size=size)

    def delete(self, descriptor: Descriptor) -> None:
        """Remove a blob, or a manifest with all its tags and its place among referrers.

        Raises:
            NotFoundError, StoreError
        """
        if not mediatypes.is_document(descriptor.media_type):
            self._remove(self.blobs.path(descriptor.digest), f"blob {descriptor.digest}")
            return
        with self.relying():
            self.forget_manifest(descriptor.digest)

    # -- blobs

    def size(self, digest: Digest, place: BlobDirectory | None = None) -> int | None:
        """Return the size of a blob (or of a manifest, in its ``place``), or None; keep it for a while."""
        with self.relying():
            return self._renewed((place or self.blobs).path(digest))

    def _renewed(self, path: Path) -> int | None:
        """Return the size of a file, or None, and make it young again. The caller holds the lock."""
        try:
            status = os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        if not self.storage.read_only and time.time() - status.st_mtime > LEASE_S:
            with contextlib.suppress(OSError):
                os.utime(path)
        return status.st_size

    def open_blob(self, digest: Digest) -> BinaryIO:
        """Return the file of a blob, unverified: whoever receives it verifies it.

        Raises:
            NotFoundError, StoreError
        """
        path = self.blobs.path(digest)
        with store_errors(path):
            try:
                return open(path, "rb", buffering=0)
            except (FileNotFoundError, NotADirectoryError):
                raise NotFoundError(f"blob {digest}", self.name) from None

    def add_file(self, fd: int, path: Path, digest: Digest) -> None:
        """Take a file of this storage, verified, as a blob; ``path`` is gone afterwards.

        Raises:
            StoreError: the blob was not added.
        """
        self.prepare()
        with self.relying(), store_errors(path):
            size = os.fstat(fd).st_size
            ours = self._renewed(self.blobs.path(digest))
            if size == ours or size == self._take(self.storage.shared, digest):
                os.unlink(path)
                return
            self.blobs.adopt(fd, path, digest)
            self._share(digest)

    def mount(self, descriptor: Descriptor, source: BlobSource) -> bool:
        """Take a blob from another repository of the same storage; False if it has none."""
        if not isinstance(source, Repository) or source.storage is not self.storage:
            return False
        return self.take(descriptor.digest, source)

    def take(self, digest: Digest, source: Repository | None) -> bool:
        """Link a blob of ``source``, or of any repository, into this one; False if it has none."""
        place = self.storage.shared if source is None else source.blobs
        if not place.has(digest):
            return False
        self.prepare()
        with self.relying():
            return self._take(place, digest) is not None

    def _take(self, place: BlobDirectory, digest: Digest) -> int | None:
        """Link a blob here from ``place``; return its size, or None if it has none."""
        theirs, ours = place.path(digest), self.blobs.path(digest)
        with store_errors(ours):
            try:
                os.utime(theirs)
                _make_folder(ours.parent)
                os.link(theirs, ours)
            except FileNotFoundError:
                return None
            except FileExistsError:
                pass
            except OSError as error:
                # So many repositories have it that the file system refuses another link.
                if error.errno == errno.EMLINK:
                    return None
                raise
            fsync_directory(ours.parent)
            return os.stat(ours).st_size

    def _share(self, digest: Digest) -> None:
        """Let other repositories find a blob of ours. Nothing relies on it, so nothing is synced."""
        ours, shared = self.blobs.path(digest), self.storage.shared.path(digest)
        with store_errors(shared):
            _make_folder(shared.parent)
            # Not found: another request has just put its own copy in the place of ours.
            with contextlib.suppress(FileExistsError, FileNotFoundError):
                os.link(ours, shared)

    # -- manifests and tags

    def digest_of(self, tag_or_digest: str) -> Digest:
        """Return what a tag points to, or the digest itself.

        Raises:
            NotFoundError: no such tag. StoreError
        """
        with contextlib.suppress(InvalidDigestError):
            return Digest(tag_or_digest)
        what = f'tag "{tag_or_digest}"'
        try:
            path = self._tags / check_tag(tag_or_digest)
            with store_errors(path):
                return Digest(read_limited(path, _MAX_DIGEST_FILE, what).decode("ascii"))
        except InvalidReferenceError:
            raise NotFoundError(what, self.name) from None
        except StoreError as error:
            if isinstance(error.__cause__, FileNotFoundError | NotADirectoryError):
                raise NotFoundError(what, self.name) from None
            raise

    def manifest(self, digest: Digest) -> tuple[Manifest | Index, Descriptor]:
        """Return a manifest, verified, and its descriptor with ``digest``; keep it for a while.

        Raises:
            NotFoundError
            StoreError: it cannot be read, or is damaged.
        """
        self.size(digest, self.manifests)
        return self.read_manifest(digest)

    def read_manifest(self, digest: Digest) -> tuple[Manifest | Index, Descriptor]:
        """Do as `manifest`, for a caller that holds the lock or does not rely on what it finds."""
        path, what = self.manifests.path(digest), f"manifest {digest}"
        with store_errors(path):
            try:
                raw = read_limited(path, MAX_MANIFEST_BYTES, what)
            except (FileNotFoundError, NotADirectoryError):
                raise NotFoundError(what, self.name) from None
        try:
            document = read_document(check_bytes(raw, digest, what), what=what)
        except (DigestMismatchError, InvalidDocumentError) as error:
            raise StoreError(str(path), f"is damaged ({error})") from error
        return document, replace(document.descriptor, digest=digest)

    def put_manifest(
        self,
        document: Manifest | Index,
        digest: Digest,
        tags: Iterable[str] = (),
        *,
        sparse: bool = False,
    ) -> None:
        """Store what `read_document` read under ``digest``, list it at its subject, then tag it.

        Its children must be here, unless it may be ``sparse``.

        Raises:
            MissingChildrenError: it names what is not here. The subject need not be.
            DigestMismatchError, StoreError: it was not stored, or not tagged.
        """
        expected = replace(document.descriptor, digest=digest)
        self.prepare()
        with self.relying():
            missing = () if sparse else tuple(self._missing(document))
            if missing:
                raise MissingChildrenError(missing, self.name)
            self.manifests.put(io.BytesIO(document.raw), expected)
            reach("server.before_referrer")
            if document.subject is not None:
                path = self._referrer(document.subject.digest, digest)
                with store_errors(path):
                    _make_folder(path.parent)
                    entry = replace(listed(document), digest=digest)
                    atomic_write(path, encode(entry.to_json()))
            reach("server.before_tag")
            for tag in tags:
                self._write_tag(digest, check_tag(tag))

    def tags(self) -> Iterator[str]:
        """Return all tags, sorted.

        Raises:
            NotFoundError: there is no such repository.
        """
        if not self.exists():
            raise NotFoundError(f"repository {self.name}", "this registry")
        return iter(sorted(_visible(self._tags)))

    def untag(self, tag: str) -> None:
        """Remove a tag.

        Raises:
            NotFoundError, StoreError
        """
        self._remove(self._tags / check_tag(tag), f'tag "{tag}"')

    def forget_manifest(self, digest: Digest) -> None:
        """Do as `delete` for a caller that holds the lock."""
        document, _ = self.read_manifest(digest)
        for tag in self.tags():
            with contextlib.suppress(NotFoundError):
                if self.digest_of(tag) == digest:
                    self.untag(tag)
        self._remove(self.manifests.path(digest), f"manifest {digest}")
        if document.subject is not None:
            with contextlib.suppress(NotFoundError):
                self._remove(self._referrer(document.subject.digest, digest), "referrer")

    def referrers(self, subject: Digest, artifact_type: str = "") -> Iterator[Descriptor]:
        """Yield what refers to ``subject``, in the order of digests."""
        folder = self._referrers / subject.algorithm / subject.hex
        for name in sorted(_visible(folder)):
            algorithm, _, encoded = name.partition("-")
            # The manifest goes before its entry does.
            with contextlib.suppress(InvalidDigestError, FileNotFoundError):
                digest = Digest(f"{algorithm}:{encoded}")
                if self.manifests.has(digest):
                    raw = read_limited(folder / name, _MAX_REFERRER_BYTES, name)
                    entry = Descriptor.from_json(load_object(raw, name), name)
                    if artifact_type in ("", entry.artifact_type):
                        yield entry

    def prepare(self) -> None:
        """Make the repository's folder, durably.

        Raises:
            StoreError
        """
        with store_errors(self.path):
            _make_folder(self.path)

    def _place(self, descriptor: Descriptor) -> BlobDirectory:
        return self.manifests if mediatypes.is_document(descriptor.media_type) else self.blobs

    def _missing(self, document: Manifest | Index) -> Iterator[Digest]:
        if isinstance(document, Index):
            for entry in document.manifests:
                if self._renewed(self._place(entry).path(entry.digest)) is None:
                    yield entry.digest
            return
        for blob in (document.config, *document.layers):
            # What may not be distributed is fetched from elsewhere.
            path = self.blobs.path(blob.digest)
            if not mediatypes.is_foreign(blob.media_type) and self._renewed(path) is None:
                yield blob.digest

    def _write_tag(self, digest: Digest, tag: str) -> None:
        path = self._tags / tag
        with store_errors(path):
            _make_folder(self._tags)
            atomic_write(path, digest.encode())

    def _referrer(self, subject: Digest, digest: Digest) -> Path:
        name = f"{digest.algorithm}-{digest.hex}"
        return self._referrers / subject.algorithm / subject.hex / name

    def _remove(self, path: Path, what: str) -> None:
        with store_errors(path):
            try:
                os.unlink(path)
            except (FileNotFoundError, NotADirectoryError):
                raise NotFoundError(what, self.name) from None
            fsync_directory(path.parent)


def _visible(folder: Path) -> list[str]:
    try:
        return [name for name in os.listdir(folder) if not name.startswith(".")]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _make_folder(path: Path) -> None:
    """Make a folder and those above it, so that they survive a power cut."""
    if path.is_dir():
        return
    _make_folder(path.parent)
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, 0o700)
    fsync_directory(path.parent)
