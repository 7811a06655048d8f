"""The HTTP server: cheroot's threads and parsing, with bodies streamed and slow clients cut off.

cheroot reads a chunk, and what is left of a body that nobody wanted, into memory whole; it invites
bodies (`Expect: 100-continue`) before anybody knows whether they are wanted; it lets a client that
sends a byte now and then hold a thread for ever; and it waits for TLS handshakes in the one thread
that accepts connections. What is here replaces just these parts, through the classes that cheroot lets
be replaced.
"""

from __future__ import annotations

import contextlib
import http
import logging
import os
import re
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qsl

from cheroot.makefile import StreamReader, StreamWriter
from cheroot.server import Gateway, HeaderReader, HTTPConnection, HTTPRequest, HTTPServer
from cheroot.ssl import Adapter
from cheroot.workers.threadpool import ThreadPool

from registry.server.messages import (
    Answer,
    ApiError,
    BrokenBodyError,
    Exchange,
    FileContent,
    Request,
    StreamContent,
)

logger = logging.getLogger(__name__)

BLOCK = 256 * 1024
"""Bytes moved at a time."""

MIN_RATE = 1024
"""Bytes a second; who moves less for the whole time limit only wants to hold a thread."""

MAX_HEADER_BYTES = 64 * 1024
"""Of one request; tokens that name hundreds of repositories are some 10 KiB."""

HEADER_TIMEOUT_S = 20.0
"""For all headers of a request, from their first byte."""

_MAX_CHUNK_LINE = 256
_MAX_TRAILER_BYTES = 8 * 1024
_MAX_DRAINED = 64 * 1024
_LINGER_S = 2.0
_PIECE = 32 * 1024
_QUEUED = 512
_CONNECTIONS = 1000
_LENGTH = re.compile(rb"[0-9]{1,18}")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?\r\n")
_BAD_VALUE = re.compile(r"[^\t\x20-\x7e]")

Handler = Callable[[Request], Answer]
Emit = Callable[[Exchange], None]


class Server(HTTPServer):
    """Answers requests with ``handle``, in ``threads`` threads, and tells ``emit`` of each."""

    protocol = "HTTP/1.1"
    request_queue_size = 128
    max_request_header_size = MAX_HEADER_BYTES
    keep_alive_conn_limit = _CONNECTIONS
    expiration_interval = 0.1  # also how long stopping waits for the thread that accepts

    def __init__(
        self,
        address: tuple[str, int],
        handle: Handler,
        emit: Emit | None,
        *,
        threads: int,
        idle_timeout_s: int,
        grace_s: int,
        tls: ssl.SSLContext | None,
    ) -> None:
        super().__init__(address, _Gateway, server_name="wcbuild")
        self.ConnectionClass = _Connection
        self.requests = ThreadPool(
            self, min=threads, max=threads, accepted_queue_size=_QUEUED, accepted_queue_timeout=1
        )
        self.timeout = idle_timeout_s
        self.shutdown_timeout = grace_s
        self.ssl_adapter = _Tls(tls) if tls is not None else None
        self.handle = handle
        self.emit = emit
        self.active: set[_Connection] = set()
        self.active_lock = threading.Lock()
        self._grace_s = grace_s

    @property
    def url(self) -> str:
        """Where it listens, once it is prepared."""
        host, port = self.bind_addr
        scheme = "https" if self.ssl_adapter is not None else "http"
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"

    def process_conn(self, conn: Any) -> None:
        """Give a connection to a thread, a new one only once it says something."""
        if conn.is_new:
            conn.is_new = False
            if self.can_add_keepalive_connection:
                self.put_conn(conn)
            else:
                conn.close()
        else:
            super().process_conn(conn)

    def stop(self) -> None:
        """Accept nothing more, let requests end for the grace period, then cut them off."""
        timer = threading.Timer(self._grace_s, self._cut)
        timer.start()
        try:
            super().stop()
        finally:
            timer.cancel()
            timer.join()

    def _cut(self) -> None:
        with self.active_lock:
            for connection in self.active:
                with contextlib.suppress(OSError):
                    connection.socket.shutdown(socket.SHUT_RDWR)

    def error_log(self, msg: str = "", level: int = logging.INFO, traceback: bool = False) -> None:
        """Keep what cheroot would print: mostly clients that hung up."""
        logger.log(min(level, logging.DEBUG), "%s", msg, exc_info=traceback)


