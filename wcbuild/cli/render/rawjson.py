"""A line of JSON for every event, in the shape of BuildKit's `--progress=rawjson`."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from threading import Lock
from typing import Any, TextIO

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


class JsonRenderer:
    """Writes vertexes (steps), logs, statuses (transfers) and warnings."""

    def __init__(
        self,
        stream: TextIO,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._stream = stream
        self._clock = clock
        self._lock = Lock()
        # Events carry a monotonic clock's times; readers want the time of day.
        self._offset = wall_clock() - clock()
        self._labels: dict[int, str] = {}

    def __call__(self, event: Event) -> None:
        """Write ``event``. May be called from several threads."""
        with self._lock:
            self._stream.write(json.dumps(self._status(event), separators=(",", ":")) + "\n")
            self._stream.flush()

    def close(self) -> None:
        """Do nothing: every line is out already."""

    def _status(self, event: Event) -> dict[str, Any]:
        match event:
            case StepStarted():
                self._labels[event.number] = event.label
                started = self._time(event.time)
                return {"vertexes": [self._vertex(event.number, event.label, started=started)]}
            case StepDone():
                vertex = self._ended(event) | ({"cached": True} if event.cached else {})
                return {"vertexes": [vertex]}
            case StepFailed():
                return {"vertexes": [self._ended(event) | {"error": event.reason}]}
            case StepOutput():
                log = {
                    "vertex": _digest(event.number, self._labels.get(event.number, "")),
                    "stream": event.stream,
                    "data": base64.b64encode(event.data).decode(),
                    "timestamp": self._time(event.time),
                }
                return {"logs": [log]}
            case Transfer():
                return {"statuses": [self._transfer(event)]}
            case Notice():
                short = _base64(event.text)
                return {"warnings": [{"level": int(event.level == "warning"), "short": short}]}
            case Warned():
                return {"warnings": [_warning(event)]}

    def _vertex(self, number: int, label: str, **times: str) -> dict[str, Any]:
        return {"digest": _digest(number, label), "name": label, **times}

    def _ended(self, event: StepDone | StepFailed) -> dict[str, Any]:
        return self._vertex(
            event.number,
            event.label,
            started=self._time(event.time - event.seconds),
            completed=self._time(event.time),
        )

    def _transfer(self, event: Transfer) -> dict[str, Any]:
        now = self._time(self._clock())
        status: dict[str, Any] = {
            "id": f"{event.verb} {event.name}",
            "name": event.note or event.verb,
            "total": event.total,
            "current": event.done,
            "timestamp": now,
        }
        return status | ({"completed": now} if event.finished else {})

    def _time(self, value: float) -> str:
        return datetime.fromtimestamp(value + self._offset, UTC).isoformat().replace("+00:00", "Z")


def _warning(event: Warned) -> dict[str, Any]:
    warning, rule = event.warning, event.warning.rule
    lines = range(warning.span.first, warning.span.last + 1)
    fields = {
        "level": 1,
        "short": _base64(str(warning)),
        "detail": [_base64(rule.description)],
        "url": rule.url,
        "sourceInfo": {
            "filename": event.source.name,
            "data": base64.b64encode(event.source.data).decode(),
            "language": "Dockerfile",
        },
        "range": [{"start": {"line": line}, "end": {"line": line}} for line in lines],
    }
    return {key: value for key, value in fields.items() if value}


def _base64(text: str) -> str:
    return base64.b64encode(text.encode("utf-8", "backslashreplace")).decode()


def _digest(number: int, label: str) -> str:
    """Return what names a step in these lines: the same all through one build."""
    text = f"{number} {label}".encode("utf-8", "backslashreplace")
    return f"sha256:{hashlib.sha256(text).hexdigest()}"
