"""Who wants to know what lowering comes across: checks and outlines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from registry.oci.platform import Platform
from wcbuild.dockerfile.instructions import Arg, Instruction
from wcbuild.dockerfile.lower.outside import BaseImageError
from wcbuild.dockerfile.lower.stage import StageState
from wcbuild.dockerfile.source import Span
from wcbuild.dockerfile.stages import Stage


@dataclass(frozen=True, slots=True, kw_only=True)
class ArgValue:
    """What one name of an ARG comes to."""

    name: str
    value: str | None
    """None: declared only."""
    used: tuple[str, ...] = ()
    """Variables that the value of a global argument is made of."""
    is_global: bool = False
    """A stage takes over the value that the argument has for the whole file."""


class Observer:
    """Listens to nothing; who wants to hear something overrides its method. None may change a state."""

    def from_scope(self, predefined: Mapping[str, str], scope: Mapping[str, str]) -> None:
        """Hear which arguments are predefined, and what FROM lines see: those and the global ones."""

    def image(self, name: str, wanted: Platform, found: Platform, span: Span) -> None:
        """Hear for which platform an image was wanted and is."""

    def no_image(self, error: BaseImageError) -> None:
        """Hear that an image cannot be had, and that lowering goes on without it."""

    def stage(self, state: StageState) -> None:
        """Hear that a stage begins; what it stands on is known."""

    def instruction(self, state: StageState, instruction: Instruction) -> None:
        """Hear what comes next, while ``state`` is still what it was before."""

    def arg(self, stage: Stage | None, arg: Arg, value: ArgValue) -> None:
        """Hear what a declared argument is; without a ``stage`` it is a global one."""

    def unset(self, names: tuple[str, ...], span: Span) -> None:
        """Hear of variables without a value that an instruction of a stage uses."""


class Both(Observer):
    """Tells two what it hears."""

    def __init__(self, first: Observer, second: Observer) -> None:
        self._observers = (first, second)

    def from_scope(self, predefined: Mapping[str, str], scope: Mapping[str, str]) -> None:
        for each in self._observers:
            each.from_scope(predefined, scope)

    def image(self, name: str, wanted: Platform, found: Platform, span: Span) -> None:
        for each in self._observers:
            each.image(name, wanted, found, span)

    def no_image(self, error: BaseImageError) -> None:
        for each in self._observers:
            each.no_image(error)

    def stage(self, state: StageState) -> None:
        for each in self._observers:
            each.stage(state)

    def instruction(self, state: StageState, instruction: Instruction) -> None:
        for each in self._observers:
            each.instruction(state, instruction)

    def arg(self, stage: Stage | None, arg: Arg, value: ArgValue) -> None:
        for each in self._observers:
            each.arg(stage, arg, value)

    def unset(self, names: tuple[str, ...], span: Span) -> None:
        for each in self._observers:
            each.unset(names, span)
