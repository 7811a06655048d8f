"""Which stages are lowered, what they stand on, and the steps that come out."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import assert_never

from registry.errors import InvalidDocumentError, RegistryError
from registry.image import NoPlatformError
from registry.oci.config import ContainerConfig, ImageConfig
from registry.oci.platform import Platform
from registry.reference import Reference
from wcbuild.dockerfile import fold, words
from wcbuild.dockerfile.instructions import (
    Arg,
    Cmd,
    Copy,
    Entrypoint,
    Env,
    Expose,
    From,
    HealthCheck,
    Heredoc,
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
from wcbuild.dockerfile.lower.files import lower_copy, lower_workdir
from wcbuild.dockerfile.lower.observer import ArgValue, Observer
from wcbuild.dockerfile.lower.outside import (
    MAIN_CONTEXT,
    SCRATCH,
    BaseImageError,
    ContextKind,
    Lowered,
    NamedContext,
    Options,
    Outside,
    ResolvedImage,
)
from wcbuild.dockerfile.lower.paths import in_config
from wcbuild.dockerfile.lower.run import PROXY_ARGS, lower_run
from wcbuild.dockerfile.lower.stage import NEVER_SET, StageState
from wcbuild.dockerfile.source import Span
from wcbuild.dockerfile.stages import Dockerfile, Stage, parse_trigger
from wcbuild.dockerfile.suggest import did_you_mean
from wcbuild.errors import SourceError, WcbuildError
from wcbuild.graph.ops import LINUX, WINDOWS, ContextOp, CopyOp, Graph, ImageOp, Op, ScratchOp, Step
from wcbuild.graph.plan import ImagePlan

_OUR_ARGS = ("BUILDKIT_", "SOURCE_DATE_EPOCH")
"""What build arguments begin with that need no ARG to be heard."""
_LONGEST_INDEX = 9
"""Digits of a stage's number."""
_TARGET_ARGS = frozenset(("TARGETPLATFORM", "TARGETOS", "TARGETARCH", "TARGETVARIANT"))
"""With one of them a stage's steps are those of one target alone."""

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
    target = find_target(dockerfile, lowering.stage_name(options.target))
    # In the order of the file, as people read it, and without recursion through a thousand stages.
    needed = lowering.needed(target)
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
        graph=Graph(steps=tuple(lowering.steps)),
        plan=plan,
        unused_build_args=_unused_build_args(dockerfile, options.build_args),
        source_date_epoch=lowering.global_value("SOURCE_DATE_EPOCH"),
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


def declared_args(dockerfile: Dockerfile) -> frozenset[str]:
    """Return the names of all ARGs, whether their stages are built or not."""
    instructions = (each for stage in dockerfile.stages for each in stage.instructions)
    args = (each for each in (*dockerfile.args, *instructions) if isinstance(each, Arg))
    return frozenset(name for arg in args for name, _ in arg.pairs)


def _unused_build_args(dockerfile: Dockerfile, given: Mapping[str, str]) -> tuple[str, ...]:
    undeclared = set(given) - declared_args(dockerfile) - PROXY_ARGS
    return tuple(sorted(name for name in undeclared if not name.startswith(_OUR_ARGS)))


def find_target(dockerfile: Dockerfile, target: str) -> Stage:
    """Return the stage that is to be built: the last, unless another is named.

    Raises:
        SourceError: there is none of that name.
    """
    if not target:
        return dockerfile.stages[-1]
    for stage in reversed(dockerfile.stages):
        if stage.name == target.lower():
            return stage
    hint = did_you_mean(target, [stage.name for stage in dockerfile.stages if stage.name])
    raise SourceError(f'target stage "{target}" could not be found', hint=hint)


