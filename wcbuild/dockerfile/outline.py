"""What a Dockerfile offers to its caller: the targets in it, and what one of them takes."""

from __future__ import annotations

import bisect
import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from wcbuild.dockerfile.directives import ESCAPES
from wcbuild.dockerfile.ignore import IgnoreRules
from wcbuild.dockerfile.instructions import Arg
from wcbuild.dockerfile.lint import lower_and_check
from wcbuild.dockerfile.lower import Options, Outside, find_target
from wcbuild.dockerfile.lower.observer import ArgValue, Observer
from wcbuild.dockerfile.lower.stage import StageState
from wcbuild.dockerfile.source import SourceFile, Span
from wcbuild.dockerfile.stages import Dockerfile, Stage, parse_dockerfile
from wcbuild.dockerfile.words import WordError, expand
from wcbuild.graph.ops import Graph, MountKind, RunOp


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A stage that can be built."""

    name: str
    """Empty for a stage without a name."""
    description: str
    """The comment above that begins with the name."""
    base: str
    """As written, with its variables."""
    platform: str
    span: Span
    is_default: bool
    """It is the last one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutlineArg:
    """A build argument that counts."""

    name: str
    value: str
    """What it is in this build; empty if it has no value."""
    description: str
    span: Span


@dataclass(frozen=True, slots=True, kw_only=True)
class OutlineMount:
    """A secret, or an agent of SSH, that some RUN asks for."""

    name: str
    required: bool
    span: Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """What the build of one target takes."""

    name: str
    description: str
    args: tuple[OutlineArg, ...]
    secrets: tuple[OutlineMount, ...]
    ssh: tuple[OutlineMount, ...]
    source: SourceFile


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetList:
    """The stages of a Dockerfile."""

    targets: tuple[Target, ...]
    """In the order of the file."""
    source: SourceFile


def list_targets(source: SourceFile, *, escape: str = ESCAPES[0]) -> TargetList:
    """Return the stages of a Dockerfile, without looking at what they stand on.

    Raises:
        DockerfileSyntaxError: it cannot be read.
    """
    dockerfile = parse_dockerfile(source.data, file=source.name, escape=escape)
    comments = _comments(dockerfile)
    found = tuple(
        Target(
            name=stage.name,
            description=_description(comments[stage.from_.span.first], stage.name),
            base=stage.from_.base,
            platform=stage.from_.platform,
            span=stage.from_.span,
            is_default=stage.index == len(dockerfile.stages) - 1,
        )
        for stage in dockerfile.stages
    )
    return TargetList(targets=found, source=source)


def outline(
    source: SourceFile, options: Options, outside: Outside, ignore: IgnoreRules | None
) -> Outline:
    """Return what the build of the target takes. Arguments are as for `lint.check`.

    Raises:
        WcbuildError: the build would fail before anything is run.
    """
    dockerfile = parse_dockerfile(source.data, file=source.name, escape=options.escape)
    outliner = _Outliner(dockerfile)
    lowered, checked = lower_and_check(
        dockerfile, source, options, outside, ignore, observer=outliner
    )
    if lowered is None:
        raise checked.error or AssertionError
    return outliner.outline(find_target(dockerfile, options.target), lowered.graph, source)


def _comments(dockerfile: Dockerfile) -> dict[int, tuple[str, ...]]:
    """Return the comments above the instruction that begins on each line."""
    return {node.span.first: node.comments for node in dockerfile.nodes}


def _description(comments: Iterable[str], name: str) -> str:
    """Return what a comment `name text` says of ``name``."""
    starts = (comment.partition(" ") for comment in comments if name)
    return next((text for first, blank, text in starts if blank and first == name), "")


