"""What a build would do: `--print-plan`, as values and as JSON."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from registry.oci.config import ContainerConfig
from registry.oci.platform import Platform
from wcbuild.dockerfile.stages import Dockerfile
from wcbuild.graph.keys import op_json
from wcbuild.graph.ops import Graph, ImageOp, Op, Step
from wcbuild.graph.plan import ImagePlan
from wcbuild.graph.reading import base_step


@dataclass(frozen=True, slots=True, kw_only=True)
class StepPlan:
    """One step. Steps are numbered from 1, as a build's output numbers them."""

    number: int
    label: str
    stage: str
    """Empty for what several stages may take from: contexts, `--from` images, the empty file system."""
    op: Op
    inputs: tuple[int, ...]
    """Numbers of the steps whose results it takes."""
    cached: bool
    """The result is known. A step after one that is to be done is not, though it may turn out to be."""
    lines: tuple[int, int] | None
    """First and last line in the Dockerfile."""

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON-able values."""
        return {
            "number": self.number,
            "label": self.label,
            "stage": self.stage or None,
            "operation": {"type": _kind(self.op)} | _shown(self.op),
            "inputs": list(self.inputs),
            "cached": self.cached,
            "lines": None if self.lines is None else list(self.lines),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class StagePlan:
    """A stage of the Dockerfile."""

    name: str
    base: str
    """As it is written."""
    line: int
    needed: bool
    """The target stands on it, takes files from it, or is it."""
    steps: tuple[int, ...]
    """Numbers of its steps; none if it is not needed, or touches no files."""

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON-able values."""
        return {
            "name": self.name,
            "base": self.base,
            "line": self.line,
            "needed": self.needed,
            "steps": list(self.steps),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedImage:
    """One platform's image."""

    platform: Platform
    rootfs: int
    """Number of the step that gives the file system."""
    config: ContainerConfig
    history: tuple[tuple[str, int | None], ...]
    """New lines: what made it, and the step that makes its layer, if it has one."""
    squash: bool
    """These layers become one."""

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON-able values."""
        return {
            "platform": str(self.platform),
            "rootfs": self.rootfs,
            "config": self.config.to_json(),
            "history": [{"createdBy": text, "step": step} for text, step in self.history],
            "squash": self.squash,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildPlan:
    """What a build would do."""

    stages: tuple[StagePlan, ...]
    steps: tuple[StepPlan, ...]
    images: tuple[PlannedImage, ...]

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON-able values."""
        return {
            "stages": [each.to_json() for each in self.stages],
            "steps": [each.to_json() for each in self.steps],
            "images": [each.to_json() for each in self.images],
        }


def make_plan(
    dockerfile: Dockerfile,
    needed: Collection[int],
    graph: Graph,
    plans: Sequence[ImagePlan],
    known: Collection[int],
    *,
    squash: bool = False,
) -> BuildPlan:
    """Put together what is planned.

    ``needed`` are the indexes of stages that the target needs, ``known`` those of steps whose results
    are there.
    """
    steps = tuple(_step(index, step, index in known) for index, step in enumerate(graph.steps))
    return BuildPlan(
        stages=tuple(
            StagePlan(
                name=stage.display_name,
                base=stage.from_.base,
                line=stage.from_.span.first,
                needed=stage.index in needed,
                steps=tuple(step.number for step in steps if step.stage == stage.display_name),
            )
            for stage in dockerfile.stages
        ),
        steps=steps,
        images=tuple(
            PlannedImage(
                platform=plan.platform,
                rootfs=plan.rootfs + 1,
                config=plan.config,
                history=tuple(
                    (line.created_by, None if line.step is None else line.step + 1)
                    for line in plan.history
                ),
                squash=squash and _own_layers(plan, graph) > 1,
            )
            for plan in plans
        ),
    )


def _own_layers(plan: ImagePlan, graph: Graph) -> int:
    base = base_step(graph, plan.rootfs)
    return sum(line.step not in (None, base) for line in plan.history)


def _step(index: int, step: Step, cached: bool) -> StepPlan:
    span = step.spans[0] if step.spans else None
    return StepPlan(
        number=index + 1,
        label=step.label,
        stage=step.stage,
        op=step.op,
        inputs=tuple(each + 1 for each in step.inputs),
        cached=cached,
        lines=None if span is None else (span.first, span.last),
    )


def _kind(op: Op) -> str:
    return type(op).__name__.removesuffix("Op").lower()


def _shown(op: Op) -> dict[str, Any]:
    """Return the operation's fields: those that decide its result, and those that people ask for."""
    if isinstance(op, ImageOp):
        return {
            "reference": op.reference,
            "digest": str(op.digest),
            "platform": str(op.platform),
        }
    return op_json(op)
