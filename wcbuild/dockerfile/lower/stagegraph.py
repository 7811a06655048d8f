"""Stages: what they are called, what they stand on, and which need which."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence

from registry.errors import InvalidPlatformError, RegistryError
from registry.oci.platform import Platform
from registry.reference import Reference
from wcbuild.dockerfile.instructions import Copy, From, Run
from wcbuild.dockerfile.lower.arguments import Arguments
from wcbuild.dockerfile.lower.outside import (
    BaseImageError,
    ContextKind,
    NamedContext,
    Options,
    Outside,
)
from wcbuild.dockerfile.source import Span
from wcbuild.dockerfile.stages import Dockerfile, Stage
from wcbuild.dockerfile.suggest import did_you_mean
from wcbuild.errors import SourceError

_LONGEST_INDEX = 9
"""Digits of a stage's number."""


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


class StageGraph:
    """The stages of a Dockerfile, with what FROM lines and named contexts make of them.

    Raises:
        SourceError: a FROM line is wrong, whether its stage is needed or not.
    """

    def __init__(
        self, dockerfile: Dockerfile, options: Options, outside: Outside, arguments: Arguments
    ) -> None:
        self._dockerfile = dockerfile
        self._options = options
        self._outside = outside
        self._arguments = arguments
        self._parents: dict[int, Stage] = {}
        self._by_name: dict[str, Stage] = {}
        """The last stage of each name."""
        for stage in dockerfile.stages:
            self._add(stage)

    def _add(self, stage: Stage) -> None:
        """Find the stage that one stands on, and refuse what is wrong whatever images there are."""
        base = self.base(stage)
        self.platform(stage.from_)
        if not self.replaced(stage):
            parent = self._by_name.get(self.meant(base))
            if parent is None:
                self._check_name(base, stage.from_.span, stage.from_)
            else:
                self._parents[stage.index] = parent
        if stage.name:
            self._check_stage_name(stage)
            self._by_name[stage.name] = stage

    def needed(self, target: Stage) -> list[Stage]:
        """Return the stages that ``target`` needs, and itself, in the order of the file.

        Raises:
            SourceError: a stage, needed or not, takes files from one that cannot exist, or that takes
                files from it.
        """
        stages = self._dockerfile.stages
        below = [self._sources_of(stage) for stage in stages]
        self._check_cycles(below)
        found = {target.index}
        for index in range(target.index, -1, -1):
            if index in found:
                found |= below[index].keys()
                if index in self._parents:
                    found.add(self._parents[index].index)
        return [stages[index] for index in sorted(found)]

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

    def _check_name(self, name: str, span: Span, from_: From | None = None) -> None:
        """Refuse what no image could be called; ``from_`` is the FROM line that calls one so."""
        try:
            Reference.parse(name)
        except RegistryError as error:
            hint = "" if from_ is None else self._no_value(from_)
            raise self.no_image(name, error, span, hint) from error

    def _sources_of(self, stage: Stage) -> dict[int, Span]:
        """Return the stages that one takes files from, each with the first place that says so."""
        if self.replaced(stage):
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
                source = self.source(name, instruction.span)
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

    def replaced(self, stage: Stage) -> bool:
        """Say whether a named context of the stage's own name stands in its place."""
        return bool(stage.name) and self.context(stage.name) is not None

    def context(self, name: str, platform: Platform | None = None) -> NamedContext | None:
        """Return the named context that stands in the place of ``name``: files, or an image."""
        named = self._outside.context(name, platform or self._options.platform)
        return None if named is None or named.kind is ContextKind.STAGE else named

    def meant(self, name: str) -> str:
        """Return the name of the stage that ``name`` means: a named context may say another."""
        named = self._outside.context(name, self._options.platform) if name else None
        if named is None or named.kind is not ContextKind.STAGE:
            return name
        if all(stage.name != named.stage.lower() for stage in self._dockerfile.stages):
            message = (
                f'--build-context {name}: there is neither a folder nor a stage "{named.stage}"'
            )
            raise SourceError(message)
        return named.stage

    def base(self, stage: Stage) -> str:
        """Return the name that a stage stands on, of an image or of a stage."""
        from_ = stage.from_
        expansion = self._arguments.in_from(from_.base, from_.span)
        if not expansion.text:
            message = f"base name ({from_.base}) should not be blank"
            raise SourceError(message, (from_.span,), word=from_.base, hint=self._no_value(from_))
        return expansion.text

    def _no_value(self, from_: From) -> str:
        """Return what to do if a variable in a base's name has no value; nothing if each has one."""
        expansion = self._arguments.in_from(from_.base, from_.span)
        scope = self._arguments.from_scope
        if all(scope.get(name) for name in (*expansion.used, *expansion.unset)):
            return ""
        return self._arguments.slip(expansion) or "give the ARG a value"

    def parent(self, stage: Stage) -> Stage | None:
        """Return the stage that one stands on."""
        return self._parents.get(stage.index)

    def platform(self, from_: From) -> Platform:
        """Return what a FROM line wants an image for."""
        if not from_.platform:
            return self._options.platform
        expansion = self._arguments.in_from(from_.platform, from_.span)
        hint = self._arguments.slip(expansion)
        if not expansion.text:
            message = f"empty platform value from expression {from_.platform}"
            raise SourceError(message, (from_.span,), word=from_.platform, hint=hint)
        try:
            return Platform.parse(expansion.text)
        except InvalidPlatformError as error:
            message = f"failed to parse platform {from_.platform}: {error}"
            raise SourceError(message, (from_.span,), word=from_.platform, hint=hint) from error

    def source(self, name: str, span: Span) -> Stage | None:
        """Find the stage that `--from` names, by name or index; None is an image's name."""
        stages = self._dockerfile.stages
        if "$" in name:
            hint = (
                "make it a stage: FROM with the variable, declared by an ARG before the first FROM"
            )
            message = "variable expansion is not supported for --from"
            raise SourceError(message, (span,), word=name, hint=hint)
        if self.context(name) is not None:
            return None
        if name.isascii() and name.isdigit():
            if len(name) > _LONGEST_INDEX or int(name) >= len(stages):
                raise SourceError(f"invalid stage index {name}", (span,), word=name)
            return stages[int(name)]
        found = self._by_name.get(self.meant(name).lower())
        if found is None:
            self._check_name(name, span)
        return found

    def no_image(
        self, name: str, error: RegistryError, span: Span, hint: str = ""
    ) -> BaseImageError:
        """Return the error for a name that is no image's, and may be a misspelt stage."""
        stages = [stage.name for stage in self._dockerfile.stages if stage.name]
        small = name.lower()
        if small != name and small in stages:
            # Unlike `--from`, FROM minds the case.
            hint = f'did you mean "{small}"?'
        hint = hint or did_you_mean(name, stages)
        return BaseImageError(f'image "{name}": {error}', (span,), word=name, hint=hint)
