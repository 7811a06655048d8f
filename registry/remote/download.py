"""Reading one blob: from where it broke off, through the registry again, as often as it makes progress."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping
from typing import BinaryIO
from urllib.parse import urlsplit

from registry.errors import RegistryError, SizeMismatchError, UnreachableError
from registry.oci.descriptor import Descriptor
from registry.remote.api import PULL, Api
from registry.remote.transport import (
    RETRIED,
    Response,
    Transport,
    after_tries,
    check_url,
)
from registry.streams import Rewindable, read_into

_PROGRESS = 1024 * 1024
"""Bytes since the last broken connection after which tries are counted anew."""

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19}|\*)", re.ASCII)
_OK, _PARTIAL, _RANGE_NOT_SATISFIABLE = 200, 206, 416


class BlobBody(Rewindable):
    """The bytes of ``descriptor`` from ``offset`` on as they are sent, unverified.

    `seek(0)` starts again with the blob's first byte. After a broken connection it asks for the rest
    with Range. A registry that answers with everything is read from the start and the bytes that
    were handed out already are dropped, so what comes out is one run of bytes, whose digest the
    reader above decides about.

    Raises (from the constructor and read):
        NotFoundError, UnauthorizedError, ProtocolError, UnreachableError
        SizeMismatchError: the registry announced another length.
    """

    def __init__(
        self, api: Api | ForeignUrl, descriptor: Descriptor, url: str, offset: int = 0
    ) -> None:
        super().__init__(offset)
        self._api = api
        self._size = descriptor.size
        self._what = f"blob {descriptor.digest}"
        self._url = url
        self._skip = 0
        self._ranges = True
        self._response: Response | None = None
        self._backoff = api.transport.backoff()
        self._broke_at = offset
        self._connected()

    def restart(self) -> None:
        """Ask anew, from the first byte on."""
        self._drop()
        self._broke_at = 0

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # typeshed: WriteableBuffer
        """Read into ``buffer``; 0 at the end."""
        buffer = memoryview(buffer)  # a slice of a bytearray would be a copy
        while True:
            response = self._connected()
            try:
                # What was handed out already is not wanted again.
                size = response.readinto(buffer[: self._skip] if self._skip else buffer)
            except UnreachableError as error:
                if self._position >= self._size:
                    return 0  # only the end of the transfer was lost
                self._broken(error)
                continue
            if not size and self._position < self._size:
                self._broken(UnreachableError(response.host, "the connection was closed"))
                continue
            if self._skip:
                self._skip -= size
                continue
            self._position += size
            return size

    def close(self) -> None:
        """End the transfer."""
        self._drop()
        super().close()

    def _drop(self) -> None:
        if self._response is not None:
            self._response.close()
            self._response = None

    def _connected(self) -> Response:
        while self._response is None:
            try:
                self._response = self._request()
            except UnreachableError as error:
                self._broken(error)
        return self._response

    def _broken(self, error: UnreachableError) -> None:
        """Wait before the next try, or give up."""
        self._drop()
        if self._position - self._broke_at >= _PROGRESS:
            self._backoff = self._api.transport.backoff()
        self._broke_at = self._position
        if not error.transient or not self._backoff.wait():
            where = f"{self._position} of {self._size} bytes of {self._what} received"
            failed = UnreachableError(error.host, f"{error.reason}; {where}")
            raise after_tries(failed, self._backoff.tries) from error

    def _request(self) -> Response:
        """Ask for the blob from the current offset on."""
        ranged = self._position > 0 and self._ranges
        response = self._api.request(
            "GET",
            self._url,
            actions=PULL,
            headers={"Range": f"bytes={self._position}-"} if ranged else None,
            retry=not self._position,
        )
        if response.status == _OK:
            length = response.headers.get("Content-Length", "")
            if length.isdigit() and int(length) != self._size:
                response.close()
                raise SizeMismatchError(self._size, int(length), self._what)
            self._skip = self._position
            return response
        if response.status == _PARTIAL and ranged and self._continues(response):
            self._skip = 0
            return response
        if ranged and response.status in (_PARTIAL, _RANGE_NOT_SATISFIABLE):
            # It cannot count; from now on it is asked for everything.
            response.discard()
            self._ranges = False
            return self._request()
        raise self._failure(response)

    def _continues(self, response: Response) -> bool:
        """Say whether a partial answer begins exactly where we stopped, in a blob of the same size."""
        stated = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        return (
            stated is not None
            and int(stated[1]) == self._position
            and self._position <= int(stated[2]) < self._size
            and stated[3] in ("*", str(self._size))
        )

    def _failure(self, response: Response) -> RegistryError:
        """Return what a refusal means; a storage host's may be an expired signature, and worth a try."""
        if not self._api.owns(response.url):
            response.discard()
            reason = f"answered {response.status}, where the registry had sent us"
            return UnreachableError(response.host, f"{reason} ({response.request})")
        error = self._api.error(response, self._what)
        if response.status in RETRIED:
            return UnreachableError(response.host, str(error))
        return error


class ForeignUrl:
    """Where a foreign layer's author says that it is: asked as a registry's API is, without credentials."""

    def __init__(self, transport: Transport, url: str, registry_url: str) -> None:
        """``registry_url`` is where the manifest came from.

        Raises:
            UnreachableError: the URL is not one that may be asked.
        """
        self.transport = transport
        self._host = check_url(url, transport.settings, sender=urlsplit(registry_url)).netloc

    def request(
        self,
        method: str,
        url: str,
        *,
        actions: tuple[str, ...],  # noqa: ARG002 - of the API's signature
        headers: Mapping[str, str] | None = None,
        retry: bool = True,
    ) -> Response:
        """Return the answer, whatever its status. Raises as `Api.request`."""

        def attempt() -> Response:
            return self.transport.exchange(method, url, headers=headers or {})

        return self.transport.retrying(attempt) if retry else attempt()

    def owns(self, url: str) -> bool:
        """Say whether ``url`` is still on the host that was named."""
        return urlsplit(url).netloc == self._host

    def error(self, response: Response, what: str) -> RegistryError:
        """Return the error that ``response`` to a request for ``what`` amounts to."""
        return response.refusal(self._host, what)


class Continued(Rewindable):
    """The bytes of ``kept``, and then what ``rest`` gives from there on, up to ``size`` bytes."""

    def __init__(self, kept: BinaryIO, size: int, rest: Callable[[int], io.RawIOBase]) -> None:
        super().__init__()
        self._kept = kept
        self._size = size
        self._open_rest = rest
        self._rest: io.RawIOBase | None = None

    def restart(self) -> None:
        """Go back to the first byte that was kept."""
        if self._rest is not None:
            self._rest.close()
            self._rest = None
        self._kept.seek(0)

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # typeshed: WriteableBuffer
        """Read into ``buffer``; 0 at the end."""
        size = 0
        if self._rest is None:
            size = read_into(self._kept, buffer)
            if not size and self._position < self._size:
                self._rest = self._open_rest(self._position)
        if self._rest is not None:
            size = read_into(self._rest, buffer)  # type: ignore[arg-type]  # RawIOBase reads like a BinaryIO
        self._position += size
        return size

    def close(self) -> None:
        """Close both."""
        self._kept.close()
        if self._rest is not None:
            self._rest.close()
        super().close()
