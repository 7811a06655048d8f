"""Writing one blob: a session at the registry, continued from what the registry already has.

Spec: https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pushing-blobs
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
from collections.abc import Iterable, Iterator
from typing import BinaryIO
from urllib.parse import quote, urlsplit

from registry.errors import (
    DigestMismatchError,
    ProtocolError,
    RegistryError,
    SizeMismatchError,
    UnreachableError,
)
from registry.oci.descriptor import Descriptor
from registry.oci.digest import Digest
from registry.remote.api import PULL, PUSH, Api
from registry.remote.errors import error_codes
from registry.remote.transport import BLOCK, RETRIED, Block, Body, Response, after_tries
from registry.streams import FileSlice, Layered, file_below, read_into

_PROGRESS = 1024 * 1024
"""Bytes stored since the last broken connection after which tries are counted anew."""

_MONOLITHIC_BYTES = 1024 * 1024
"""What is larger goes by PATCH, and the PUT that ends it is empty, as docker's own client has it: what
a PATCH brought is there to go on from, while a PUT that breaks off may end the session."""

_SLICE = 1024 * 1024
"""Of a local file that is sent at once: enough that asking for the next costs nothing, and small enough
to show progress."""

_RANGE = re.compile(r"(?:bytes=)?0-([0-9]{1,19})", re.ASCII)
_CANCEL_TIMEOUT_S = 2.0
_OCTETS = {"Content-Type": "application/octet-stream"}
_OK, _CREATED, _ACCEPTED, _NO_CONTENT = 200, 201, 202, 204
_NOT_FOUND, _TOO_LARGE, _RANGE_NOT_SATISFIABLE = 404, 413, 416
_PARTS = (64 * 1024 * 1024, 8 * 1024 * 1024, 1024 * 1024)
"""Sizes tried, one after the other, where a proxy refuses a large body; nginx's own limit is the last."""


def put_blob(api: Api, stream: BinaryIO, expected: Descriptor, session: str = "") -> None:
    """Upload ``stream``, which has the digest and size of ``expected``.

    ``session`` is an upload that was begun already. A stream that can `seek` back to where it is now
    is read again after a broken connection, and only what the registry lacks is sent again.

    Raises:
        DigestMismatchError, SizeMismatchError: other bytes; the registry has stored nothing.
        UnauthorizedError, UnreachableError, ProtocolError
        Exception: whatever reading ``stream`` raises.
    """
    upload = _Upload(api, f"blob {expected.digest}", session)
    with upload.cancelled_on_error():
        upload.send(_Rewinding(stream, expected, api.registry), expected)


def put_new_blob(api: Api, stream: BinaryIO, media_type: str) -> Descriptor:
    """Upload ``stream``, whose digest and size nobody knows before its end, and describe it.

    A stream that can `seek` back to where it is now is sent again after a broken connection.

    Raises: as `put_blob`.
    """
    upload = _Upload(api, f"a new blob of {api.repository}")
    with upload.cancelled_on_error():
        return upload.send_new(_Hashing(stream, api.registry), media_type)


