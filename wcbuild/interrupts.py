"""Being told to end by somebody else than the person at the keyboard."""

from __future__ import annotations

import signal
from types import FrameType


def interrupt_when_told_to_end() -> None:
    """Let SIGTERM and SIGHUP interrupt as Ctrl-C does, so that all is cleaned up as after that.

    CI systems send the one and closed terminals the other. What is ignored (`nohup`) stays so.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _interrupt)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