class _Tls(Adapter):
    """TLS whose handshake is left to the thread of the first request."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.context = context

    def bind(self, sock: socket.socket) -> socket.socket:
        return sock

    def wrap(self, sock: socket.socket) -> tuple[ssl.SSLSocket, dict[str, str]]:
        wrapped = self.context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        return wrapped, {}

    def get_environ(self) -> dict[str, str]:
        return {}

    def makefile(self, sock: socket.socket, mode: str = "r", bufsize: int = -1) -> Any:
        return _makefile(sock, mode, bufsize)


def _makefile(sock: socket.socket, mode: str = "r", bufsize: int = -1) -> Any:
    return _Reader(sock, bufsize) if "r" in mode else StreamWriter(sock, mode, bufsize)


class _Input(socket.SocketIO):
    """A socket that can be given a moment by which reading must be done."""

    deadline: float | None = None

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock, "rb")
        self._socket = sock
        self._timeout = sock.gettimeout()

    def readinto(self, buffer: Any) -> int | None:
        if self.deadline is not None:
            left = self.deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError("timed out")
            self._socket.settimeout(min(left, self._timeout or left))
        return super().readinto(buffer)

    def forget_deadline(self) -> None:
        self.deadline = None
        self._socket.settimeout(self._timeout)


class _Reader(StreamReader):
    def __init__(self, sock: socket.socket, bufsize: int) -> None:
        # As cheroot's own constructor does, with another class of raw stream.
        super(StreamReader, self).__init__(_Input(sock), bufsize)
        self.bytes_read = 0
        self._socket = sock

    def has_data(self) -> bool:
        """Say whether bytes are here already, which `select` would not see."""
        pending = self._socket.pending() if isinstance(self._socket, ssl.SSLSocket) else 0
        return _buffered(self) or pending > 0


class _Headers(HeaderReader):
    """Reads headers and refuses those that two readers could understand differently."""

    def __call__(self, rfile: Any, hdict: dict[bytes, bytes] | None = None) -> Any:
        headers = super().__call__(_OneOfEach(rfile), hdict)
        length, encoding = headers.get(b"Content-Length"), headers.get(b"Transfer-Encoding")
        if length is not None and (encoding is not None or not _LENGTH.fullmatch(length)):
            raise ValueError("Content-Length is not a number, or comes with Transfer-Encoding")
        # Kept back, because cheroot invites a body before anybody knows whether it is wanted.
        if headers.get(b"Expect", b"").lower() == b"100-continue":
            headers[_EXPECTING] = headers.pop(b"Expect")
        else:
            headers.pop(_EXPECTING, None)
        return headers


_EXPECTING = b"X-Wcbuild-Expecting"
_ONCE = (b"content-length", b"transfer-encoding", b"host", b"authorization", b"content-range")


class _OneOfEach:
    """Lines of headers; those that steer the request may come once and be in one piece."""

    def __init__(self, rfile: Any) -> None:
        self._rfile = rfile
        self._seen: set[bytes] = set()

    def readline(self) -> bytes:
        line: bytes = self._rfile.readline()
        name, colon, _ = line.partition(b":")
        if line[:1] in (b" ", b"\t") or (colon and name != name.strip()):
            raise ValueError("Folded headers and spaces around names are not allowed")
        if b"\0" in line or b"\r" in line[:-2]:
            raise ValueError("Headers have characters that are not allowed there")
        if (name := name.lower()) in _ONCE:
            if name in self._seen:
                raise ValueError("A header that may come once came twice")
            self._seen.add(name)
        return line


class _HttpRequest(HTTPRequest):
    header_reader = _Headers()

    def parse_request(self) -> None:
        raw = self.conn.rfile.raw
        raw.deadline = time.monotonic() + HEADER_TIMEOUT_S
        super().parse_request()
        raw.forget_deadline()


class _Connection(HTTPConnection):
    RequestHandlerClass = _HttpRequest
    rbufsize = 64 * 1024
    is_new = True

    def __init__(self, server: Server, sock: socket.socket, _makefile_of_cheroot: Any) -> None:
        super().__init__(server, sock, _makefile)

    def communicate(self) -> bool:
        """Answer one request; say whether there may be another."""
        with self.server.active_lock:
            self.server.active.add(self)
        try:
            if isinstance(self.socket, ssl.SSLSocket) and self.socket.version() is None:
                self.socket.do_handshake()  # within the socket's time limit as a whole
            return bool(super().communicate())  # type: ignore[no-untyped-call]  # cheroot's stubs
        except ssl.SSLError as error:
            if error.reason == "HTTP_REQUEST":
                self._say_that_this_is_tls()
            return False
        except OSError:
            return False
        finally:
            with self.server.active_lock:
                self.server.active.discard(self)

    def _say_that_this_is_tls(self) -> None:
        with contextlib.suppress(OSError):
            # Past the TLS of the socket's own methods.
            socket.socket.sendall(
                self.socket,
                b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: text/plain\r\n"
                b"\r\nthis port speaks HTTPS only\n",
            )


class _Pace:
    """Cuts off whoever makes us wait without moving bytes."""

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._waited = 0.0
        self._moved = 0

    def moved(self, size: int, waited_s: float) -> None:
        """Count ``size`` bytes that took ``waited_s`` seconds of waiting.

        Raises:
            TimeoutError: fewer than ``MIN_RATE`` bytes a second for the whole window.
        """
        self._moved += size
        self._waited += waited_s
        if self._waited > self._window_s:
            if self._moved < MIN_RATE * self._waited:
                raise TimeoutError("timed out")
            self._moved, self._waited = 0, 0.0


class SocketBody:
    """A request's body, read from its connection; `messages.Body` says what it promises."""

    def __init__(
        self, connection: Any, *, length: int | None, invite: bool, window_s: float
    ) -> None:
        self.length = length
        self.received = 0
        self.finished = length == 0
        self._left = length or 0
        """Of the body, or of the chunk that is being read."""
        self._chunked = length is None
        self._invite = invite
        self._connection = connection
        self._window_s = window_s
        self._pace = _Pace(window_s)

    @property
    def invited(self) -> bool:
        """Say whether the client is sending the body, as far as one can know."""
        return not self._invite

    def read(self, size: int) -> bytes:
        if self.finished:
            return b""
        if self._invite:
            self._invite = False
            self._connection.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if self._chunked and not self._left and not self._next_chunk():
            return b""
        data = self._receive(min(size, self._left))
        self.received += len(data)
        self._left -= len(data)
        if not self._left:
            if self._chunked and self._line(2) != b"\r\n":
                raise BrokenBodyError("a chunk is longer than it says")
            self.finished = not self._chunked
        return data

    def _receive(self, size: int) -> bytes:
        rfile = self._connection.rfile
        began = time.monotonic()
        # What came with the headers is in the buffer; all else goes around it, in large pieces.
        data: bytes = rfile.read1(size) if _buffered(rfile) else self._connection.socket.recv(size)
        self._pace.moved(len(data), time.monotonic() - began)
        if not data:
            raise BrokenBodyError("the connection ended before the body did")
        return data

    def _next_chunk(self) -> bool:
        match = _CHUNK_SIZE.fullmatch(self._line(_MAX_CHUNK_LINE))
        if match is None:
            raise BrokenBodyError("the size of a chunk is not a number")
        self._left = int(match[1], 16)
        if self._left:
            return True
        trailers = 0
        while (line := self._line(_MAX_TRAILER_BYTES)) != b"\r\n":
            trailers += len(line)
            if not line.endswith(b"\r\n") or trailers > _MAX_TRAILER_BYTES:
                raise BrokenBodyError("trailers do not end")
        self.finished = True
        return False

    def _line(self, limit: int) -> bytes:
        rfile = self._connection.rfile
        rfile.raw.deadline = time.monotonic() + self._window_s
        line: bytes = rfile.readline(limit)
        rfile.raw.forget_deadline()
        return line