class _Rewinding:
    """Bytes of known size, given from any offset, again if their stream can go back to its start."""

    def __init__(self, stream: BinaryIO, expected: Descriptor, registry: str) -> None:
        self._stream = stream
        self._size = expected.size
        self._what = f"blob {expected.digest}"
        self._registry = registry
        self._start = stream.tell() if stream.seekable() else None
        self._position = 0
        self.failure: Exception | None = None
        """What reading raised: HTTP libraries hide it among their own errors."""

    def can_go_to(self, offset: int) -> bool:
        """Say whether `body` can begin at ``offset``."""
        return self._start is not None or self._position == offset

    def body(self, offset: int, end: int) -> Body:
        """Return the bytes from ``offset`` to ``end``.

        Raises: whatever reading raises, if there are none.
        """
        if offset < end:
            return lambda: _Sized(self._blocks(offset, end), end - offset)
        # An empty body has to be empty bytes: a length of 0 would be taken for an unknown one.
        for _ in self._blocks(offset, end):
            pass  # nothing comes, but the stream sees its end
        return b""

    def _blocks(self, offset: int, end: int) -> Iterator[Block]:
        try:
            if local := file_below(self._stream):
                yield from self._slices(*local, offset, end)
            else:
                yield from self._verified(offset, end)
        except Exception as error:
            self.failure = error
            raise

    def _slices(
        self, file: io.FileIO, begin: int, between: tuple[Layered, ...], offset: int, end: int
    ) -> Iterator[Block]:
        """Yield parts of a local file, which nobody reads here: the registry verifies its digest."""
        start = begin + (self._start or 0)
        size = os.fstat(file.fileno()).st_size - start
        if size != self._size:
            raise SizeMismatchError(self._size, size, self._what)
        for position in range(offset, end, _SLICE):
            length = min(_SLICE, end - position)
            yield FileSlice(file, start + position, length)
            self._position = position + length
            for layer in between:
                layer.passed(length)

    def _verified(self, offset: int, end: int) -> Iterator[Block]:
        """Yield one block behind what was read: the last goes out when the stream has ended well."""
        self._go_to_start_unless(offset)
        held = memoryview(b"")
        buffer, other = memoryview(bytearray(BLOCK)), memoryview(bytearray(BLOCK))
        to_the_end = end == self._size
        while to_the_end or self._position < end:
            wanted = BLOCK if to_the_end else min(BLOCK, end - self._position)
            size = read_into(self._stream, buffer[:wanted])
            if not size:
                break
            fresh = buffer[max(0, offset - self._position) : size]
            self._position += size
            if self._position > self._size:
                raise SizeMismatchError(self._size, self._position, self._what)
            if held:
                yield held
            held = fresh
            buffer, other = other, buffer
        if self._position != end:
            raise SizeMismatchError(self._size, self._position, self._what)
        if held:
            yield held

    def _go_to_start_unless(self, offset: int) -> None:
        if self._position == offset:
            return
        if self._start is None:
            raise _cannot_send_twice(self._registry)
        # Through the beginning, because a stream that verifies has to see every byte.
        self._stream.seek(self._start)
        self._position = 0


class _Sized:
    """Blocks whose total length is known, as an HTTP body."""

    def __init__(self, blocks: Iterable[Block], size: int) -> None:
        self._blocks = blocks
        self._size = size

    def __iter__(self) -> Iterator[Block]:
        return iter(self._blocks)

    def __len__(self) -> int:
        return self._size


class _Hashing:
    """Bytes of unknown size, all of them, again if their stream can go back to its start."""

    def __init__(self, stream: BinaryIO, registry: str) -> None:
        self._stream = stream
        self._registry = registry
        self._start = stream.tell() if stream.seekable() else None
        self._hash = hashlib.sha256()
        self.size = 0
        self.failure: Exception | None = None
        """What reading raised: HTTP libraries hide it among their own errors."""

    @property
    def digest(self) -> Digest:
        """The digest of what was given."""
        return Digest(f"sha256:{self._hash.hexdigest()}")

    def can_begin(self) -> bool:
        """Say whether `body` can give all the bytes."""
        return self._start is not None or not self.size

    def body(self) -> Iterator[Block]:
        """Yield the blocks from the first to the last."""
        try:
            yield from self._read()
        except Exception as error:
            self.failure = error
            raise

    def _read(self) -> Iterator[Block]:
        if self.size:
            if self._start is None:
                raise _cannot_send_twice(self._registry)
            self._stream.seek(self._start)
            self._hash, self.size = hashlib.sha256(), 0
        buffer = memoryview(bytearray(BLOCK))
        while size := read_into(self._stream, buffer):
            self._hash.update(buffer[:size])
            self.size += size
            yield buffer[:size]


