"""Files fetched by HTTP for ADD and build contexts: kept by URL, and fetched again only when they change.

Below ``root``: a record a URL, and the files themselves by digest. A record says what the server said
of the file (ETag, Last-Modified), with which it is asked the next time whether that still holds.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from registry.blobs import BlobDirectory, BlobWriter
from registry.compress import decompressing
from registry.errors import RegistryError, StoreError, UnreachableError
from registry.files import atomic_write, store_errors
from registry.oci.digest import Digest, sha256
from wcbuild.errors import CancelledError, RemoteError
from wcbuild.graph.urls import without_secrets

if TYPE_CHECKING:
    from registry.remote.transport import Response, Transport

MAX_DOWNLOAD_BYTES = 64 * 1024**3
"""A file; nobody means to add more, and a server must not be able to fill any disk."""

_FOUND = {*range(200, 300)} - {206}
"""Statuses with which the file comes; 206 would be a part, which nobody asked for."""
_NOT_MODIFIED = 304
_WHO_ASKS = (401, 403)
_BLOCK = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Download:
    """A file that was fetched and lies in the store."""

    path: Path
    digest: Digest
    """sha256."""
    size: int
    """Bytes."""
    modified: int
    """What Last-Modified says, in seconds since 1970; 0 if there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Record:
    digests: tuple[Digest, ...]
    """The file's sha256, then others that somebody asked for."""
    size: int
    modified: int
    etag: str
    last_modified: str
    """The header as it came."""


class Downloads:
    """Fetches files into ``root``; safe to use from several threads and processes.

    ``transport`` is made when the first request is sent. ``secrets`` by id: `HTTP_AUTH_HEADER_HOST` is an
    Authorization header for that host and no other, `HTTP_AUTH_TOKEN_HOST` a bearer token.
    """

    def __init__(
        self, root: Path, transport: Callable[[], Transport], secrets: Mapping[str, bytes]
    ) -> None:
        self._root = root
        self._files = BlobDirectory(root / "files", ingest=root / "ingest", durable=False)
        self._make_transport = transport
        self._transport: Transport | None = None
        self._secrets = secrets
        self._lock = threading.Lock()

    def find(self, url: str, checksum: str) -> Download | None:
        """Return the file if it is here and has the digest ``checksum``: then nobody need be asked."""
        record = self._read(url) if checksum else None
        return self._download(record) if record and checksum in record.digests else None

    def fetch(self, url: str, checksum: str, cancel: threading.Event) -> Download:
        """Return the file as the server has it now; its bytes come only if they are not here.

        Raises:
            RemoteError: it cannot be had, or does not have the digest ``checksum`` (may be empty).
            CancelledError: ``cancel`` was set.
            StoreError: the disk refused.
        """
        found = self.find(url, checksum)
        if found is not None:
            return found
        try:
            return self._fetch(url, checksum, cancel)
        except StoreError:
            raise
        except UnreachableError as error:
            raise RemoteError(without_secrets(url), f"{error.host}: {error.reason}") from error
        except RegistryError as error:
            raise RemoteError(without_secrets(url), str(error)) from error

    def _fetch(
        self, url: str, checksum: str, cancel: threading.Event, *, anew: bool = False
    ) -> Download:
        """Fetch a file; ``anew`` whatever is known of it."""
        from registry.remote.transport import after_tries  # noqa: PLC0415 - HTTP takes long to import

        transport = self._connected()
        known = None if anew else self._read(url)
        target, headers = self._request(url)
        if known is not None:
            if known.etag:
                headers["If-None-Match"] = known.etag
            if known.last_modified:
                headers["If-Modified-Since"] = known.last_modified
        backoff = transport.backoff()
        while True:
            if cancel.is_set():
                raise CancelledError
            try:
                response = transport.retrying(
                    lambda: transport.exchange("GET", target, headers=headers)
                )
                return self._take(response, url, checksum, known, cancel)
            except UnreachableError as error:
                # The body broke off.
                if not error.transient or not backoff.wait():
                    raise after_tries(error, backoff.tries) from error

    def _take(
        self,
        response: Response,
        url: str,
        checksum: str,
        known: _Record | None,
        cancel: threading.Event,
    ) -> Download:
        """Make an answer a file in the store."""
        if known is not None:
            now = _strong(response.headers.get("ETag", ""))
            same = now == _strong(known.etag)
            if response.status == _NOT_MODIFIED and now and not same:
                # Of something else, then, than what we have.
                response.discard()
                return self._fetch(url, checksum, cancel, anew=True)
            # Not every server heeds If-None-Match.
            if response.status == _NOT_MODIFIED or (response.status in _FOUND and now and same):
                response.discard()
                if checksum and checksum not in known.digests:
                    known = self._with_checksum(known, checksum, url)
                return self._download(known)
        if response.status not in _FOUND:
            response.discard()
            answer = f"{response.host} answered {response.status}"
            raise RemoteError(without_secrets(url), answer + self._hint(url, response))
        hashing = hashlib.new(Digest(checksum).algorithm) if checksum else None
        try:
            with self._files.create() as writer:
                size = _receive(response, writer, hashing, cancel)
                digests = (
                    [] if hashing is None else [Digest(f"{hashing.name}:{hashing.hexdigest()}")]
                )
                if checksum and checksum not in digests:
                    raise _mismatch(url, checksum, digests[0])
                digest, _ = writer.commit()
        finally:
            response.close()
        header = response.headers.get
        record = _Record(
            digests=(digest, *(other for other in digests if other != digest)),
            size=size,
            modified=_seconds(header("Last-Modified", "")),
            etag=header("ETag", ""),
            last_modified=header("Last-Modified", ""),
        )
        self._write(url, record)
        return self._download(record)

    def _hint(self, url: str, response: Response) -> str:
        """Return which secret may help where the host of ``url`` wants to know who asks, or nothing."""
        target, headers = self._request(url)
        if response.status not in _WHO_ASKS or headers or f"//{response.host}/" not in f"{target}/":
            return ""
        return (
            f" (--secret id=HTTP_AUTH_TOKEN_{response.host},src=FILE gives a bearer token for it)"
        )

    def _with_checksum(self, known: _Record, checksum: str, url: str) -> _Record:
        """Return what is known of a file, and that it has the digest ``checksum``."""
        algorithm = Digest(checksum).algorithm
        with open(self._files.path(known.digests[0]), "rb") as file:
            got = Digest(f"{algorithm}:{hashlib.file_digest(file, algorithm).hexdigest()}")
        if got != checksum:
            raise _mismatch(url, checksum, got)
        record = _Record(
            digests=(*known.digests, got),
            size=known.size,
            modified=known.modified,
            etag=known.etag,
            last_modified=known.last_modified,
        )
        self._write(url, record)
        return record

    def _connected(self) -> Transport:
        with self._lock:
            if self._transport is None:
                self._transport = self._make_transport()
            return self._transport

    def _request(self, url: str) -> tuple[str, dict[str, str]]:
        """Return the URL to ask, without user and password, and the headers that speak for the user."""
        from urllib.parse import unquote_to_bytes, urlsplit  # noqa: PLC0415 - see above

        parts = urlsplit(url)
        user, at, host = parts.netloc.rpartition("@")
        parts = parts._replace(netloc=host, fragment="")
        header = b""
        if at:
            header = b"Basic " + base64.b64encode(unquote_to_bytes(user))
        for name in (host, parts.hostname or ""):
            if token := self._secrets.get(f"HTTP_AUTH_TOKEN_{name}"):
                header = b"Bearer " + token.strip()
            if value := self._secrets.get(f"HTTP_AUTH_HEADER_{name}"):
                header = value.strip()
        return parts.geturl(), {"Authorization": header.decode("latin-1")} if header else {}

    # -- what is on the disk

    def _download(self, record: _Record) -> Download:
        return Download(
            path=self._files.path(record.digests[0]),
            digest=record.digests[0],
            size=record.size,
            modified=record.modified,
        )

    def _place(self, url: str) -> Path:
        return self._root / sha256(url.encode("utf-8", "surrogateescape")).hex

    def _read(self, url: str) -> _Record | None:
        """Return what is known of a URL; a record that cannot be read, or has no file, is none."""
        try:
            data = json.loads(self._place(url).read_bytes())
            record = _Record(
                digests=tuple(Digest(each) for each in data["digests"]),
                size=int(data["size"]),
                modified=int(data["modified"]),
                etag=str(data["etag"]),
                last_modified=str(data["lastModified"]),
            )
            whole = self._files.path(record.digests[0]).stat().st_size == record.size
        except (OSError, ValueError, KeyError, TypeError, IndexError, RegistryError):
            return None
        return record if whole else None

    def _write(self, url: str, record: _Record) -> None:
        data = {
            "url": without_secrets(url),
            "digests": record.digests,
            "size": record.size,
            "modified": record.modified,
            "etag": record.etag,
            "lastModified": record.last_modified,
        }
        with store_errors(self._root):
            atomic_write(self._place(url), json.dumps(data).encode(), durable=False)