def _buffered(rfile: Any) -> bool:
    return bool(StreamReader.has_data(rfile))  # type: ignore[no-untyped-call]  # cheroot's stubs


def _send_bytes(connection: socket.socket, data: bytes) -> int:
    """Send in pieces, each within the socket's time limit as a whole: slower clients are cut off."""
    for start in range(0, len(data), _PIECE):
        connection.sendall(data[start : start + _PIECE])
    return len(data)


def _read(content: FileContent) -> Iterator[bytes]:
    content.file.seek(content.offset)
    left = content.size
    while left and (data := content.file.read(min(left, BLOCK))):
        left -= len(data)
        yield data


class _Gateway(Gateway):
    """Hands one request on and sends the answer."""

    def respond(self) -> None:
        began = time.monotonic()
        req, server = self.req, self.req.server
        body = SocketBody(
            req.conn,
            length=None if req.chunked_read else int(req.inheaders.get(b"Content-Length", 0)),
            invite=_EXPECTING in req.inheaders,
            window_s=server.timeout,
        )
        req.rfile = body
        sent, answer = 0, Answer(status=0)
        try:
            answer = self._handle(body)
            sent = self._send(answer, body)
        finally:
            if isinstance(answer.content, FileContent):
                answer.content.file.close()
            if server.emit is not None:
                exchange = Exchange(
                    client=req.conn.remote_addr or "",
                    user=answer.user,
                    method=req.method.decode("latin-1"),
                    target=req.uri.decode("latin-1"),
                    status=answer.status,
                    received=body.received,
                    sent=sent,
                    seconds=time.monotonic() - began,
                )
                server.emit(exchange)

    def _handle(self, body: SocketBody) -> Answer:
        req = self.req
        query: dict[str, tuple[str, ...]] = {}
        try:
            pairs = parse_qsl(
                req.qs.decode("ascii"), keep_blank_values=True, max_num_fields=100, errors="strict"
            )
            path = req.path.decode("utf-8")
        except ValueError:
            return ApiError(400, "UNSUPPORTED", "the URL is not one of this API").answer()
        for name, value in pairs:
            query[name] = (*query.get(name, ()), value)
        headers = {
            name.decode("latin-1").lower(): value.decode("latin-1")
            for name, value in req.inheaders.items()
        }
        request = Request(
            method=req.method.decode("latin-1"),
            path=path,
            query=query,
            headers=headers,
            body=body,
            client=req.conn.remote_addr or "",
        )
        answer: Answer = req.server.handle(request)
        return answer

    def _send(self, answer: Answer, body: SocketBody) -> int:
        """Send ``answer``; return the number of bytes of its content."""
        req, content = self.req, answer.content
        size = len(content) if isinstance(content, bytes) else content.size
        req.status = f"{answer.status} {http.HTTPStatus(answer.status).phrase}".encode()
        lengthless = answer.status in (http.HTTPStatus.NO_CONTENT, http.HTTPStatus.NOT_MODIFIED)
        headers = answer.headers if lengthless else {"Content-Length": str(size), **answer.headers}
        for name, value in headers.items():
            # What a client sent must not become a header of its own in an answer.
            if _BAD_VALUE.search(value):
                raise ValueError(f"the header {name} has characters that are not allowed there")
            req.outheaders.append((name.encode("ascii"), value.encode("ascii")))
        unread = not body.finished and not self._drained(body)
        req.close_connection |= unread
        req.ensure_headers_sent()
        sent = self._send_content(content) if req.method != b"HEAD" else 0
        if unread:
            self._linger()
        return sent

    def _send_content(self, content: bytes | FileContent | StreamContent) -> int:
        connection = self.req.conn.socket
        if isinstance(content, bytes):
            return _send_bytes(connection, content)
        if isinstance(content, FileContent) and not isinstance(connection, ssl.SSLSocket):
            return self._send_file(connection, content)
        chunks = _read(content) if isinstance(content, FileContent) else content.chunks
        sent = sum(_send_bytes(connection, chunk) for chunk in chunks)
        if sent != content.size:
            raise BrokenBodyError("what was to be sent ended early")
        return sent

    def _send_file(self, connection: socket.socket, content: FileContent) -> int:
        window_s = self.req.server.timeout
        pace, poll, sent = _Pace(window_s), select.poll(), 0
        poll.register(connection, select.POLLOUT)
        while sent < content.size:
            began = time.monotonic()
            if not poll.poll(window_s * 1000):
                raise TimeoutError("timed out")
            try:
                moved = os.sendfile(
                    connection.fileno(),
                    content.file.fileno(),
                    content.offset + sent,
                    min(content.size - sent, 4 * BLOCK),
                )
            except BlockingIOError:
                moved = -1
            if moved == 0:
                raise BrokenBodyError("a blob is shorter than it was")
            sent += max(moved, 0)
            pace.moved(max(moved, 0), time.monotonic() - began)
        return sent

    def _drained(self, body: SocketBody) -> bool:
        """Read what little is left of a body that nobody wanted, so that the connection can be used."""
        short = body.length is not None and body.length - body.received <= _MAX_DRAINED
        if not short or not body.invited:
            return False
        with contextlib.suppress(BrokenBodyError, OSError):
            while body.read(BLOCK):
                pass
        return body.finished

    def _linger(self) -> None:
        """Read on for a moment: a client that still sends would lose our answer to a reset."""
        connection, until = self.req.conn.socket, time.monotonic() + _LINGER_S
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_WR)
            while (left := until - time.monotonic()) > 0:
                connection.settimeout(left)
                if not connection.recv(BLOCK):
                    break
