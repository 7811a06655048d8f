"""A server that says exactly the bytes a test gives it, at the pace that it chooses."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterable

PATIENCE_S = 120.0
"""Then the server hangs up, so that a client that would wait for ever fails its test."""


class RawServer:
    """Answers every connection with the same ``script``: bytes to send, and seconds to wait."""

    def __init__(self, script: Iterable[bytes | float], *, then: str = "close") -> None:
        """After the script the connection is closed, or with ``then`` "repeat" the script goes on."""
        self._script = tuple(script)
        self._then = then
        self._stopped = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.host = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.connections = 0
        self.completed = 0
        """How often all was said, or for as long as there was patience, and nobody had hung up."""
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def stop(self) -> None:
        self._stopped.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                thread = threading.Thread(target=self._answer, args=(connection,), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _answer(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            end = time.monotonic() + PATIENCE_S
            connection.settimeout(PATIENCE_S)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            head = b""
            while b"\r\n\r\n" not in head:
                data = connection.recv(65536)
                if not data:
                    return
                head += data
            while time.monotonic() < end:
                for step in self._script:
                    if self._stopped.is_set():
                        return
                    if isinstance(step, bytes):
                        connection.sendall(step)
                    else:
                        self._stopped.wait(step)
                if self._then == "close":
                    break
            self.completed += 1
