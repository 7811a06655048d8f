"""Hashing beside the thread that reads and writes; hashlib lets go of the interpreter's lock."""

from __future__ import annotations

import hashlib
import threading
from queue import Queue

WAITING_BLOCKS = 2
"""How many blocks wait for a hasher at most."""
BLOCKS_IN_USE = WAITING_BLOCKS + 2
"""How many blocks may be unhashed once `Hasher.update` has returned, and one more: whoever fills this many
buffers in turn overwrites none that is still needed."""


class Hasher:
    """Makes sha256 digests of streams, one after another, in a thread that starts when it is needed."""

    def __init__(self) -> None:
        self._queue: Queue[bytes | memoryview | None] = Queue(WAITING_BLOCKS)
        self._thread: threading.Thread | None = None
        self._digests: list[str] = []

    def update(self, block: bytes | memoryview) -> None:
        """Append a block, which must not change until the `BLOCKS_IN_USE`-th later one is appended."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="sha256", daemon=True)
            self._thread.start()
        self._queue.put(block)

    def cut(self) -> None:
        """End one stream; the next block begins another one."""
        self.update(b"")

    def close(self) -> list[str]:
        """Wait for everything and return one hexadecimal digest per ended stream."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._thread = None
        return self._digests

    def _run(self) -> None:
        current = hashlib.sha256()
        while (block := self._queue.get()) is not None:
            if len(block):
                current.update(block)
            else:
                self._digests.append(current.hexdigest())
                current = hashlib.sha256()