class _Outliner(Observer):
    """Takes note of arguments while a target is lowered."""

    def __init__(self, dockerfile: Dockerfile) -> None:
        self._dockerfile = dockerfile
        self._comments = _comments(dockerfile)
        self._states: dict[int, StageState] = {}
        self._globals: dict[str, OutlineArg] = {}
        self._parts: dict[str, tuple[str, ...]] = {}
        """What the value of a global argument is made of."""
        self._taken: dict[int, list[str]] = {stage.index: [] for stage in dockerfile.stages}
        """Names that a stage declares, and that its FROM line uses."""
        self._own: dict[tuple[int, str], OutlineArg] = {}
        """Arguments to which a stage gives a value of its own."""

    def outline(self, target: Stage, graph: Graph, source: SourceFile) -> Outline:
        """Return the outline of ``target``, which was lowered to ``graph``."""
        return Outline(
            name=target.name,
            description=_description(self._comments[target.from_.span.first], target.name),
            args=self._args(target),
            secrets=self._mounts(graph, MountKind.SECRET),
            ssh=self._mounts(graph, MountKind.SSH),
            source=source,
        )

    # -- Observer

    def from_scope(self, _predefined: Mapping[str, str], scope: Mapping[str, str]) -> None:
        for stage in self._dockerfile.stages:
            for word in (stage.from_.base, stage.from_.platform):
                # Where it cannot be expanded, lowering is about to say so.
                with contextlib.suppress(WordError):
                    expansion = expand(word, scope, escape=self._dockerfile.escape)
                    self._taken[stage.index] += expansion.used

    def stage(self, state: StageState) -> None:
        self._states[state.stage.index] = state

    def arg(self, stage: Stage | None, arg: Arg, value: ArgValue) -> None:
        shown = OutlineArg(
            name=value.name,
            value=value.value or "",
            description=_description(self._comments[arg.span.first], value.name),
            span=arg.span,
        )
        if stage is None:
            own = set(value.used) & {value.name}
            before = self._parts.get(value.name, ()) if own else ()
            self._parts[value.name] = (*value.used, *before)
            self._globals[value.name] = shown
            return
        self._taken[stage.index].append(value.name)
        if not value.is_global:
            self._own[stage.index, value.name] = shown

    # -- the parts of an outline

    def _args(self, target: Stage) -> tuple[OutlineArg, ...]:
        """Return the arguments in the order of the file; of one name, that nearest to the target."""
        found: dict[str, OutlineArg] = {}
        for stage in self._nearest_first(target):
            seen: set[str] = set()
            names = list(self._taken[stage.index])
            while names:
                name = names.pop(0)
                if name in seen:
                    continue
                seen.add(name)
                own = self._own.get((stage.index, name))
                shown = own or self._globals.get(name)
                if own is None:
                    names += self._parts.get(name, ())
                if shown is not None:
                    found.setdefault(name, shown)
        return tuple(sorted(found.values(), key=lambda each: each.span.first))

    def _nearest_first(self, target: Stage) -> Iterator[Stage]:
        """Yield the target, what it stands on, and then the stages that it takes files from."""
        state: StageState | None = self._states[target.index]
        base = []
        while state is not None:
            base.append(state.stage.index)
            state = state.parent
        others = sorted(self._states.keys() - set(base), reverse=True)
        yield from (self._states[index].stage for index in (*base, *others))

    def _mounts(self, graph: Graph, kind: MountKind) -> tuple[OutlineMount, ...]:
        """Return the mounts of one kind; of one name, the first in the stage nearest to the target."""
        starts = [stage.from_.span.first for stage in self._dockerfile.stages]
        found: dict[str, tuple[int, OutlineMount]] = {}
        for step in graph.steps:
            for mount in step.op.mounts if isinstance(step.op, RunOp) else ():
                if mount.kind is not kind:
                    continue
                span = step.spans[0]
                stage = bisect.bisect_right(starts, span.first)
                if mount.id not in found or found[mount.id][0] < stage:
                    shown = OutlineMount(name=mount.id, required=mount.required, span=span)
                    found[mount.id] = stage, shown
        shown_all = (shown for _, shown in found.values())
        return tuple(sorted(shown_all, key=lambda each: each.span.first))
