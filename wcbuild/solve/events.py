"""What a build says while it runs: frozen values passed to an `emit` callable.

Renderers in `wcbuild.cli` turn them into lines, a live tree or JSON; tests assert on them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from wcbuild.dockerfile.rules import LintWarning
from wcbuild.dockerfile.source import SourceFile


@dataclass(frozen=True, slots=True, kw_only=True)
class StepStarted:
    """Step ``number`` (from 1, stable in one build) begins. Times are seconds of a monotonic clock."""

    number: int
    label: str
    time: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StepOutput:
    """Bytes that a command printed: ``stream`` 1 is stdout, 2 stderr."""

    number: int
    stream: int
    data: bytes
    time: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StepDone:
    """The step ended well; ``cached`` when nothing had to be done."""

    number: int
    label: str
    time: float
    seconds: float
    cached: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFailed:
    """The step failed; the exception that ends the build says more."""

    number: int
    label: str
    time: float
    seconds: float
    reason: str
    canceled: bool = False
    """It was told to end: another step failed, or the person does not want it any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """Progress of one blob: a pull, a push, an import or an export. ``total`` 0 is not known yet."""

    verb: str
    """`pull`, `push`, `import` (of a cache) or `export`."""
    name: str
    """What is moved: a short digest or a file name."""
    done: int
    total: int
    finished: bool = False
    note: str = ""
    """`exists`, `mounted` and the like."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """A sentence for the person: a warning (`level` `warning`) or a piece of information (`info`)."""

    level: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Warned:
    """A check of the Dockerfile found something; ``source`` is the file that it stands in."""

    warning: LintWarning
    source: SourceFile


Event = StepStarted | StepOutput | StepDone | StepFailed | Transfer | Notice | Warned
Emit = Callable[[Event], None]
