"""A build's plan as `--print-plan` prints it."""

from __future__ import annotations

import json
from collections.abc import Iterator

from wcbuild.buildplan import BuildPlan, PlannedImage, StepPlan


def shown(plan: BuildPlan, form: str) -> str:
    """Return a plan as ``form`` has it: `text` or `json`."""
    if form == "json":
        return json.dumps(plan.to_json(), indent=2, ensure_ascii=False) + "\n"
    return "".join(f"{line}\n" for line in _lines(plan))


def _lines(plan: BuildPlan) -> Iterator[str]:
    by_number = {step.number: step for step in plan.steps}
    for stage in plan.stages:
        yield f"stage {stage.name} (line {stage.line}): FROM {stage.base}"
        for number in stage.steps:
            yield _step(by_number[number])
        if not stage.steps:
            yield "  changes no files" if stage.needed else "  not needed"
    shared = [step for step in plan.steps if not step.stage]
    if shared:
        yield "sources"
        yield from map(_step, shared)
    for image in plan.images:
        yield from _image(image)
    left = sum(not step.cached for step in plan.steps)
    yield f"{left} of {len(plan.steps)} steps to do"


def _step(step: StepPlan) -> str:
    state = "cached" if step.cached else "to do "
    inputs = f"  <- {', '.join(f'#{number}' for number in step.inputs)}" if step.inputs else ""
    return f"  #{step.number:<3} {state}  {_one_line(step.label)}{inputs}"


def _image(image: PlannedImage) -> Iterator[str]:
    yield f"image for {image.platform}: the files of #{image.rootfs}"
    for key, value in image.config.to_json().items():
        yield f"  {key}: {json.dumps(value, ensure_ascii=False)}"
    for text, step in image.history:
        yield f"  history: {_one_line(text)}" + ("" if step is None else f"  (layer of #{step})")
    if image.squash:
        yield "  squash: these layers become one"


def _one_line(text: str) -> str:
    return " ".join(text.split())