class Lowering:
    """One run of `lower`: the steps so far and the stages that are done."""

    def __init__(
        self, dockerfile: Dockerfile, options: Options, outside: Outside, observer: Observer
    ) -> None:
        self.steps: list[Step] = []
        self._dockerfile = dockerfile
        self.options = options
        self._outside = outside
        self._observer = observer
        self.done: dict[int, StageState] = {}
        """The stages that are lowered, by index."""
        self._in_progress: list[int] = []
        self._sources: dict[tuple[Op, tuple[int, ...]], int] = {}
        self._parents: dict[int, Stage] = {}
        """The stages that stages stand on."""
        self._by_name: dict[str, Stage] = {}
        """The last stage of each name."""
        self._platform_args = self._make_platform_args()
        self.global_scope, self._global_args = self._evaluate_global_args()

    def _make_platform_args(self) -> dict[str, str]:
        options = self.options
        values = {}
        for prefix, platform in (
            ("BUILD", options.build_platform),
            ("TARGET", options.platform),
        ):
            values[f"{prefix}PLATFORM"] = str(platform)
            values[f"{prefix}OS"] = platform.os
            values[f"{prefix}OSVERSION"] = platform.os_version
            values[f"{prefix}ARCH"] = platform.architecture
            values[f"{prefix}VARIANT"] = platform.variant
        stages = self._dockerfile.stages
        values["TARGETSTAGE"] = options.target or stages[-1].name or "default"
        return values

    def _evaluate_global_args(self) -> tuple[dict[str, str], dict[str, str]]:
        """Return what FROM lines see, and what an ARG of a stage takes as its default."""
        build_args = self.options.build_args
        predefined = {
            name: build_args.get(name, value) for name, value in self._platform_args.items()
        }
        scope = dict(predefined)
        declared: dict[str, str] = {}
        for arg in self._dockerfile.args:
            for name, default in arg.pairs:
                value = build_args.get(name)
                used: tuple[str, ...] = ()
                if value is None and default is not None:
                    expansion = self._expansion(default, scope, arg.span)
                    value, used = expansion.text, expansion.used
                if value is not None:
                    scope[name] = declared[name] = value
                self._observer.arg(None, arg, ArgValue(name=name, value=value, used=used))
        self._observer.from_scope(predefined, scope)
        return scope, declared

    def global_value(self, name: str) -> str:
        """Return what a build argument or a global ARG says, or nothing."""
        return self.options.build_args.get(name, self._global_args.get(name, ""))

    def _expansion(self, word: str, scope: Mapping[str, str], span: Span) -> words.Expansion:
        with _blaming(span, word):
            return words.expand(word, scope, escape=self._dockerfile.escape)

    def expand(self, word: str, scope: Mapping[str, str], span: Span) -> str:
        """Return a word of a stage with its variables replaced, quotes and escapes gone."""
        return self._told(self._expansion(word, scope, span), span).text

    def expand_heredoc(self, heredoc: Heredoc, scope: Mapping[str, str], span: Span) -> str:
        """Return the content of a heredoc, with variables replaced if its name allows it."""
        if not heredoc.expand:
            return heredoc.content
        with _blaming(span, heredoc.name):
            expansion = words.expand_heredoc(heredoc.content, scope)
        return self._told(expansion, span).text

    def expand_words(self, word: str, scope: Mapping[str, str], span: Span) -> list[str]:
        """Return what a word comes to, split again at its blanks."""
        return self._told(self._expansion(word, scope, span), span).words

    def _told(self, expansion: words.Expansion, span: Span) -> words.Expansion:
        """Tell the observer of variables without a value."""
        if expansion.unset:
            self._observer.unset(expansion.unset, span)
        return expansion

    # -- stages

    def needed(self, target: Stage) -> list[Stage]:
        """Return the stages that ``target`` needs, and itself, in the order of the file.

        Raises:
            SourceError: a stage, needed or not, has a wrong FROM line, or takes files from one that
                cannot exist, or that takes files from it.
        """
        stages = self._dockerfile.stages
        for stage in stages:
            self._check_from(stage)
        below = [self._sources_of(stage) for stage in stages]
        self._check_cycles(below)
        found = {target.index}
        for index in range(target.index, -1, -1):
            if index in found:
                found |= below[index].keys()
                if index in self._parents:
                    found.add(self._parents[index].index)
        return [stages[index] for index in sorted(found)]

    def _check_from(self, stage: Stage) -> None:
        """Find the stage that one stands on, and refuse what is wrong whatever images there are."""
        base = self._base(stage)
        self._stage_platform(stage.from_)
        if not self._replaced(stage):
            parent = self._by_name.get(self.stage_name(base))
            if parent is None:
                self._check_name(base, stage.from_.span)
            else:
                self._parents[stage.index] = parent
        if stage.name:
            self._check_stage_name(stage)
            self._by_name[stage.name] = stage

    def _check_stage_name(self, stage: Stage) -> None:
        """Refuse a name that no named context could have, though it may begin like one."""
        try:
            Reference.parse(stage.name)
        except RegistryError as error:
            message = f'invalid name for build stage: "{stage.name}"'
            hint = (
                "dots, dashes and underscores stand between letters or digits, as in go_build-1.2"
            )
            raise SourceError(message, (stage.from_.span,), word=stage.name, hint=hint) from error

    def _check_name(self, name: str, span: Span) -> None:
        """Refuse what no image could be called."""
        try:
            Reference.parse(name)
        except RegistryError as error:
            raise self._no_image(name, error, span) from error

    def _sources_of(self, stage: Stage) -> dict[int, Span]:
        """Return the stages that one takes files from, each with the first place that says so."""
        if self._replaced(stage):
            return {}
        found: dict[int, Span] = {}
        for instruction in stage.instructions:
            names: Iterable[str] = ()
            if isinstance(instruction, Copy) and instruction.from_:
                names = (instruction.from_,)
            elif isinstance(instruction, Run) and instruction.mounts:
                from wcbuild.dockerfile.mounts import (  # noqa: PLC0415 - only few have any
                    named_source,
                )

                names = filter(None, map(named_source, instruction.mounts))
            for name in names:
                source = self._from_stage(name, instruction.span)
                if source is not None:
                    found.setdefault(source.index, instruction.span)
        return found

    def _check_cycles(self, below: Sequence[Mapping[int, Span]]) -> None:
        """Refuse stages that need each other, or themselves."""
        if all(max(found, default=-1) < index for index, found in enumerate(below)):
            return
        from graphlib import CycleError, TopologicalSorter  # noqa: PLC0415 - all take from above

        try:
            TopologicalSorter(dict(enumerate(below))).prepare()
        except CycleError as error:
            cycle = error.args[1]
            name = self._dockerfile.stages[cycle[0]].display_name
            spans = (below[user][source] for source, user in itertools.pairwise(cycle))
            message = f"circular dependency detected on stage: {name}"
            raise SourceError(message, tuple(spans)) from None

    def _replaced(self, stage: Stage) -> bool:
        """Say whether a named context of the stage's own name stands in its place."""
        return bool(stage.name) and self._named(stage.name) is not None

    def _named(self, name: str, platform: Platform | None = None) -> NamedContext | None:
        named = self._outside.context(name, platform or self.options.platform)
        return None if named is None or named.kind is ContextKind.STAGE else named

    def stage_name(self, name: str) -> str:
        """Return the name of the stage that ``name`` means: a named context may say another."""
        named = self._outside.context(name, self.options.platform) if name else None
        if named is None or named.kind is not ContextKind.STAGE:
            return name
        if all(stage.name != named.stage.lower() for stage in self._dockerfile.stages):
            message = (
                f'--build-context {name}: there is neither a folder nor a stage "{named.stage}"'
            )
            raise SourceError(message)
        return named.stage

    def _base(self, stage: Stage) -> str:
        from_ = stage.from_
        expansion = self._expansion(from_.base, self.global_scope, from_.span)
        if not expansion.text:
            message = f"base name ({from_.base}) should not be blank"
            hint = self._slip(expansion) or "give the ARG a value"
            raise SourceError(message, (from_.span,), word=from_.base, hint=hint)
        return expansion.text

    def _slip(self, expansion: words.Expansion) -> str:
        """Return the question whether a variable of a FROM line that has no value is misspelt."""
        known = {name for arg in self._dockerfile.args for name, _ in arg.pairs} | set(
            self.global_scope
        )
        return next(
            filter(None, (did_you_mean(name, sorted(known)) for name in expansion.unset)), ""
        )

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
        if state.position and not self.steps[state.rootfs].stage:
            self._label(state, state.rootfs, f"FROM {state.reference}")
        for instruction in instructions:
            self._dispatch(state, instruction)
        state.finish()
        self._in_progress.pop()
        self.done[stage.index] = state
        return state

    def _start(self, stage: Stage) -> StageState:
        """Begin a stage: find what it stands on."""
        from_ = stage.from_
        base = self._base(stage)
        state = StageState(stage, self._stage_platform(from_))
        if self._replaced(stage):
            state.stage = replace(stage, instructions=())
            self._start_from_outside(state, stage.name, from_)
            state.triggers = ()
            return state
        if stage.index in self._parents:
            state.inherit(self.stage(self._parents[stage.index]))
        elif base == SCRATCH:
            self._start_from_scratch(state, from_)
        else:
            self._start_from_outside(state, base, from_)
        return state

    def _stage_platform(self, from_: From) -> Platform:
        if not from_.platform:
            return self.options.platform
        expansion = self._expansion(from_.platform, self.global_scope, from_.span)
        hint = self._slip(expansion)
        if not expansion.text:
            message = f"empty platform value from expression {from_.platform}"
            raise SourceError(message, (from_.span,), word=from_.platform, hint=hint)
        try:
            return Platform.parse(expansion.text)
        except InvalidDocumentError as error:
            message = f"failed to parse platform {from_.platform}: {error}"
            raise SourceError(message, (from_.span,), word=from_.platform, hint=hint) from error

    def _start_from_outside(self, state: StageState, name: str, from_: From) -> None:
        span = from_.span
        named = self._named(name, state.platform)
        if named is not None and named.kind is ContextKind.SCRATCH:
            self._start_from_scratch(state, from_)
            return
        state.position = 1
        if named is not None and named.kind is ContextKind.FILES:
            files, _ = self._context(named, span)
            op = CopyOp(sources=("",), dest="/", os=state.platform.os)
            inputs = (self.scratch(span, op.os), files)
            state.rootfs = self._add(Step(op=op, inputs=inputs, spans=(span,)))
            state.reference = name
            state.set_config(
                ContainerConfig() if self._replaced(state.stage) else self._no_config(state)
            )
            return
        asked = bool(from_.platform) or self.options.platform_given
        image = self._image(name, state.platform, span, asked=asked)
        state.rootfs = self.source(
            self._image_op(name, image),
            f"FROM {name}",
            span,
        )
        self._check_base(state, name, image.config.platform, from_)
        if not from_.platform or state.is_windows:
            # Windows images keep their base's version of Windows.
            state.platform = self._merged_platform(image.config.platform)
        state.base = image.config
        state.author = image.config.author
        state.reference = f"{name}@{image.digest}"
        state.triggers = image.config.config.on_build
        state.set_config(replace(image.config.config, on_build=()))

    def _start_from_scratch(self, state: StageState, from_: From) -> None:
        state.rootfs = self.scratch(from_.span, state.platform.os)
        if state.is_windows:
            state.note("FROM scratch # empty registry hives", state.rootfs)
        state.set_config(self._no_config(state))

    def _no_config(self, state: StageState) -> ContainerConfig:
        return ContainerConfig(working_dir=in_config("/", windows=state.is_windows))

    def _merged_platform(self, found: Platform) -> Platform:
        """Return the base's platform; one that says nothing is what was asked for."""
        return found if found.os and found.architecture else self.options.platform

    def _image(self, name: str, platform: Platform, span: Span, *, asked: bool) -> ResolvedImage:
        """Return what ``name`` means for a platform, which somebody may have ``asked`` for."""
        try:
            image = self._find_image(name, platform, asked=asked)
        except RegistryError as error:
            failure = self._no_image(name, error, span)
            if not self.options.without_images:
                raise failure from error
            self._observer.no_image(failure)
            return ResolvedImage(digest="", config=ImageConfig(platform=platform))
        self._observer.image(name, platform, image.config.platform, span)
        return image

    def _no_image(self, name: str, error: RegistryError, span: Span) -> BaseImageError:
        stages = [stage.name for stage in self._dockerfile.stages if stage.name]
        hint = did_you_mean(name, stages)
        return BaseImageError(f'image "{name}": {error}', (span,), word=name, hint=hint)

    def _find_image(self, name: str, platform: Platform, *, asked: bool) -> ResolvedImage:
        """Return what ``name`` means; if nobody asked for a platform, what it is for may be another."""
        try:
            return self._outside.image(name, platform)
        except NoPlatformError as error:
            only = {replace(each, os_version="", os_features=()) for each in error.offered}
            if asked or len(only) != 1:
                raise
            return self._outside.image(name, only.pop())

    def _check_base(self, state: StageState, name: str, found: Platform, from_: From) -> None:
        """Refuse a base for another system, or another Windows, than was asked for."""
        wanted = state.platform
        asked = bool(from_.platform) or self.options.platform_given
        if not asked or not found.os or not {wanted.os, found.os} & {WINDOWS}:
            return
        if not wanted.accepts(found):
            raise SourceError(
                f'base image "{name}" is for {found}, but the stage is for {wanted}',
                (from_.span,),
                word=name,
                hint="FROM --platform says what a stage is for",
            )

    def _image_op(self, name: str, image: ResolvedImage) -> ImageOp:
        platform = self._merged_platform(image.config.platform)
        return ImageOp(reference=name, digest=image.digest, platform=platform)

    # -- steps

    def _add(self, step: Step) -> int:
        self.steps.append(step)
        return len(self.steps) - 1

    def source(self, op: Op, label: str, span: Span, inputs: tuple[int, ...] = ()) -> int:
        """Return the step that offers files to others; the same one stands once in a graph."""
        if (op, inputs) not in self._sources:
            step = Step(op=op, inputs=inputs, label=label, spans=(span,))
            self._sources[op, inputs] = self._add(step)
        return self._sources[op, inputs]

    def scratch(self, span: Span, os: str = LINUX) -> int:
        """Return the step that gives the empty file system."""
        return self.source(ScratchOp(os=os), "FROM scratch", span)

    def _context(self, named: NamedContext | None, span: Span) -> tuple[int, bool]:
        """Return the step that offers a context's files, and whether they have owners.

        None is the main context.
        """
        if named is None:
            owned = self.options.owned_context
            main = ContextOp(name=MAIN_CONTEXT, owned=owned)
            return self.source(main, "load build context", span), owned
        op = named.files or ContextOp(name=named.name)
        return self.source(op, f"load build context {named.name}", span), False

    def step(
        self, state: StageState, op: Op, inputs: tuple[int, ...], text: str, span: Span
    ) -> int:
        """Add a step that makes the stage's next file system."""
        state.position += 1
        index = self._add(
            Step(op=op, inputs=inputs, spans=(span,), no_cache=self._is_renewed(state.stage))
        )
        self._label(state, index, text)
        state.rootfs = index
        return index

    def _is_renewed(self, stage: Stage) -> bool:
        return self.options.no_cache or stage.name in self.options.no_cache_stages

    def _label(self, state: StageState, index: int, text: str) -> None:
        """Name a step as BuildKit does: `[build 2/4] RUN make`."""
        words = [f"{state.position}/{state.total}"]
        if len(self._dockerfile.stages) > 1 or state.stage.name:
            words.insert(0, state.stage.display_name)
        if self.options.show_platform:
            words.insert(0, self._platforms(state))
        label = f"[{' '.join(words)}] {text}"
        stage = state.stage.display_name
        self.steps[index] = replace(self.steps[index], label=label, stage=stage)

    def _platforms(self, state: StageState) -> str:
        """Return the platform of a stage, and for which one it builds if that is another: `->arm/v7`."""
        target = self.options.platform
        shown = str(state.platform)
        if target == state.platform or _TARGET_ARGS.isdisjoint(name for name, _ in state.args):
            return shown
        text = str(target)
        return f"{shown}->{text.removeprefix(f'{state.platform.os}/')}"

    # -- instructions

    def _dispatch(self, state: StageState, instruction: Instruction) -> None:
        self._observer.instruction(state, instruction)
        try:
            self._lower(state, instruction)
        except WcbuildError as error:
            error.spans = error.spans or (instruction.span,)
            raise

    def _lower(self, state: StageState, instruction: Instruction) -> None:
        def expand(word: str) -> str:
            return self.expand(word, state.scope, instruction.span)

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
            return self.expand_words(word, state.scope, instruction.span)

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
                value = self.expand(default, state.scope, instruction.span)
            is_global = False
            if value is None:
                value = self._global_args.get(name, self._platform_args.get(name))
                is_global = value is not None
            if value is not None and name not in NEVER_SET:
                state.scope.renew(name, value)
            told = ArgValue(name=name, value=value, is_global=is_global)
            self._observer.arg(state.stage, instruction, told)
            state.args.append((name, value))
            texts.append(name if value is None else f"{name}={value}")
        state.note("ARG " + " ".join(texts))

    def files(self, state: StageState, name: str, span: Span) -> tuple[int, bool]:
        """Return the step whose files ``from=`` means, and whether they have owners: no folder has."""
        if not name:
            return self._context(None, span)
        platform = self._source_platform(state)
        named = self._named(name, platform)
        if named is not None and named.kind is ContextKind.FILES:
            return self._context(named, span)
        stage = self._from_stage(name, span)
        if stage is not None:
            if stage.index > state.stage.index:
                raise SourceError(
                    f'cannot copy from stage "{name}", it needs to be defined before'
                    f' current stage "{state.stage.display_name}"',
                    (span,),
                    word=name,
                )
            return self.stage(stage).rootfs, True
        if name == SCRATCH or (named is not None and named.kind is ContextKind.SCRATCH):
            return self.scratch(span), True
        image = self._image(name, platform, span, asked=self.options.platform_given)
        op = self._image_op(name, image)
        return self.source(op, f"FROM {name}", span), True

    def _source_platform(self, state: StageState) -> Platform:
        """Return the platform of images that a stage takes files from: the target's, not its own.

        A stage for the machine that builds may collect what the image is to have. Where nobody named a
        platform, a base for Windows has.
        """
        target = self.options.platform
        own = state.platform.os != target.os and not self.options.platform_given
        return state.platform if own else target

    def _from_stage(self, name: str, span: Span) -> Stage | None:
        """Find the stage that `--from` names, by name or index; None is an image's name."""
        stages = self._dockerfile.stages
        if "$" in name:
            hint = (
                "make it a stage: FROM with the variable, declared by an ARG before the first FROM"
            )
            message = "variable expansion is not supported for --from"
            raise SourceError(message, (span,), word=name, hint=hint)
        if self._named(name) is not None:
            return None
        if name.isascii() and name.isdigit():
            if len(name) > _LONGEST_INDEX or int(name) >= len(stages):
                raise SourceError(f"invalid stage index {name}", (span,), word=name)
            return stages[int(name)]
        found = self._by_name.get(self.stage_name(name).lower())
        if found is None:
            self._check_name(name, span)
        return found


@contextlib.contextmanager
def _blaming(span: Span, word: str) -> Iterator[None]:
    """Give an error in a word the place that only the caller knows."""
    try:
        yield
    except words.WordError as error:
        message = f'failed to process "{word}": {error}'
        raise SourceError(message, (span,), word=error.word or word) from error