class _Upload:
    """One session at a time, from POST to the PUT that gives the blob its digest."""

    def __init__(self, api: Api, what: str, session: str = "") -> None:
        self._api = api
        self._what = what
        self._location = session
        """Always the latest one: it may carry the registry's own state."""
        self._resumed = False
        self._part = 0
        """Bytes sent at once, for who refuses more; 0 is no limit."""
        self._least_part = 0
        self._backoff = api.transport.backoff()

    def send(self, source: _Rewinding, expected: Descriptor) -> None:
        """Send all of ``source``, in as many tries as it takes; see `put_blob`."""
        offset = 0
        while True:
            if not self._location:
                self._begin(expected.digest.algorithm)
            error, retry_after = self._put(source, offset, expected)
            if source.failure is not None:
                raise source.failure from error
            if error is None:
                break
            self._pause(error, retry_after)
            if self._has(expected):  # stored, and only the answer was lost
                break
            stored = self._stored()
            if stored > expected.size:
                self._location, stored = "", 0
            if stored - offset >= _PROGRESS:
                self._backoff = self._api.transport.backoff()
            offset = stored
            if not source.can_go_to(offset):
                raise error
        self._location = ""

    def send_new(self, source: _Hashing, media_type: str) -> Descriptor:
        """Send all of ``source`` as one request in chunks; see `put_new_blob`."""
        while True:
            self._begin("sha256")
            error: RegistryError
            retry_after = None
            try:
                response = self._request("PATCH", self._location, body=source.body, retry=False)
            except UnreachableError as broken:
                if source.failure is not None or not broken.transient:
                    raise source.failure or broken from broken
                error = broken
            else:
                if response.status in (_ACCEPTED, _NO_CONTENT):
                    self._follow(response)
                    response.discard()
                    return self._name(source, media_type)
                error = self._refused(response)
                if response.status == _TOO_LARGE:
                    # In parts it may go, and they can be sent again, once the digest is known.
                    raise UnreachableError(self._api.registry, str(error), transient=False)
                if response.status not in RETRIED:
                    raise error
                retry_after = response.headers.get("Retry-After")
            if not source.can_begin():
                raise error
            self.cancel()
            self._pause(error, retry_after)

    def _name(self, source: _Hashing, media_type: str) -> Descriptor:
        """End the session that has all of ``source`` with the digest that is now known."""
        new = Descriptor(media_type=media_type, digest=source.digest, size=source.size)
        response = self._request("PUT", self._named(new.digest), body=b"")
        if response.status != _CREATED and not self._has(new):
            raise self._refused(response)
        response.discard()
        self._location = ""
        return new

    @contextlib.contextmanager
    def cancelled_on_error(self) -> Iterator[None]:
        """Cancel the session on any error, also on an interrupt."""
        try:
            yield
        except BaseException:
            self.cancel()
            raise

    def cancel(self) -> None:
        """Tell the registry that the rest will not come; it need not answer."""
        if self._location:
            with contextlib.suppress(RegistryError):
                self._request(
                    "DELETE", self._location, retry=False, timeout_s=_CANCEL_TIMEOUT_S
                ).discard()
            self._location = ""

    def _begin(self, algorithm: str) -> None:
        hint = "" if algorithm == "sha256" else f"?digest-algorithm={algorithm}"
        response = self._request("POST", self._api.url(f"blobs/uploads/{hint}"))
        if response.status != _ACCEPTED:
            raise self._refused(response)
        self._follow(response)
        least = response.headers.get("OCI-Chunk-Min-Length", "")
        self._least_part = int(least) if re.fullmatch(r"[0-9]{1,12}", least) else 0
        self._resumed = False
        response.discard()

    def _put(
        self, source: _Rewinding, offset: int, expected: Descriptor
    ) -> tuple[RegistryError | None, str | None]:
        """Send what is left; return None for success, or what may heal and its Retry-After.

        Raises:
            RegistryError: what will not heal.
        """
        parts = self._part or expected.size
        while expected.size - offset > min(parts, _MONOLITHIC_BYTES):
            end = min(offset + parts, expected.size)
            failed = self._send_part("PATCH", source, offset, end, expected)
            if failed[0] is not None:
                return failed
            offset = end
        return self._send_part("PUT", source, offset, expected.size, expected)

    def _send_part(
        self, method: str, source: _Rewinding, offset: int, end: int, expected: Descriptor
    ) -> tuple[RegistryError | None, str | None]:
        url = self._named(expected.digest) if method == "PUT" else self._location
        headers = {}
        if offset < end and (offset or end < expected.size):
            headers["Content-Range"] = f"{offset}-{end - 1}"
        try:
            body = source.body(offset, end)
            response = self._request(method, url, headers, body, retry=False)
        except UnreachableError as broken:
            if source.failure is None and not broken.transient:
                raise
            return broken, None
        if response.status == (_CREATED if method == "PUT" else _ACCEPTED):
            if method == "PATCH":
                self._follow(response)
            response.discard()
            return None, None
        error = self._refused(response)
        if response.status in RETRIED:
            return error, response.headers.get("Retry-After")
        if response.status in (_NOT_FOUND, _RANGE_NOT_SATISFIABLE):
            # Not the blob but the session is unknown, or stands elsewhere than we thought.
            codes, words = error_codes(response.content)
            return ProtocolError(
                response.request, response.status, codes, words, what=self._what
            ), None
        if response.status == _TOO_LARGE and self._send_less(end - offset):
            return error, None
        if not isinstance(error, ProtocolError) or "DIGEST_INVALID" not in error.codes:
            raise error
        error = DigestMismatchError(expected.digest, "other bytes, says the registry", self._what)
        if not self._resumed:
            raise error
        self._location = ""  # perhaps it counted wrongly while the connection broke
        return error, None

    def _send_less(self, refused: int) -> bool:
        """Choose smaller parts than that of ``refused`` bytes; False if there are none."""
        smaller = (size for size in _PARTS if self._least_part <= size < refused)
        self._part = next(smaller, 0)
        return self._part > 0

    def _refused(self, response: Response) -> RegistryError:
        """Return what a refusal means; its URL has a session's name in it, and not the blob's."""
        error = self._api.error(response, self._what)
        if isinstance(error, ProtocolError):
            error.what = self._what
        return error

    def _stored(self) -> int:
        """Ask how many bytes the registry has of the session; forget a session that is gone."""
        if not self._location:
            return 0
        response = self._request("GET", self._location)
        if response.status not in (_NO_CONTENT, _OK, _ACCEPTED):
            response.discard()
            self._location = ""
            return 0
        self._resumed = True
        stated = _RANGE.fullmatch(response.headers.get("Range", ""))
        self._follow(response)
        response.discard()
        # "0-0" is said for nothing and for one byte. One byte is soon sent again, and a wrong guess
        # shows in the digest.
        return int(stated[1]) + 1 if stated and stated[1] != "0" else 0

    def _pause(self, error: RegistryError, retry_after: str | None) -> None:
        if not self._backoff.wait(retry_after):
            if isinstance(error, UnreachableError):
                failed = UnreachableError(error.host, f"{error.reason}; {self._what}")
                raise after_tries(failed, self._backoff.tries) from error
            if isinstance(error, ProtocolError):
                error.tries = self._backoff.tries
            raise error

    def _has(self, expected: Descriptor) -> bool:
        url = self._api.url(f"blobs/{expected.digest}")
        try:
            response = self._api.request("HEAD", url, actions=PULL)
        except RegistryError:
            return False
        response.discard()
        return response.status == _OK

    def _follow(self, response: Response) -> None:
        """Go on at the Location of ``response``, or where we are if it names none."""
        location = response.headers.get("Location")
        if location:
            self._location = self._api.follow(response, location)
        elif not self._location:
            raise ProtocolError(response.request, response.status, (), "there is no Location in it")

    def _named(self, digest: Digest) -> str:
        """Return the session's URL with the digest that ends it."""
        separator = "&" if urlsplit(self._location).query else "?"
        return f"{self._location}{separator}digest={quote(digest, safe='')}"

    def _request(
        self,
        method: str,
        url: str,
        headers: dict[str, str] | None = None,
        body: Body | None = None,
        *,
        retry: bool = True,
        timeout_s: float | None = None,
    ) -> Response:
        if body is not None:
            headers = _OCTETS | (headers or {})
            timeout_s = self._api.transport.settings.commit_timeout_s
        return self._api.request(
            method,
            url,
            actions=PUSH,
            headers=headers,
            body=body,
            retry=retry,
            timeout_s=timeout_s,
        )


def _cannot_send_twice(registry: str) -> UnreachableError:
    return UnreachableError(
        registry,
        "the upload broke off and its bytes cannot be read a second time",
        transient=False,
    )
