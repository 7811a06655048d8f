"""The terminal of a person, lent to a command in a sandbox."""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import termios
import threading
import tty
from types import TracebackType
from typing import Any, Self

from wcbuild.errors import UsageError

_CHUNK = 65536


class Terminal:
    """stdin, stdout and stderr for a command: ours as they are, or, if ``wanted``, a terminal of its own.

    As a context manager it leaves our terminal as it was found.
    """

    def __init__(self, *, wanted: bool, keep_stdin: bool) -> None:
        self._wanted = wanted
        self._keep_stdin = keep_stdin
        self._opened: list[int] = []
        self._saved: list[Any] | None = None
        self._outer: threading.Thread | None = None
        self.streams = (0, 1, 2)

    def __enter__(self) -> Self:
        if self._wanted:
            self._open_terminal()
        elif not self._keep_stdin:
            null = os.open(os.devnull, os.O_RDONLY)
            self._opened.append(null)
            self.streams = (null, 1, 2)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for fd in self._opened:
            os.close(fd)
        if self._outer is not None:
            # The command is gone and its side closed: what it said last still has to be shown.
            self._outer.join()
        if self._saved is not None:
            signal.signal(signal.SIGWINCH, signal.SIG_DFL)
            termios.tcsetattr(0, termios.TCSADRAIN, self._saved)

    def _open_terminal(self) -> None:
        if self._keep_stdin and not sys.stdin.isatty():
            raise UsageError("--tty: stdin is not a terminal")
        master, slave = os.openpty()
        self._opened.append(slave)
        self.streams = (slave, slave, slave)
        if sys.stdin.isatty():
            self._saved = termios.tcgetattr(0)
            self._copy_size(master)
            signal.signal(signal.SIGWINCH, lambda _number, _frame: self._copy_size(master))
            tty.setraw(0)
        self._outer = threading.Thread(target=_pump, args=(master, 1), daemon=True)
        self._outer.start()
        if self._keep_stdin:
            threading.Thread(target=_pump, args=(0, master), daemon=True).start()

    def _copy_size(self, master: int) -> None:
        size = fcntl.ioctl(0, termios.TIOCGWINSZ, bytes(8))
        fcntl.ioctl(master, termios.TIOCSWINSZ, size)


def _pump(source: int, target: int) -> None:
    """Copy until either end is gone; a terminal whose other side closed answers EIO."""
    try:
        while data := os.read(source, _CHUNK):
            os.write(target, data)
    except OSError:
        return
