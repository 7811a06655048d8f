"""What RUNs of Windows images need before anything is built, and what images say of them afterwards."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from wcbuild.errors import SourceError, UsageError, blaming
from wcbuild.graph.ops import WINDOWS, Graph, MountKind, RunOp, Step
from wcbuild.graph.plan import ImagePlan
from wcbuild.sandbox.base import Sandbox

if TYPE_CHECKING:
    from wcbuild.sandbox.wine.sandbox import WineSandbox

ISOLATION = "wine"

_WAYS_OUT = (
    "run it under Wine with --isolation=wine, do its work in a Linux stage and COPY --from that, "
    "or build on a Windows machine"
)
_POWERSHELL = re.compile(r'\s*"?(?:[^"\s]*[\\/])?powershell(?:\.exe)?(?:["\s]|\Z)', re.IGNORECASE)
_FOLDER = re.compile(r"(?:[cC]:)?[\\/]*windows[\\/]+", re.IGNORECASE)
_WINES_OWN = ("system32", "syswow64", "sysnative", "winsxs")


def steps(graph: Graph) -> tuple[tuple[Step, RunOp], ...]:
    """Return the RUNs of Windows images."""
    return tuple(
        (step, step.op)
        for step in graph.steps
        if isinstance(step.op, RunOp) and step.op.os == WINDOWS
    )


def open_wine(
    graph: Graph,
    *,
    isolation: str,
    keep_registry: bool,
    keep_folders: Sequence[str],
    inner: Sandbox,
    directory: Path,
    overlay: bool,
) -> WineSandbox:
    """Return what runs the RUNs of Windows images in ``graph``, which has some; nothing is run yet.

    Raises:
        SourceError, WcbuildError: they cannot be run, with the lines of the first that cannot.
    """
    runs = steps(graph)
    first = runs[0][0]
    if isolation != ISOLATION:
        raise SourceError(
            "RUN of a Windows image cannot run on Linux as it is", first.spans, hint=_WAYS_OUT
        )
    from wcbuild.sandbox.wine.install import find_wine  # noqa: PLC0415 - most images are Linux's
    from wcbuild.sandbox.wine.sandbox import Keeping, WineSandbox  # noqa: PLC0415

    keeping = Keeping(registry=keep_registry, folders=tuple(map(_folder, keep_folders)))
    with blaming(*first.spans):
        wine = find_wine()
    for step, op in runs:
        _check(step, op)
    return WineSandbox(inner, wine, directory, overlay=overlay, keeping=keeping)


def _check(step: Step, op: RunOp) -> None:
    """Refuse a RUN of which is known beforehand that it does not work."""
    from wcbuild.sandbox.wine import (  # noqa: PLC0415 - most images are Linux's
        commandline,
        environment,
    )

    line = " ".join(op.args) if op.verbatim else commandline.quoted(op.args)
    reason = ""
    if _POWERSHELL.match(line):
        reason = "Wine has no PowerShell"
    elif op.insecure:
        reason = "a command under Wine cannot have --security=insecure"
    elif op.devices:
        reason = "a command under Wine cannot have devices"
    elif any(mount.kind is MountKind.SSH for mount in op.mounts):
        reason = "a command under Wine cannot have an SSH agent, whose socket is one of Unix"
    if reason:
        raise SourceError(reason, step.spans, hint=_WAYS_OUT.partition(", ")[2])
    with blaming(*step.spans):
        environment.account(op.user)
        commandline.plan(line, {})


def _folder(text: str) -> str:
    r"""Read a folder below `C:\Windows`, given with or without that, as a path from there."""
    path = _FOLDER.sub("", text, count=1).replace("\\", "/").strip("/")
    parts = path.split("/")
    if not path or any(part in {"", ".", ".."} or ":" in part for part in parts):
        raise UsageError(f'--wine-keep "{text}": expected a folder below C:\\Windows')
    if path.lower() in _WINES_OWN:
        raise UsageError(f'--wine-keep "{text}": Wine needs its own; name a folder in it')
    return path


def told(plan: ImagePlan, graph: Graph, wine: WineSandbox) -> ImagePlan:
    """Return the plan with a history that says which commands did not run on Windows."""
    comment = f"run under {wine.description} by wcbuild"
    ran = {id(step) for step, _ in steps(graph)}
    history = tuple(
        replace(line, comment=comment)
        if line.step is not None and id(graph.steps[line.step]) in ran
        else line
        for line in plan.history
    )
    return replace(plan, history=history)
