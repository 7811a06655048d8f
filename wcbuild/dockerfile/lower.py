"""Lowering: stages become a graph of steps and an image plan.

The outside world is seen through one value, `Outside`; everything else is pure. Only stages that the
target needs are lowered, each when it is first referred to, so the steps come out in an order in which
they can be executed.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol, assert_never

from registry.errors import RegistryError
from registry.oci.config import ContainerConfig, ImageConfig
from registry.oci.platform import Platform
from wcbuild.dockerfile import fold, operands, words
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
from wcbuild.dockerfile.source import Span
from wcbuild.dockerfile.stages import Dockerfile, Stage, parse_trigger
from wcbuild.dockerfile.suggest import did_you_mean
from wcbuild.dockerfile.wildcard import escape
from wcbuild.errors import SourceError
from wcbuild.graph.ops import (
    ContextOp,
    CopyOp,
    Graph,
    ImageOp,
    InlineFile,
    MkdirOp,
    Mount,
    Network,
    Op,
    RunOp,
    ScratchOp,
    Step,
)
from wcbuild.graph.plan import ImagePlan, PlannedHistory

MAIN_CONTEXT = "context"
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_BUILT_IN_SYNTAXES = ("docker/dockerfile", "docker/dockerfile-upstream", "dockerfile.v0")
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")
_PROXY_ARGS = frozenset((*_PROXIES, *(name.lower() for name in _PROXIES)))


class BaseImageError(SourceError):
    """A base image cannot be had; its ``__cause__`` says why in full."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedImage:
    """What lowering needs of a base image."""

    digest: str
    """The manifest's."""
    config: ImageConfig


class Outside(Protocol):
    """What stands outside the Dockerfile."""

    def image(self, name: str, platform: Platform) -> ResolvedImage:
        """Return the image that ``name`` means, a named context first.

        Raises:
            RegistryError: there is none, or it cannot be had.
        """
        ...

    def has_context(self, name: str) -> bool:
        """Say whether a named context of this name, of any kind, was given."""
        ...

    def is_folder(self, name: str) -> bool:
        """Say whether the named context is a set of files, not an image."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the caller of a build decides about its Dockerfile."""

    platform: Platform
    build_platform: Platform
    target: str = ""
    build_args: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    network: Network = Network.DEFAULT
    hosts: tuple[tuple[str, str], ...] = ()
    ulimits: tuple[tuple[str, int, int], ...] = ()
    shm_size: int = 64 * 1024 * 1024
    no_cache: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Lowered:
    """A graph, and what to make of its last file system."""

    graph: Graph
    plan: ImagePlan


def lower(dockerfile: Dockerfile, options: Options, outside: Outside) -> Lowered:
    """Lower the target stage and all it needs.

    Raises:
        SourceError: a place in the Dockerfile is to blame, which it also is for a base image that cannot
            be had (BaseImageError).
    """
    _check_syntax(dockerfile)
    lowering = _Lowering(dockerfile, options, outside)
    lowering.check_references()
    state = lowering.stage(_target(dockerfile, options.target))
    config = replace(state.config, labels={**state.config.labels, **options.labels})
    plan = ImagePlan(
        rootfs=state.rootfs,
        platform=state.platform,
        config=config,
        author=state.author,
        base_history=state.base.history if state.base else (),
        history=tuple(state.history),
    )
    return Lowered(graph=Graph(steps=tuple(lowering.steps)), plan=plan)


def _check_syntax(dockerfile: Dockerfile) -> None:
    """Refuse a language that somebody else's front end would have to read."""
    for directive in dockerfile.directives:
        image = directive.first_word.removeprefix("docker.io/").partition("@")[0].partition(":")[0]
        if directive.name == "syntax" and image not in _BUILT_IN_SYNTAXES:
            file = dockerfile.stages[0].from_.span.file
            raise SourceError(
                f'the syntax "{directive.first_word}" is not known',
                (Span(file=file, first=directive.line, last=directive.line),),
                word=directive.first_word,
                hint="docker/dockerfile is built in, and there is no other",
            )


