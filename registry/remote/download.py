"""Reading one blob: from where it broke off, through the registry again, as often as it makes progress."""

from __future__ import annotations

import io
import re

from registry.errors import RegistryError, SizeMismatchError, UnreachableError
from registry.oci.descriptor import Descriptor
from registry.remote.api import PULL, Api
from registry.remote.transport import BLOCK, RETRIED, Response, after_tries

_PROGRESS = 1024 * 1024
"""Bytes since the last broken connection after which tries are counted anew."""

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19}|\*)", re.ASCII)
_OK, _PARTIAL, _RANGE_NOT_SATISFIABLE = 200, 206, 416


class BlobBody(io.RawIOBase):
    """The bytes of ``descriptor`` as the registry sends them, unverified; `seek(0)` starts again.

    After a broken connection it asks for the rest with Range. A registry that answers with
    everything is read from the start and the bytes that were handed out already are dropped, so
    what comes out is one run of bytes, whose digest the reader above decides about.

    Raises (from the constructor and read):
        NotFoundError, UnauthorizedError, ProtocolError, UnreachableError
        SizeMismatchError: the registry announced another length.
    """

    def __init__(self, api: Api, descriptor: Descriptor) -> None:
        self._api = api
        self._size = descriptor.size
        self._what = f"blob {descriptor.digest}"
        self._url = api.url(f"blobs/{descriptor.digest}")
        self._offset = 0
        self._skip = 0
        self._ranges = True
        self._response: Response | None = None
        self._backoff = api.transport.backoff()
        self._broke_at = 0
        self._connected()

    def readable(self) -> bool:
        """Say yes, as `io` asks."""
        return True

    def seekable(self) -> bool:
        """Say yes, though only to the start."""
        return True

    def tell(self) -> int:
        """Return the number of bytes handed out."""
        return self._offset

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Start again from the first byte, with a new request.

        Raises:
            io.UnsupportedOperation: to any other place.
        """
        if whence == io.SEEK_CUR and offset == 0:
            return self._offset
        if (offset, whence) != (0, io.SEEK_SET):
            raise io.UnsupportedOperation("a download can only go back to its start")
        self._drop()
        self._offset = self._broke_at = 0
        return 0

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes, at most ``size`` (any number if negative); none at the end."""
        while True:
            response = self._connected()
            try:
                data = response.read1(size if size >= 0 else BLOCK)
            except UnreachableError as error:
                if self._offset >= self._size:
                    return b""  # only the end of the transfer was lost
                self._broken(error)
                continue
            if not data and self._offset < self._size:
                self._broken(UnreachableError(response.host, "the connection was closed"))
                continue
            skipped = min(self._skip, len(data))
            self._skip -= skipped
            if skipped and skipped == len(data):
                continue
            data = data[skipped:]
            self._offset += len(data)
            return data

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # typeshed: WriteableBuffer
        """Read into ``buffer``; 0 at the end."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

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
        if self._offset - self._broke_at >= _PROGRESS:
            self._backoff = self._api.transport.backoff()
        self._broke_at = self._offset
        if not error.transient or not self._backoff.wait():
            where = f"{self._offset} of {self._size} bytes of {self._what} received"
            failed = UnreachableError(error.host, f"{error.reason}; {where}")
            raise after_tries(failed, self._backoff.tries) from error

    def _request(self) -> Response:
        """Ask for the blob from the current offset on."""
        ranged = self._offset > 0 and self._ranges
        response = self._api.request(
            "GET",
            self._url,
            actions=PULL,
            headers={"Range": f"bytes={self._offset}-"} if ranged else None,
            retry=not self._offset,
        )
        if response.status == _OK:
            length = response.headers.get("Content-Length", "")
            if length.isdigit() and int(length) != self._size:
                response.close()
                raise SizeMismatchError(self._size, int(length), self._what)
            self._skip = self._offset
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
            and int(stated[1]) == self._offset
            and self._offset <= int(stated[2]) < self._size
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
