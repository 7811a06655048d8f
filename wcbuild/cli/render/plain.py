"""Plain lines: for logs, pipes and dumb terminals. They are docker's: `#5 1.204 output line`."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock
from typing import TextIO

from wcbuild.cli.render.text import Lines, clean, seconds, warning_lines
from wcbuild.sizes import format_size
from wcbuild.solve.events import (
    Event,
    Notice,
    StepDone,
    StepFailed,
    StepOutput,
    StepStarted,
    Transfer,
    Warned,
)

PROGRESS_SECONDS = 5.0
"""A transfer that takes long says how far it is this often."""


class PlainRenderer:
    """Writes a line for whatever happens, at once; never goes back."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._lock = Lock()
        self._started: dict[int, float] = {}
        self._output: dict[int, dict[int, Lines]] = {}
        self._spoke: dict[str, float] = {}
        self._warned: list[Warned] = []

    def __call__(self, event: Event) -> None:
        """Write what ``event`` says. May be called from several threads."""
        with self._lock:
            text = "".join(f"{line}\n" for line in self._lines(event))
            if text:
                self._stream.write(text)
                self._stream.flush()

    def close(self) -> None:
        """Write the last lines that no newline ended, and what the checks found."""
        with self._lock:
            lines = [line for number in list(self._output) for line in self._rest(number)]
            lines += warning_lines(self._warned)
            self._stream.write("".join(f"{line}\n" for line in lines))
            self._stream.flush()

    def _lines(self, event: Event) -> list[str]:
        match event:
            case StepStarted():
                self._started[event.number] = event.time
                return [f"#{event.number} {clean(event.label)}"]
            case StepOutput():
                streams = self._output.setdefault(event.number, {})
                lines = streams.setdefault(event.stream, Lines())
                return self._timed(event.number, lines.feed(event.data, event.time))
            case StepDone():
                # A cached step may come without a start of its own.
                head = [] if event.number in self._started else [f"#{event.number} {event.label}"]
                done = "CACHED" if event.cached else f"DONE {seconds(event.seconds)}"
                return [*map(clean, head), *self._end(event.number, done)]
            case StepFailed():
                verdict = "CANCELED" if event.canceled else f"ERROR: {clean(event.reason)}"
                return self._end(event.number, verdict)
            case Transfer():
                return self._transfer(event)
            case Notice():
                text = clean(event.text)
                return [f"WARNING: {text}" if event.level == "warning" else text]
            case Warned():
                self._warned.append(event)
                return []

    def _end(self, number: int, verdict: str) -> list[str]:
        rest = self._rest(number)
        self._started.pop(number, None)
        return [*rest, f"#{number} {verdict}", ""]

    def _rest(self, number: int) -> list[str]:
        streams = self._output.pop(number, {})
        return [text for lines in streams.values() for text in self._timed(number, lines.flush())]

    def _timed(self, number: int, lines: list[tuple[float, str]]) -> list[str]:
        timed = []
        for begun, line in lines:
            elapsed = max(0.0, begun - self._started.get(number, begun))
            timed.append(f"#{number} {elapsed:.3f}" + (f" {line}" if line else ""))
        return timed

    def _transfer(self, event: Transfer) -> list[str]:
        key, now = f"{event.verb} {event.name}", self._clock()
        last = self._spoke.setdefault(key, now)
        if event.finished:
            del self._spoke[key]
            state = event.note or "done"
            return [clean(f"{key} {format_size(event.total or event.done)} {state}")]
        if now - last < PROGRESS_SECONDS:
            return []
        self._spoke[key] = now
        total = f" / {format_size(event.total)}" if event.total else ""
        return [clean(f"{key} {format_size(event.done)}{total}")]