def _target(dockerfile: Dockerfile, target: str) -> Stage:
    if not target:
        return dockerfile.stages[-1]
    for stage in reversed(dockerfile.stages):
        if stage.name == target.lower():
            return stage
    hint = did_you_mean(target, [stage.name for stage in dockerfile.stages if stage.name])
    raise SourceError(f'target stage "{target}" could not be found', hint=hint)


class _StageState:
    """A stage while its instructions are being lowered."""

    def __init__(self, stage: Stage, name: str, platform: Platform) -> None:
        self.stage = stage
        self.name = name
        self.platform = platform
        self.base: ImageConfig | None = None
        self.config = ContainerConfig()
        self.author = ""
        self.rootfs = -1
        self.reference = ""
        self.scope: dict[str, str] = {}
        """What `$NAME` and a RUN see: ENV and ARG, the later one wins."""
        self.args: list[tuple[str, str | None]] = []
        self.history: list[PlannedHistory] = []
        self.triggers: tuple[str, ...] = ()
        self.cmd_is_set = False
        self.total = 0
        self.position = 0

    def inherit(self, parent: _StageState) -> None:
        """Start from where another stage ended."""
        self.base = parent.base
        self.config = replace(parent.config, on_build=())
        self.author = parent.author
        self.rootfs = parent.rootfs
        self.platform = parent.platform
        self.scope = dict(parent.scope)
        self.args = list(parent.args)
        self.history = list(parent.history)
        self.triggers = parent.config.on_build

    def note(self, created_by: str, step: int | None = None) -> None:
        """Add a line of history."""
        self.history.append(PlannedHistory(created_by=created_by, step=step))