def sweep(root: Path) -> int:
    """Delete files that no record leads to any more; return bytes freed.

    The caller holds the store exclusively: another build may use a file that changed at its server.
    """
    files = BlobDirectory(root / "files", ingest=root / "ingest")
    freed = files.sweep()
    needed = set()
    for path in root.glob("?" * 64):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            needed.update(json.loads(path.read_bytes())["digests"])
    for digest in files:
        if digest not in needed:
            freed += files.path(digest).stat().st_size
            files.remove(digest)
    return freed


class _Body(io.RawIOBase):
    """The body of an answer as a stream."""

    def __init__(self, response: Response) -> None:
        self._response = response

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # typeshed: WriteableBuffer
        return self._response.readinto(buffer)


def _receive(
    response: Response, writer: BlobWriter, hashing: hashlib._Hash | None, cancel: threading.Event
) -> int:
    """Write the body of an answer, and return how much it was.

    What a server compressed for the road, though it was not asked to, is what it was before.
    """
    length = response.headers.get("Content-Length", "")
    encoded = response.headers.get("Content-Encoding", "").lower() == "gzip"
    read: Callable[[int], bytes] = response.read1
    if encoded:
        body = io.BufferedReader(_Body(response))
        read = decompressing(body, "gzip", response.request).read
    size = 0
    while data := read(_BLOCK):
        if cancel.is_set():
            raise CancelledError
        size += writer.write(data)
        if size > MAX_DOWNLOAD_BYTES:
            raise RemoteError(response.request, f"more than {MAX_DOWNLOAD_BYTES} bytes")
        if hashing is not None:
            hashing.update(data)
    if length.isdecimal() and int(length) != size and not encoded:
        reason = f"{size} of {length} bytes received"
        raise UnreachableError(response.host, reason)
    return size


def _strong(etag: str) -> str:
    """Return a tag of a file without the mark that says it may be of one that is merely alike."""
    return etag.removeprefix("W/")


def _mismatch(url: str, expected: str, got: Digest) -> RemoteError:
    return RemoteError(without_secrets(url), f"expected checksum {expected}, received {got}")


def _seconds(date: str) -> int:
    """Return a date of HTTP in seconds since 1970; 0 for nonsense."""
    from email.utils import parsedate_to_datetime  # noqa: PLC0415 - see above

    try:
        return max(0, int(parsedate_to_datetime(date).timestamp()))
    except (ValueError, OverflowError):
        return 0
