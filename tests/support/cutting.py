"""A road between a client and a registry that breaks where a test says."""

from __future__ import annotations

import contextlib
import socket
import threading


class CuttingProxy:
    """A TCP relay that ends a connection after so many bytes from one side."""

    def __init__(self, target: str) -> None:
        self.cuts: list[tuple[str, int]] = []
        self.carried = {"up": 0, "down": 0}
        self._sockets: list[socket.socket] = []
        address, port = target.split(":")
        self._target = (address, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.host = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        for end in self._sockets:
            end.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target)
                self._sockets += [client, server]
                cut = self.cuts.pop(0) if self.cuts else ("", 0)
                for source, sink, side in ((client, server, "up"), (server, client, "down")):
                    limit = cut[1] if cut[0] == side else None
                    threading.Thread(
                        target=self._relay, args=(source, sink, side, limit), daemon=True
                    ).start()

    def _relay(
        self, source: socket.socket, sink: socket.socket, side: str, limit: int | None
    ) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if limit is not None and len(data) >= limit:
                    sink.sendall(data[:limit])
                    break
                limit = None if limit is None else limit - len(data)
                sink.sendall(data)
                self.carried[side] += len(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