class _Lowering:
    """One run of `lower`: the steps so far and the stages that are done."""

    def __init__(self, dockerfile: Dockerfile, options: Options, outside: Outside) -> None:
        self.steps: list[Step] = []
        self._dockerfile = dockerfile
        self._options = options
        self._outside = outside
        self._done: dict[int, _StageState] = {}
        self._in_progress: list[int] = []
        self._sources: dict[tuple[Op, tuple[int, ...]], int] = {}
        self._platform_args = self._make_platform_args()
        self._globals, self._global_args = self._evaluate_global_args()

    def _make_platform_args(self) -> dict[str, str]:
        options = self._options
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
        build_args = self._options.build_args
        scope = {name: build_args.get(name, value) for name, value in self._platform_args.items()}
        declared: dict[str, str] = {}
        for arg in self._dockerfile.args:
            for name, default in arg.pairs:
                value = build_args.get(name)
                if value is None and default is not None:
                    value = self._expand(default, scope, arg.span)
                if value is not None:
                    scope[name] = declared[name] = value
        return scope, declared

    def _expand(self, word: str, scope: Mapping[str, str], span: Span) -> str:
        with _blaming(span, word):
            return words.process_word(word, scope, self._dockerfile.escape)

    def _expand_words(self, word: str, scope: Mapping[str, str], span: Span) -> list[str]:
        with _blaming(span, word):
            return words.process_words(word, scope, self._dockerfile.escape)

    # -- stages

    def stage(self, stage: Stage) -> _StageState:
        """Return the lowered stage, lowering it now if nobody needed it before."""
        if stage.index in self._done:
            return self._done[stage.index]
        if stage.index in self._in_progress:
            names = self._display_name(stage)
            raise SourceError(
                f"circular dependency detected on stage: {names}", (stage.from_.span,)
            )
        self._in_progress.append(stage.index)
        state = self._start(stage)
        triggers = [
            instruction
            for text in state.triggers
            for instruction in parse_trigger(
                text, span=stage.from_.span, escape=self._dockerfile.escape
            )
        ]
        instructions = (*triggers, *stage.instructions)
        files = sum(isinstance(each, Run | Copy | Workdir) for each in instructions)
        state.total = files + state.position
        if state.position and not isinstance(self.steps[state.rootfs].op, CopyOp):
            self._label(state, state.rootfs, f"FROM {state.reference}")
        for instruction in instructions:
            self._dispatch(state, instruction)
        self._in_progress.pop()
        self._done[stage.index] = state
        return state

    def _display_name(self, stage: Stage) -> str:
        return stage.name or f"stage-{stage.index}"

    def _start(self, stage: Stage) -> _StageState:
        """Begin a stage: find what it stands on."""
        from_ = stage.from_
        base = self._expand(from_.base, self._globals, from_.span)
        if not base:
            raise SourceError(f"base name ({from_.base}) should not be blank", (from_.span,))
        state = _StageState(stage, self._display_name(stage), self._stage_platform(from_))
        if stage.name and self._outside.has_context(stage.name):
            # A named context of the stage's own name replaces the stage altogether.
            self._start_from_outside(state, stage.name, from_)
            state.stage = replace(stage, instructions=())
            return state
        parent = self._earlier_stage(base, stage.index)
        if parent is not None:
            state.inherit(self.stage(parent))
        elif base == "scratch" and not self._outside.has_context(base):
            state.rootfs = self._scratch(from_.span)
            self._set_defaults(state, ContainerConfig(working_dir="/"))
        else:
            self._start_from_outside(state, base, from_)
        return state

    def _stage_platform(self, from_: From) -> Platform:
        text = self._expand(from_.platform, self._globals, from_.span)
        return Platform.parse(text) if text else self._options.platform

    def _earlier_stage(self, name: str, before: int) -> Stage | None:
        """Return the last stage of that name among those defined before index ``before``."""
        for stage in reversed(self._dockerfile.stages[:before]):
            if stage.name and stage.name == name.lower():
                return stage
        return None

    def _start_from_outside(self, state: _StageState, name: str, from_: From) -> None:
        span = from_.span
        state.position = 1
        if self._outside.is_folder(name):
            files = self._context(name, span)
            op = CopyOp(sources=("",), dest="/")
            inputs = (self._scratch(span), files)
            state.rootfs = self._add(Step(op=op, inputs=inputs, label=f"FROM {name}"))
            self._set_defaults(state, ContainerConfig(working_dir="/"))
            return
        image = self._image(name, state, span)
        state.rootfs = self._source(
            ImageOp(reference=name, digest=image.digest, platform=state.platform),
            f"FROM {name}",
            span,
        )
        if not from_.platform:
            state.platform = self._merged_platform(image.config.platform)
        state.base = image.config
        state.author = image.config.author
        state.reference = f"{name}@{image.digest}"
        state.triggers = image.config.config.on_build
        self._set_defaults(state, replace(image.config.config, on_build=()))

    def _merged_platform(self, found: Platform) -> Platform:
        """Return the base's platform; one that says nothing is what was asked for."""
        return found if found.os and found.architecture else self._options.platform

    def _set_defaults(self, state: _StageState, config: ContainerConfig) -> None:
        has_path = any(entry.startswith("PATH=") for entry in config.env)
        if state.platform.os != "windows" and not has_path:
            config = replace(config, env=(*config.env, f"PATH={DEFAULT_PATH}"))
        state.config = config
        state.scope = dict(entry.partition("=")[::2] for entry in config.env)

    def _image(self, name: str, state: _StageState, span: Span) -> ResolvedImage:
        try:
            return self._outside.image(name, state.platform)
        except RegistryError as error:
            stages = [stage.name for stage in self._dockerfile.stages if stage.name]
            hint = did_you_mean(name, stages)
            raise BaseImageError(
                f'image "{name}": {error}', (span,), word=name, hint=hint
            ) from error

    # -- steps

    def _add(self, step: Step) -> int:
        self.steps.append(step)
        return len(self.steps) - 1

    def _source(self, op: Op, label: str, span: Span, inputs: tuple[int, ...] = ()) -> int:
        """Return the step that offers files to others; the same one stands once in a graph."""
        if (op, inputs) not in self._sources:
            step = Step(op=op, inputs=inputs, label=label, spans=(span,))
            self._sources[op, inputs] = self._add(step)
        return self._sources[op, inputs]

    def _scratch(self, span: Span) -> int:
        return self._source(ScratchOp(), "FROM scratch", span)

    def _context(self, name: str, span: Span) -> int:
        label = "load build context" if name == MAIN_CONTEXT else f"load build context {name}"
        return self._source(ContextOp(name=name), label, span)

    def _step(
        self, state: _StageState, op: Op, inputs: tuple[int, ...], text: str, span: Span
    ) -> int:
        """Add a step that makes the stage's next file system."""
        state.position += 1
        index = self._add(
            Step(op=op, inputs=inputs, spans=(span,), no_cache=self._options.no_cache)
        )
        self._label(state, index, text)
        state.rootfs = index
        return index

    def _label(self, state: _StageState, index: int, text: str) -> None:
        """Name a step as BuildKit does: `[build 2/4] RUN make`."""
        several = len(self._dockerfile.stages) > 1 or state.stage.name
        stage = f"{state.name} " if several else ""
        label = f"[{stage}{state.position}/{state.total}] {text}"
        self.steps[index] = replace(self.steps[index], label=label)

    # -- instructions

    def _dispatch(self, state: _StageState, instruction: Instruction) -> None:
        def expand(word: str) -> str:
            return self._expand(word, state.scope, instruction.span)

        match instruction:
            case Arg():
                self._arg(state, instruction)
            case Run():
                self._run(state, instruction)
            case Copy():
                self._copy(state, instruction, expand)
            case Workdir():
                self._workdir(state, instruction, expand)
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
        state: _StageState,
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
            return self._expand_words(word, state.scope, instruction.span)

        config = state.config
        match instruction:
            case Env():
                folded = fold.fold_env(config, instruction, expand)
                names = [expand(name) for name, _ in instruction.pairs]
                values = dict(entry.partition("=")[::2] for entry in folded[0].env)
                state.scope |= {name: values[name] for name in names}
            case Label():
                folded = fold.fold_label(config, instruction, expand)
            case Cmd():
                folded = fold.fold_cmd(config, instruction)
                state.cmd_is_set = True
            case Entrypoint():
                folded = fold.fold_entrypoint(config, instruction, cmd_is_set=state.cmd_is_set)
            case Expose():
                folded = fold.fold_expose(config, instruction, expand_words)
            case User():
                folded = fold.fold_user(config, instruction, expand)
            case Volume():
                folded = fold.fold_volume(config, instruction, expand)
            case Shell():
                folded = fold.fold_shell(config, instruction)
            case StopSignal():
                folded = fold.fold_stop_signal(config, instruction, expand)
            case HealthCheck():
                folded = fold.fold_health_check(config, instruction)
            case _:
                assert_never(instruction)
        state.config, created_by = folded
        state.note(created_by)

    def _arg(self, state: _StageState, instruction: Arg) -> None:
        """ARG: from left to right, so a later name sees an earlier one."""
        build_args = self._options.build_args
        texts = []
        for name, default in instruction.pairs:
            name = self._expand(name, state.scope, instruction.span)  # noqa: PLW2901
            value = build_args.get(name)
            if value is None and default is not None:
                value = self._expand(default, state.scope, instruction.span)
            if value is None:
                value = self._global_args.get(name, self._platform_args.get(name))
            if value is not None:
                state.scope[name] = value
            state.args.append((name, value))
            texts.append(name if value is None else f"{name}={value}")
        state.note("ARG " + " ".join(texts))

    def _workdir(self, state: _StageState, instruction: Workdir, expand: fold.Expand) -> None:
        path = operands.absolute(state.config.working_dir, expand(instruction.path))
        state.config = replace(state.config, working_dir=path)
        step = None
        if path != "/":
            op = MkdirOp(path=path, owner=state.config.user)
            text = f"WORKDIR {path}"
            step = self._step(state, op, (state.rootfs,), text, instruction.span)
        state.note(f"WORKDIR {path}", step)

    def _copy(self, state: _StageState, instruction: Copy, expand: fold.Expand) -> None:
        verb = "ADD" if instruction.add else "COPY"
        sources = tuple(expand(source) for source in instruction.sources)
        dest = expand(instruction.dest)
        chown, mode = expand(instruction.chown), expand(instruction.chmod)
        for source in sources:
            _refuse_remote(source, instruction, verb)
        _check_copy_flags(mode, instruction)
        inputs: tuple[int, ...] = (state.rootfs,)
        from_stage = False
        if sources:
            source_step, from_stage = self._files(state, instruction.from_, instruction.span)
            inputs += (source_step,)
        op = CopyOp(
            sources=tuple(
                operands.clean_source(each, parents=instruction.parents) for each in sources
            ),
            dest=operands.destination(state.config.working_dir, dest),
            inline=tuple(
                self._inline(heredoc, state, instruction) for heredoc in instruction.heredocs
            ),
            chown=chown,
            chmod=mode,
            unpack=instruction.add and instruction.unpack is not False,
            # BuildKit, too, forgets --link where a mode is to be set.
            link=instruction.link and not mode,
            parents=instruction.parents,
            exclude=instruction.exclude,
            keep_owner=from_stage,
        )
        flags = (
            (" --parents" if instruction.parents else "")
            + (f" --chown={chown}" if chown else "")
            + (f" --chmod={mode}" if mode else "")
        )
        names = "".join(f" {source}" for source in sources)
        names += "".join(f" <<{heredoc.name}" for heredoc in instruction.heredocs)
        text = f"{verb}{flags}{names} {dest}"
        shown = (
            f"{verb} --from={instruction.from_}{text[len(verb) :]}" if instruction.from_ else text
        )
        step = self._step(state, op, inputs, shown, instruction.span)
        state.note(f"{text} # buildkit", step)

    def _files(self, state: _StageState, name: str, span: Span) -> tuple[int, bool]:
        """Return the step whose files ``from=`` means, and whether they have owners: no context's have."""
        if not name:
            return self._context(MAIN_CONTEXT, span), False
        if self._outside.has_context(name) and self._outside.is_folder(name):
            return self._context(name, span), False
        stage = self._from_stage(name, state.stage, span)
        if stage is not None:
            return self.stage(stage).rootfs, True
        if name == "scratch" and not self._outside.has_context(name):
            return self._scratch(span), True
        image = self._image(name, state, span)
        op = ImageOp(reference=name, digest=image.digest, platform=state.platform)
        return self._source(op, f"FROM {name}", span), True

    def check_references(self) -> None:
        """Refuse a wrong `--from` even in a stage that the target does not need."""
        for stage in self._dockerfile.stages:
            for instruction in stage.instructions:
                if isinstance(instruction, Copy) and instruction.from_:
                    self._from_stage(instruction.from_, stage, instruction.span)

    def _from_stage(self, name: str, stage: Stage, span: Span) -> Stage | None:
        """Find the stage that `--from` names, by name or index; None is an image's name."""
        stages = self._dockerfile.stages
        current = stage.index
        spans = (span,)
        if self._outside.has_context(name):
            return None
        found = self._earlier_stage(name, current)
        if found is None and name.isascii() and name.isdigit():
            if int(name) >= len(stages):
                raise SourceError(f"invalid stage index {name}", spans, word=name)
            found = stages[int(name)]
        if found is None:
            found = self._earlier_stage(name, len(stages))
        if found is None:
            return None
        if found.index == current:
            shown = self._display_name(found)
            raise SourceError(f"circular dependency detected on stage: {shown}", spans, word=name)
        if found.index > current:
            raise SourceError(
                f'cannot copy from stage "{name}", it needs to be defined before'
                f' current stage "{self._display_name(stage)}"',
                spans,
                word=name,
            )
        return found

    def _inline(self, heredoc: Heredoc, state: _StageState, instruction: Copy) -> InlineFile:
        data = heredoc.content
        if heredoc.expand:
            with _blaming(instruction.span, heredoc.name):
                data = words.process_heredoc(data, state.scope)
        return InlineFile(name=heredoc.name, data=data)

    def _run(self, state: _StageState, instruction: Run) -> None:
        _refuse_run_options(instruction)
        command, inline, summary = operands.heredoc_command(instruction)
        args = fold.shell_args(state.config, command)
        if not args:
            raise SourceError("arguments are required", (instruction.span,))
        build_args = self._options.build_args
        network = Network(instruction.network)
        mounts, mounted = self._mounts(state, instruction)
        op = RunOp(
            args=args,
            env=tuple(f"{name}={value}" for name, value in state.scope.items()),
            cwd=state.config.working_dir or "/",
            user=state.config.user,
            network=self._options.network if network is Network.DEFAULT else network,
            mounts=mounts,
            inline=inline,
            hosts=self._options.hosts,
            ulimits=self._options.ulimits,
            shm_size=self._options.shm_size,
            proxy_env=tuple(
                f"{name}={build_args[name]}"
                for name in sorted(_PROXY_ARGS)
                if name in build_args and name not in state.scope
            ),
        )
        flags = "".join(f" --mount={mount}" for mount in instruction.mounts)
        text = f"RUN{flags} {' '.join(instruction.command.args)}{summary}"
        step = self._step(state, op, (state.rootfs, *mounted), text, instruction.span)
        arguments = fold.arguments_text(state.args, state.scope)
        state.note(f"RUN {arguments}{' '.join(args)} # buildkit", step)

    def _mounts(
        self, state: _StageState, instruction: Run
    ) -> tuple[tuple[Mount, ...], tuple[int, ...]]:
        """Return what RUN mounts, and the steps whose files that shows: its inputs from the second on."""
        if not instruction.mounts:
            return (), ()
        from wcbuild.dockerfile.mounting import lower_mounts  # noqa: PLC0415 - only few have any

        span = instruction.span

        def expand(word: str) -> str:
            return self._expand(word, state.scope, span)

        def files(name: str, source: str) -> int:
            step, has_owners = self._files(state, name, span)
            if has_owners:
                return step
            # Packed like a COPY, so that whatever is mounted is a path in a file system, and is known
            # by its content.
            op = CopyOp(sources=(escape(source),), dest=f"/{source}")
            where = f"{name}: {source or '.'}" if name else source or "."
            return self._source(op, f"load {where}", span, (self._scratch(span), step))

        absolute = functools.partial(operands.absolute, state.config.working_dir)
        return lower_mounts(instruction, absolute, expand, files)


