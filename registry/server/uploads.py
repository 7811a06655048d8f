"""Uploads: sessions that are files, so that one which broke off goes on, even after a restart.

A session is the file `_uploads/ID` of its repository; how long it is says how much has come. What is
kept in memory is only the hash so far, which is made again from the file when it is not there.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
import secrets
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from registry.errors import DigestMismatchError
from registry.files import store_errors, write_all
from registry.oci.digest import Digest
from registry.server.messages import ApiError, Body
from registry.server.storage import Repository

MAX_SESSIONS = 1000
"""Open uploads of one repository."""

BLOCK = 256 * 1024
_ID = re.compile(r"[0-9a-f]{32}", re.ASCII)
_ALGORITHMS = ("sha256", "sha512")


@dataclass(slots=True)
class _Session:
    """What is known of an upload besides its file."""

    algorithm: str
    lock: threading.Lock = field(default_factory=threading.Lock)
    turn: int = 0
    """Counts requests that write; the newest goes on, for the older ones' clients have left."""
    hash: Any = None
    hashed: int = 0
    """Bytes that ``hash`` has seen; it is of use only if that is the whole file."""


class Uploads:
    """The uploads of all repositories.

    At most ``at_once`` requests write at a time, and no blob has more than ``max_bytes``.
    """

    def __init__(self, *, at_once: int, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._slots = threading.BoundedSemaphore(at_once)
        self._sessions: dict[Path, _Session] = {}
        self._lock = threading.Lock()

    def start(self, repository: Repository, algorithm: str = "sha256") -> str:
        """Begin an upload, hashed by ``algorithm`` on its way; return its id.

        Raises:
            ApiError: too many are open, or nobody knows that algorithm. StoreError
        """
        if algorithm not in _ALGORITHMS:
            raise ApiError(400, "UNSUPPORTED", "digests are sha256 or sha512")
        repository.prepare()
        with store_errors(repository.uploads):
            repository.uploads.mkdir(mode=0o700, exist_ok=True)
            if len(os.listdir(repository.uploads)) >= MAX_SESSIONS:
                raise _too_many(f"{MAX_SESSIONS} uploads to {repository.name} are open")
            upload = secrets.token_hex(16)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            os.close(os.open(repository.uploads / upload, flags, 0o600))
        self._session(repository.uploads / upload).algorithm = algorithm
        return upload

    def size(self, repository: Repository, upload: str) -> int:
        """Return the number of bytes that have come.

        Raises:
            ApiError: no such upload in this repository.
        """
        try:
            return os.stat(_path(repository, upload)).st_size
        except (FileNotFoundError, NotADirectoryError):
            raise _unknown() from None

    def append(self, repository: Repository, upload: str, body: Body, place: Place) -> int:
        """Write ``body`` where it belongs; return the size of the upload now.

        What has come before an error stays, so that the client can go on from there.

        Raises:
            ApiError: no such upload, the wrong place, too large, or somebody else goes on with it.
            BrokenBodyError, TimeoutError, StoreError
        """
        with self.slot(), self._opened(repository, upload) as (file, session):
            return self._append(session, file, body, place)

    def finish(
        self, repository: Repository, upload: str, body: Body, place: Place, digest: Digest
    ) -> None:
        """Write ``body`` and make the upload a blob of ``repository``, if it has ``digest``.

        Raises:
            ApiError: as `append`.
            DigestMismatchError: other bytes; the upload is gone.
            BrokenBodyError, TimeoutError, StoreError
        """
        path = _path(repository, upload)
        with self.slot(), self._opened(repository, upload) as (file, session):
            if not session.hashed:
                session.algorithm = digest.algorithm
            size = self._append(session, file, body, place)
            with session.lock:
                session.turn += 1
                got = _hash(session, file, size, digest.algorithm)
                if got == digest:
                    repository.add_file(file.fileno(), path, digest)
        self._forget(path)
        if got != digest:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            raise DigestMismatchError(digest, got, "upload")

    def cancel(self, repository: Repository, upload: str) -> None:
        """Forget an upload.

        Raises:
            ApiError: no such upload in this repository. StoreError
        """
        path = _path(repository, upload)
        with store_errors(path):
            try:
                os.unlink(path)
            except (FileNotFoundError, NotADirectoryError):
                raise _unknown() from None
        self._forget(path)

    def _append(self, session: _Session, file: io.FileIO, body: Body, place: Place) -> int:
        with session.lock:
            session.turn += 1
            turn = session.turn
            size = file.seek(0, os.SEEK_END)
            if place.start is not None and place.start != size:
                raise ApiError(
                    416,
                    "BLOB_UPLOAD_INVALID",
                    f"the next byte is number {size}",
                    headers={"Range": range_of(size)},
                )
            if body.length is not None:
                self._check_limit(size + body.length)
            if size == session.hashed == 0:
                session.hash = hashlib.new(session.algorithm)
        received = 0
        while data := body.read(BLOCK):
            received += len(data)
            self._check_limit(size + len(data))
            if place.length is not None and received > place.length:
                raise _wrong_length(place.length)
            with session.lock:
                if session.turn != turn:
                    raise ApiError(
                        409, "BLOB_UPLOAD_INVALID", "another request goes on with it", headers={}
                    )
                with store_errors(Path(str(file.name))):
                    write_all(file, data)
                if session.hash is not None and session.hashed == size:
                    session.hash.update(data)
                    session.hashed += len(data)
                size += len(data)
        if place.length is not None and received != place.length:
            raise _wrong_length(place.length)
        return size

    def _check_limit(self, size: int) -> None:
        if size > self.max_bytes:
            raise ApiError(
                413, "SIZE_INVALID", f"blobs here may have {self.max_bytes} bytes at most"
            )

    @contextlib.contextmanager
    def slot(self) -> Iterator[None]:
        """Take one of the places for requests that upload, for the `with` block.

        Raises:
            ApiError: none is free.
        """
        if not self._slots.acquire(timeout=1):
            raise _too_many("too many uploads at a time")
        try:
            yield
        finally:
            self._slots.release()

    @contextlib.contextmanager
    def _opened(self, repository: Repository, upload: str) -> Iterator[tuple[io.FileIO, _Session]]:
        path = _path(repository, upload)
        with store_errors(path):
            try:
                file = open(path, "r+b", buffering=0)  # noqa: SIM115 - closed below
            except (FileNotFoundError, NotADirectoryError):
                raise _unknown() from None
        with file:
            yield file, self._session(path)

    def _session(self, path: Path) -> _Session:
        with self._lock:
            return self._sessions.setdefault(path, _Session("sha256"))

    def _forget(self, path: Path) -> None:
        with self._lock:
            self._sessions.pop(path, None)

    def forget_removed(self) -> None:
        """Forget what is known of uploads whose files are gone."""
        with self._lock:
            for path in [path for path in self._sessions if not path.exists()]:
                del self._sessions[path]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a piece of an upload belongs, as far as the client says."""

    start: int | None = None
    """The number of its first byte; None is wherever the upload ends."""
    length: int | None = None


def range_of(size: int) -> str:
    """Return the Range header of an upload of ``size`` bytes; an empty one has a byte too many."""
    return f"0-{max(size - 1, 0)}"


def _hash(session: _Session, file: io.FileIO, size: int, algorithm: str) -> str:
    """Return the digest of the whole file."""
    if session.hash is None or session.hashed != size or session.hash.name != algorithm:
        file.seek(0)
        return f"{algorithm}:{hashlib.file_digest(file, algorithm).hexdigest()}"
    return f"{algorithm}:{session.hash.hexdigest()}"


def _path(repository: Repository, upload: str) -> Path:
    if not _ID.fullmatch(upload):
        raise _unknown()
    return repository.uploads / upload


def _unknown() -> ApiError:
    return ApiError(404, "BLOB_UPLOAD_UNKNOWN", "no such upload in this repository")


def _wrong_length(length: int) -> ApiError:
    return ApiError(400, "SIZE_INVALID", f"Content-Range speaks of {length} bytes")


def _too_many(message: str) -> ApiError:
    return ApiError(429, "TOOMANYREQUESTS", message, headers={"Retry-After": "1"})
