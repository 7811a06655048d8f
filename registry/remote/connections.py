"""Connections to one origin: its own certificates, and heads of answers that have to end.

`requests` and `urllib3` do the talking; what they leave open is closed here.
"""

from __future__ import annotations

import http.client
import os
import socket
import ssl
import time
from typing import Any

import requests
import requests.adapters
import urllib3
from urllib3.util import wait_for_write

from registry.streams import FileSlice

POOL = 16
"""Connections to one origin that are kept for the next request; more may be open."""


class Adapter(requests.adapters.HTTPAdapter):
    """Sends requests over connections that trust, and show, what ``context`` says and nothing else."""

    def __init__(self, context: ssl.SSLContext | None) -> None:
        self._context = context
        super().__init__(pool_connections=1, pool_maxsize=POOL)

    def init_poolmanager(self, *args: Any, **keywords: Any) -> None:
        """Make the pool, as the base class asks."""
        super().init_poolmanager(*args, ssl_context=self._context, **keywords)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, *args: Any, **keywords: Any) -> Any:
        """Make the pool for a proxy, as the base class asks."""
        manager = super().proxy_manager_for(*args, ssl_context=self._context, **keywords)
        manager.pool_classes_by_scheme = _POOLS
        return manager

    def cert_verify(self, *_: object) -> None:
        """Change nothing: the context has been told already, and once for all connections."""


class _Lines:
    """A connection's file whose lines have to end in time.

    A socket's timeout bounds one wait. Who sends a header (or a chunk's length, or a trailer) byte by
    byte, or without end, keeps each wait short; so what comes as lines, without anything else in
    between, is bounded as a whole, by the same number of seconds.
    """

    def __init__(self, file: Any, limit_s: float | None) -> None:
        self._file = file
        self._limit_s = limit_s
        self._until: float | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def readline(self, limit: int = 65537) -> bytes:
        line = b""
        while len(line) < limit and not line.endswith(b"\n"):
            ahead = self._file.peek(1)
            if not ahead:
                break
            if self._limit_s is not None:
                now = time.monotonic()
                self._until = self._until or now + self._limit_s
                if now > self._until:
                    raise TimeoutError("the head of an answer does not end")
            end = ahead.find(b"\n") + 1 or len(ahead)
            line += self._file.read(min(end, limit - len(line)))
        return line

    def read(self, size: int = -1) -> bytes:
        self._until = None
        data: bytes = self._file.read(size)
        return data

    def read1(self, size: int = -1) -> bytes:
        self._until = None
        data: bytes = self._file.read1(size)
        return data

    def readinto(self, buffer: memoryview) -> int:
        self._until = None
        size: int = self._file.readinto(buffer)
        return size

    def readinto1(self, buffer: memoryview) -> int:
        self._until = None
        size: int = self._file.readinto1(buffer)
        return size


class _Answer(http.client.HTTPResponse):
    def __init__(self, sock: Any, *args: Any, **keywords: Any) -> None:
        super().__init__(sock, *args, **keywords)
        self.fp: Any = _Lines(self.fp, sock.gettimeout())

    def take(self, buffer: memoryview) -> int:
        """Read once from the connection; for bodies of a known length, or that end with it."""
        if self.fp is None:
            return 0
        if self.length is not None:
            buffer = buffer[: self.length]
        size: int = self.fp.readinto1(buffer)
        if self.length is not None:
            self.length -= size
        if not size or self.length == 0:
            self._close_conn()  # type: ignore[attr-defined]  # the base class's own way to end
        return size


def read_body_into(raw: urllib3.HTTPResponse, buffer: memoryview) -> int:
    """Read what comes next of a body, as it was sent, into ``buffer``; return the number of bytes.

    `urllib3` makes new memory for every block, which for large blobs costs more than all the rest.
    """
    answer = raw._fp  # noqa: SLF001 - no public way leads there
    if not isinstance(answer, _Answer) or answer.chunked:
        data = raw.read1(len(buffer), decode_content=False)
        buffer[: len(data)] = data
        return len(data)
    size = answer.take(buffer)
    if answer.isclosed():
        raw.release_conn()
    return size


class _Connection(urllib3.connection.HTTPConnection):
    response_class = _Answer

    def send(self, data: Any) -> None:
        if isinstance(data, FileSlice):
            _send_slice(self.sock, data)
        else:
            super().send(data)


def _send_slice(sock: socket.socket, part: FileSlice) -> None:
    """Move bytes from a file to the network within the kernel: a tenth of the work.

    `socket.sendfile` does the same, but waits before each call, in a selector made for it.
    """
    position, end = part.offset, part.offset + part.size
    while position < end:
        try:
            sent = os.sendfile(sock.fileno(), part.file.fileno(), position, end - position)
        except BlockingIOError:
            if not wait_for_write(sock, sock.gettimeout()):
                raise TimeoutError("nobody takes what is sent") from None
            continue
        if not sent:
            raise OSError(f"{end - position} bytes were cut off from the file")
        position += sent


class _TlsConnection(urllib3.connection.HTTPSConnection):
    response_class = _Answer

    def send(self, data: Any) -> None:
        if isinstance(data, FileSlice):
            data = os.pread(data.file.fileno(), data.size, data.offset)
        super().send(data)


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


_POOLS = {"http": _Pool, "https": _TlsPool}
