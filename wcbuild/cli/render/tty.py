"""A live tree: what has ended scrolls away, what is running is redrawn below it."""

from __future__ import annotations

import contextlib
import os
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event as Flag
from threading import Lock, Thread
from typing import TextIO

from wcbuild.cli.render.text import Lines, clean, cut, paint, seconds, warning_lines, width
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

REDRAW_SECONDS = 0.1
OUTPUT_LINES = 5
"""Latest lines of a running command that are shown."""


@dataclass(slots=True)
class _Running:
    label: str
    started: float
    streams: dict[int, Lines] = field(default_factory=dict)
    latest: deque[str] = field(default_factory=lambda: deque(maxlen=OUTPUT_LINES))


@dataclass(slots=True)
class _Moving:
    event: Transfer
    started: float


class TtyRenderer:
    """Keeps the state that events describe; a thread of its own draws it, at most ten times a second.

    The thread begins with the first event, so that a process may fork until then.
    """

    def __init__(
        self,
        stream: TextIO,
        *,
        colour: bool = True,
        size: Callable[[], os.terminal_size] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream
        self._colour = colour
        self._size = size or self._terminal_size
        self._clock = clock
        self._lock = Lock()
        self._begun = clock()
        self._running: dict[int, _Running] = {}
        self._moving: dict[str, _Moving] = {}
        self._ended: list[str] = []
        """Lines that are final and not yet written."""
        self._done = self._cached = self._failed = 0
        self._warned: list[Warned] = []
        self._drawn: list[str] = []
        """The live lines that are on the screen."""
        self._stop = Flag()
        self._thread = Thread(target=self._draw_until_stopped, daemon=True, name="progress")

    def __call__(self, event: Event) -> None:
        """Take note of ``event``. May be called from several threads."""
        with self._lock:
            if self._thread.ident is None:
                self._thread.start()
            self._note(event)

    def close(self) -> None:
        """Write what is final, one line that sums up, and what the checks found."""
        if self._thread.ident is None:
            return
        self._stop.set()
        self._thread.join()
        with self._lock:
            self._running.clear()
            self._moving.clear()
            if self._done or self._failed:
                self._ended.append(self._summary(self._clock() - self._begun))
            self._ended += warning_lines(self._warned, colour=self._colour)
            self._draw()

    def _note(self, event: Event) -> None:
        match event:
            case StepStarted():
                self._running[event.number] = _Running(clean(event.label), event.time)
            case StepOutput():
                step = self._running.get(event.number)
                if step is not None:
                    lines = step.streams.setdefault(event.stream, Lines())
                    step.latest.extend(text for _, text in lines.feed(event.data, event.time))
            case StepDone():
                self._running.pop(event.number, None)
                self._done += 1
                self._cached += event.cached
                word = "CACHED " if event.cached else ""
                taken = None if event.cached else event.seconds
                self._ended.append(self._row(f" => {word}{clean(event.label)}", taken, "blue"))
            case StepFailed():
                self._running.pop(event.number, None)
                self._failed += 1
                word, colour = ("CANCELED", "yellow") if event.canceled else ("ERROR", "red")
                self._ended.append(
                    self._row(f" => {word} {clean(event.label)}", event.seconds, colour)
                )
            case Transfer():
                self._note_transfer(event)
            case Notice():
                warning = event.level == "warning"
                text = f"WARNING: {clean(event.text)}" if warning else clean(event.text)
                self._ended.append(paint(text, "yellow", on=self._colour and warning))
            case Warned():
                self._warned.append(event)

    def _note_transfer(self, event: Transfer) -> None:
        key = f"{event.verb} {event.name}"
        if event.finished:
            self._moving.pop(key, None)
            note = f" {event.note}" if event.note else ""
            text = f" => {clean(key)} {format_size(event.total or event.done)}{clean(note)}"
            self._ended.append(self._row(text, None, "blue"))
        elif key in self._moving:
            self._moving[key].event = event
        else:
            self._moving[key] = _Moving(event, self._clock())

    def _draw_until_stopped(self) -> None:
        while not self._stop.wait(REDRAW_SECONDS):
            with self._lock:
                self._draw()

    def _draw(self) -> None:
        columns, rows = self._size()
        # After the window became narrower, old lines take more rows than they did.
        up = sum(max(1, -(-width(line) // columns)) for line in self._drawn)
        live = self._live(columns - 1, rows - 1)
        shown = [paint(line, "bold", on=self._colour and i == 0) for i, line in enumerate(live)]
        text = f"\x1b[{up}F" if up else ""
        text += "".join(f"{line}\x1b[K\n" for line in (*self._ended, *shown))
        if up:
            text += "\x1b[J"
        # A terminal that is gone ends the drawing, not the build.
        with contextlib.suppress(OSError):
            self._stream.write(text)
            self._stream.flush()
        self._drawn, self._ended = live, []

    def _live(self, columns: int, rows: int) -> list[str]:
        """Return the live lines without colours, at most ``rows`` of at most ``columns``."""
        if not self._running and not self._moving:
            return []
        now = self._clock()
        lines = [f"[+] Building {seconds(now - self._begun)} ({self._done} done)"]
        for step in self._running.values():
            lines.append(_right(f" => {step.label}", seconds(now - step.started), columns))
            lines += [cut(f" => => {line}", columns) for line in step.latest]
        lines += [_bar(moving, now, columns) for moving in self._moving.values()]
        if len(lines) > rows:
            lines[max(rows - 1, 0) :] = [f" … {len(lines) - rows + 1} more lines"]
        return [cut(line, columns) for line in lines]

    def _row(self, text: str, taken: float | None, colour: str) -> str:
        right = "" if taken is None else seconds(taken)
        line = _right(text, right, self._size().columns - 1)
        return paint(line, colour, on=self._colour)

    def _summary(self, elapsed: float) -> str:
        verdict = "FAILED" if self._failed else "FINISHED"
        steps = self._done + self._failed
        cached = f", {self._cached} cached" if self._cached else ""
        text = f"[+] Building {seconds(elapsed)} ({steps} steps{cached}) {verdict}"
        return paint(text, "bold", on=self._colour)

    def _terminal_size(self) -> os.terminal_size:
        try:
            size = os.get_terminal_size(self._stream.fileno())
        except OSError:
            size = os.terminal_size((0, 0))
        # A terminal that was never told its size says 0.
        return size if size.columns > 1 and size.lines > 1 else os.terminal_size((80, 24))


def _right(text: str, right: str, columns: int) -> str:
    """Return ``text`` cut so that ``right`` stands at the right margin."""
    text = cut(text, columns - len(right) - 1)
    return f"{text}{' ' * (columns - width(text) - len(right))}{right}" if right else text


def _bar(moving: _Moving, now: float, columns: int) -> str:
    from tqdm import tqdm  # noqa: PLC0415 - only where something is moved

    event = moving.event
    return tqdm.format_meter(
        event.done,
        event.total or None,  # type: ignore[arg-type]  # typeshed: tqdm takes None for unknown
        now - moving.started,
        ncols=columns,
        prefix=f" => {clean(event.verb)} {clean(event.name)}",
        unit="B",
        unit_scale=True,
    )
