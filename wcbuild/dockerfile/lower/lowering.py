"""Which stages are lowered, and what their instructions come to."""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from registry.oci.platform import Platform
from wcbuild.dockerfile import fold
from wcbuild.dockerfile.instructions import (
    Arg,
    Cmd,
    Copy,
    Entrypoint,
    Env,
    Expose,
    From,
    HealthCheck,
    Instruction,
    Label,
    Maintainer,
    OnBuild,
    Run,
    Shell,
    StopSignal,
    User,
    Volume,
    Workdir,
)
from wcbuild.dockerfile.lower.arguments import Arguments, unused_build_args
from wcbuild.dockerfile.lower.bases import Bases
from wcbuild.dockerfile.lower.files import lower_copy, lower_workdir
from wcbuild.dockerfile.lower.observer import ArgValue, Observer
from wcbuild.dockerfile.lower.outside import SCRATCH, ContextKind, Lowered, Options, Outside
from wcbuild.dockerfile.lower.run import lower_run
from wcbuild.dockerfile.lower.stage import NEVER_SET, Offered, StageState
from wcbuild.dockerfile.lower.stagegraph import StageGraph, find_target
from wcbuild.dockerfile.lower.steps import Steps
from wcbuild.dockerfile.source import Span
from wcbuild.dockerfile.stages import Dockerfile, Stage, parse_trigger
from wcbuild.errors import SourceError, blaming
from wcbuild.graph.ops import WINDOWS, Graph
from wcbuild.graph.plan import ImagePlan

_BUILT_IN_SYNTAXES = ("docker/dockerfile", "docker/dockerfile-upstream", "dockerfile.v0")


def lower(
    dockerfile: Dockerfile,
    options: Options,
    outside: Outside,
    observer: Observer = Observer(),  # noqa: B008 - it has no state
) -> Lowered:
    """Lower the target stage and all it needs; ``observer`` is told what that comes across.

    Raises:
        SourceError: a place in the Dockerfile is to blame, which it also is for a base image that cannot
            be had (BaseImageError).
    """
    _check_syntax(dockerfile, options.build_args.get("BUILDKIT_SYNTAX"))
    lowering = Lowering(dockerfile, options, outside, observer)
    target = find_target(dockerfile, lowering.stages.meant(options.target))
    # In the order of the file, as people read it, and without recursion through a thousand stages.
    needed = lowering.stages.needed(target)
    for stage in dockerfile.stages if options.every_stage else needed:
        lowering.stage(stage)
    state = lowering.stage(target)
    config = replace(state.config, labels={**state.config.labels, **options.labels})
    plan = ImagePlan(
        rootfs=state.rootfs,
        platform=_image_platform(state, options),
        config=config,
        author=state.author,
        base_history=state.base.history if state.base else (),
        history=tuple(state.history),
    )
    return Lowered(
        graph=Graph(steps=tuple(lowering.steps.all)),
        plan=plan,
        unused_build_args=unused_build_args(dockerfile, options.build_args),
        source_date_epoch=lowering.arguments.global_value("SOURCE_DATE_EPOCH"),
        stages=frozenset(lowering.done),
    )


def _image_platform(state: StageState, options: Options) -> Platform:
    """Return what the image is for: the platform asked for, even if the target stands on another one's.

    Files that do not depend on the machine may well stand on the build platform's base. Layers of Windows
    are unlike others, and its images keep their base's version.
    """
    asked, found = options.platform, state.platform
    if state.base is not None and state.base.platform.architecture:
        found = state.base.platform
    if not options.platform_given or asked.os != found.os or asked.os == WINDOWS:
        return found.normalized()
    if not asked.variant and asked.architecture == found.architecture:
        return replace(asked, variant=found.variant).normalized()
    return asked.normalized()