@contextlib.contextmanager
def _blaming(span: Span, word: str) -> Iterator[None]:
    """Give an error in a word the place that only the caller knows."""
    try:
        yield
    except words.WordError as error:
        raise SourceError(f'failed to process "{word}": {error}', (span,), word=word) from error


def _refuse_remote(source: str, instruction: Copy, verb: str) -> None:
    """Refuse what would have to be fetched."""
    if not source.startswith(("http://", "https://", "git://", "git@", "ssh://")):
        return
    if not instruction.add:
        kind = "a URL" if source.startswith("http") else "a git ref"
        raise SourceError(f"source can't be {kind} for {verb}", (instruction.span,), word=source)
    raise SourceError(
        "ADD from a URL or a git repository is not supported yet",
        (instruction.span,),
        word=source,
        hint="fetch it before the build, or in a RUN",
    )


def _check_copy_flags(mode: str, instruction: Copy) -> None:
    """Refuse before anything is built what would be refused when it is."""
    spans = (instruction.span,)
    if mode:
        from wcbuild.tree import chmod  # noqa: PLC0415 - only few Dockerfiles have one
        from wcbuild.tree.errors import InvalidModeError  # noqa: PLC0415

        try:
            chmod.change(mode, 0, is_directory=False)
        except InvalidModeError as error:
            raise SourceError(str(error), spans, word=mode) from error
    if instruction.checksum:
        raise SourceError("checksum requires HTTP(S) or Git sources", spans, word="--checksum")


def _refuse_run_options(instruction: Run) -> None:
    """Refuse what a RUN asks for and would not get."""
    for given, flag in (
        (instruction.devices, "--device"),
        (instruction.security != "sandbox", "--security"),
    ):
        if given:
            raise SourceError(f"RUN {flag} is not supported yet", (instruction.span,), word=flag)
