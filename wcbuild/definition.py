"""What is to be built: a Dockerfile, read, checked, and lowered for each platform."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from registry.oci.platform import Platform
from wcbuild.dockerfile.lint import CheckResult, check_unreadable, lower_and_check
from wcbuild.dockerfile.lower import (
    MAIN_CONTEXT,
    Options,
    Outside,
    declared_args,
    find_epoch,
    lower,
)
from wcbuild.dockerfile.rules import LintWarning
from wcbuild.dockerfile.source import SourceFile
from wcbuild.dockerfile.stages import Dockerfile, parse_dockerfile
from wcbuild.dockerfile.suggest import did_you_mean
from wcbuild.errors import DockerfileSyntaxError
from wcbuild.graph.merge import merge
from wcbuild.graph.ops import ContextOp, GitOp, Graph, HttpOp
from wcbuild.graph.plan import ImagePlan
from wcbuild.inputs import MainContext
from wcbuild.request import BuildRequest, escape_of, make_options
from wcbuild.solve.events import Emit, Notice, Warned

MAX_TOLD = 100
"""Warnings of the checks that a build says at its end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """One graph for all platforms, and what becomes of it."""

    dockerfile: Dockerfile
    graph: Graph
    plans: tuple[ImagePlan, ...]
    """One a platform."""
    epoch: int | None
    """The latest time that anything may have, in seconds since 1970."""
    stages: frozenset[int]
    """Indexes of the stages that are needed."""


class FrontEnd:
    """Reads Dockerfiles for one request. ``moment`` says when something that is fetched was made."""

    def __init__(
        self,
        request: BuildRequest,
        platforms: Sequence[Platform],
        outside: Outside,
        moment: Callable[[HttpOp | GitOp], int | None],
        emit: Emit,
    ) -> None:
        self._request = request
        self._platforms = platforms
        self._outside = outside
        self._moment = moment
        self._emit = emit
        self.warnings: tuple[LintWarning, ...] = ()
        """What the checks found so far."""

    def read(self, main: MainContext) -> Definition:
        """Return what the Dockerfile of the main context defines.

        Raises:
            SourceError: a place in it is to blame.
        """
        dockerfile = self._parse(main.source)
        options = [make_options(self._request, each, main) for each in self._platforms]
        first, *others = self._dated(options, main, dockerfile)
        # The checks speak once, for the first platform.
        checked, result = lower_and_check(
            dockerfile, main.source, first, self._outside, main.ignore
        )
        self._tell(result)
        if checked is None:
            raise result.error or AssertionError
        lowered = [checked, *(lower(dockerfile, each, self._outside) for each in others)]
        self._warn_of_unused(checked.unused_build_args, dockerfile)
        graph, places = merge([each.graph for each in lowered])
        epoch = checked.source_date_epoch
        return Definition(
            dockerfile=dockerfile,
            graph=graph,
            plans=tuple(
                each.plan.moved(moved) for each, moved in zip(lowered, places, strict=True)
            ),
            epoch=int(epoch) if epoch else None,
            stages=frozenset().union(*(each.stages for each in lowered)),
        )

    def _parse(self, source: SourceFile) -> Dockerfile:
        """Read the Dockerfile; if that is not possible, say what is wrong before that place."""
        escape = escape_of(self._request)
        try:
            return parse_dockerfile(source.data, file=source.name, escape=escape)
        except DockerfileSyntaxError as error:
            platform, build_args = self._platforms[0], self._request.build_args
            self._tell(check_unreadable(source, error, build_args, platform, escape=escape))
            raise

    def _tell(self, result: CheckResult) -> None:
        self.warnings = result.warnings
        for warning in result.warnings[:MAX_TOLD]:
            self._emit(Warned(warning=warning, source=result.source))
        more = len(result.warnings) - MAX_TOLD
        if more > 0:
            self._warn(f"{more} more warnings of the checks; --check shows all")

    def _dated(
        self, options: list[Options], main: MainContext, dockerfile: Dockerfile
    ) -> list[Options]:
        """Replace what SOURCE_DATE_EPOCH names, if it is the name of something, by the time of that."""
        found = find_epoch(dockerfile, options[0], self._outside)
        if found is None:
            return options
        moment = None
        if isinstance(found.files, HttpOp | GitOp):
            moment = self._moment(found.files)
        elif found.files == ContextOp(name=MAIN_CONTEXT):
            moment = main.moment
        time = {"SOURCE_DATE_EPOCH": "" if moment is None else str(moment)}
        return [replace(each, build_args={**each.build_args, **time}) for each in options]

    def _warn_of_unused(self, build_args: Sequence[str], dockerfile: Dockerfile) -> None:
        """Say which build arguments and filters changed nothing: mostly they are misspelt."""
        declared = sorted(declared_args(dockerfile))
        for name in build_args:
            self._warn(
                f'build argument "{name}" is declared by no ARG', did_you_mean(name, declared)
            )
        stages = [stage.name for stage in dockerfile.stages if stage.name]
        for name in self._request.no_cache_filter:
            if name.lower() not in stages:
                text = f'--no-cache-filter "{name}": no stage has this name'
                self._warn(text, did_you_mean(name, stages))

    def _warn(self, text: str, hint: str = "") -> None:
        self._emit(Notice(level="warning", text=f"{text} ({hint})" if hint else text))