def _check_syntax(dockerfile: Dockerfile, wanted: str | None) -> None:
    """Refuse a language that somebody else's front end would have to read.

    ``wanted`` is what the build argument BUILDKIT_SYNTAX says instead of the file.
    """
    file = dockerfile.stages[0].from_.span.file
    spans: tuple[Span, ...] = ()
    if wanted is None:
        directive = next((each for each in dockerfile.directives if each.name == "syntax"), None)
        if directive is None:
            return
        wanted = directive.first_word
        spans = (Span(file=file, first=directive.line, last=directive.line),)
    folder, slash, name = wanted.partition("@")[0].rpartition("/")
    image = f"/{folder}{slash}{name.partition(':')[0]}"
    # Wherever its image is kept: many have a mirror of their own.
    if not image.endswith(tuple(f"/{each}" for each in _BUILT_IN_SYNTAXES)):
        raise SourceError(
            f'the syntax "{wanted}" is not known',
            spans,
            word=wanted,
            hint="docker/dockerfile is built in, and there is no other",
        )


class Lowering:
    """One run of `lower`: the steps so far and the stages that are done."""

    def __init__(
        self, dockerfile: Dockerfile, options: Options, outside: Outside, observer: Observer
    ) -> None:
        self.options = options
        self.arguments = Arguments(dockerfile, options, observer)
        self.stages = StageGraph(dockerfile, options, outside, self.arguments)
        self.steps = Steps(options, several=len(dockerfile.stages) > 1)
        self.done: dict[int, StageState] = {}
        """The stages that are lowered, by index."""
        self._dockerfile = dockerfile
        self._observer = observer
        self._bases = Bases(options, outside, observer, self.stages, self.steps)
        self._in_progress: list[int] = []

    def stage(self, stage: Stage) -> StageState:
        """Return the lowered stage, lowering it now if nobody needed it before."""
        if stage.index in self.done:
            return self.done[stage.index]
        if stage.index in self._in_progress:
            raise SourceError(
                f"circular dependency detected on stage: {stage.display_name}",
                (stage.from_.span,),
            )
        self._in_progress.append(stage.index)
        state = self._start(stage)
        self._observer.stage(state)
        triggers = [
            instruction
            for text in state.triggers
            for instruction in parse_trigger(
                text, span=stage.from_.span, escape=self._dockerfile.escape
            )
        ]
        instructions = (*triggers, *state.stage.instructions)
        files = sum(isinstance(each, Run | Copy | Workdir) for each in instructions)
        state.total = files + state.position
        if state.position and not self.steps.all[state.rootfs].stage:
            self.steps.label(state, state.rootfs, f"FROM {state.reference}")
        for instruction in instructions:
            self._dispatch(state, instruction)
        state.finish()
        self._in_progress.pop()
        self.done[stage.index] = state
        return state

    def _start(self, stage: Stage) -> StageState:
        """Begin a stage: find what it stands on."""
        from_ = stage.from_
        base = self.stages.base(stage)
        state = StageState(stage, self.stages.platform(from_))
        if self.stages.replaced(stage):
            state.stage = replace(stage, instructions=())
            self._bases.start(state, stage.name, from_)
            state.triggers = ()
            return state
        parent = self.stages.parent(stage)
        if parent is not None:
            state.inherit(self.stage(parent))
        elif base == SCRATCH:
            self._bases.start_from_scratch(state, from_)
        else:
            self._bases.start(state, base, from_)
        return state

    def files(self, state: StageState, name: str, span: Span) -> Offered:
        """Return what ``from=`` means."""
        if not name:
            return self.steps.context(None, span)
        platform = self._source_platform(state)
        named = self.stages.context(name, platform)
        if named is not None and named.kind is ContextKind.FILES:
            return self.steps.context(named, span)
        stage = self.stages.source(name, span)
        if stage is not None:
            if stage.index > state.stage.index:
                raise SourceError(
                    f'cannot copy from stage "{name}", it needs to be defined before'
                    f' current stage "{state.stage.display_name}"',
                    (span,),
                    word=name,
                )
            step, origin = self.stage(stage).rootfs, f'stage "{stage.display_name}"'
            return Offered(step=step, has_owners=True, origin=origin)
        if name == SCRATCH or (named is not None and named.kind is ContextKind.SCRATCH):
            return Offered(step=self.steps.scratch(span), has_owners=True, origin=f'"{name}"')
        step = self._bases.step(name, platform, span)
        return Offered(step=step, has_owners=True, origin=f'image "{name}"')

    def _source_platform(self, state: StageState) -> Platform:
        """Return the platform of images that a stage takes files from: the target's, not its own.

        A stage for the machine that builds may collect what the image is to have. Where nobody named a
        platform, a base for Windows has.
        """
        target = self.options.platform
        own = state.platform.os != target.os and not self.options.platform_given
        return state.platform if own else target

    # -- instructions

    def _dispatch(self, state: StageState, instruction: Instruction) -> None:
        self._observer.instruction(state, instruction)
        with blaming(instruction.span):
            self._lower(state, instruction)

    def _lower(self, state: StageState, instruction: Instruction) -> None:
        def expand(word: str) -> str:
            return self.arguments.expand(word, state.scope, instruction.span)

        match instruction:
            case Arg():
                self._arg(state, instruction)
            case Run():
                lower_run(self, state, instruction)
            case Copy():
                lower_copy(self, state, instruction)
            case Workdir():
                lower_workdir(self, state, instruction)
            case Maintainer():
                state.author = instruction.name
                state.note(f"MAINTAINER {instruction.name}")
            case OnBuild():
                config = state.config
                state.config = replace(config, on_build=(*config.on_build, instruction.expression))
            case From():
                raise SourceError("FROM is not allowed here", (instruction.span,))
            case _:
                self._fold(state, instruction, expand)

    def _fold(
        self,
        state: StageState,
        instruction: (
            Env
            | Label
            | Cmd
            | Entrypoint
            | Expose
            | User
            | Volume
            | Shell
            | StopSignal
            | HealthCheck
        ),
        expand: fold.Expand,
    ) -> None:
        def expand_words(word: str) -> list[str]:
            return self.arguments.expand_words(word, state.scope, instruction.span)

        config, windows = state.config, state.is_windows
        match instruction:
            case Env():
                pairs, created_by = fold.fold_env(instruction, expand)
                state.env.update(pairs)
                for name, value in pairs:
                    state.scope.renew(name, value)
                folded = config, created_by
            case Label():
                folded = fold.fold_label(config, instruction, expand)
            case Cmd():
                folded = fold.fold_cmd(config, instruction, windows=windows)
                state.cmd_is_set = True
            case Entrypoint():
                folded = fold.fold_entrypoint(
                    config, instruction, cmd_is_set=state.cmd_is_set, windows=windows
                )
            case Expose():
                ports, created_by = fold.fold_expose(instruction, expand_words)
                state.ports.update(dict.fromkeys(ports))
                folded = config, created_by
            case User():
                folded = fold.fold_user(config, instruction, expand)
            case Volume():
                volumes, created_by = fold.fold_volume(instruction, expand)
                state.volumes.update(dict.fromkeys(volumes))
                folded = config, created_by
            case Shell():
                folded = fold.fold_shell(config, instruction)
            case StopSignal():
                folded = fold.fold_stop_signal(config, instruction, expand, windows=windows)
            case HealthCheck():
                folded = fold.fold_health_check(config, instruction)
            case _:
                assert_never(instruction)
        state.config, created_by = folded
        state.note(created_by)

    def _arg(self, state: StageState, instruction: Arg) -> None:
        """ARG: from left to right, so a later name sees an earlier one."""
        build_args = self.options.build_args
        texts = []
        for name, default in instruction.pairs:
            value = build_args.get(name)
            if value is None and default is not None:
                value = self.arguments.expand(default, state.scope, instruction.span)
            is_global = False
            if value is None:
                value = self.arguments.default_of(name)
                is_global = value is not None
            if value is not None and name not in NEVER_SET:
                state.scope.renew(name, value)
            told = ArgValue(name=name, value=value, is_global=is_global)
            self._observer.arg(state.stage, instruction, told)
            state.args.append((name, value))
            texts.append(name if value is None else f"{name}={value}")
        state.note("ARG " + " ".join(texts))
