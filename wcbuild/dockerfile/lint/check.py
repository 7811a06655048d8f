"""Checking a Dockerfile, for a build or instead of one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from registry.oci.platform import Platform
from wcbuild.dockerfile.ignore import IgnoreRules
from wcbuild.dockerfile.lint.linter import Linter, lint_unreadable
from wcbuild.dockerfile.lint.options import check_options
from wcbuild.dockerfile.lower import Lowered, Options, Outside, lower
from wcbuild.dockerfile.lower.observer import Both, Observer
from wcbuild.dockerfile.rules import LintWarning
from wcbuild.dockerfile.source import SourceFile
from wcbuild.dockerfile.stages import Dockerfile, parse_dockerfile
from wcbuild.errors import DockerfileSyntaxError, SourceError, WcbuildError
from wcbuild.graph.ops import WINDOWS


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """What the checks found."""

    warnings: tuple[LintWarning, ...]
    """In the order of the file."""
    error: WcbuildError | None
    """Why the Dockerfile would not build; what stands behind that place may not have been checked."""
    source: SourceFile

    @property
    def is_clean(self) -> bool:
        """Whether there is nothing to say."""
        return not self.warnings and self.error is None


def check(
    source: SourceFile, options: Options, outside: Outside, ignore: IgnoreRules | None
) -> CheckResult:
    """Check the target stage and all it needs; without a target, every stage.

    An image that cannot be had is an error, but what can be said without it is said.

    Args:
        source: the Dockerfile.
        options: of the build that is not made.
        outside: where base images come from; no layer is asked for.
        ignore: what the build context leaves out.

    Raises:
        UsageError: the build argument BUILDKIT_DOCKERFILE_CHECK makes no sense.
    """
    try:
        dockerfile = parse_dockerfile(source.data, file=source.name, escape=options.escape)
    except DockerfileSyntaxError as error:
        return check_unreadable(
            source, error, options.build_args, options.platform, escape=options.escape
        )
    options = replace(options, every_stage=not options.target, without_images=True)
    return lower_and_check(dockerfile, source, options, outside, ignore)[1]


def lower_and_check(
    dockerfile: Dockerfile,
    source: SourceFile,
    options: Options,
    outside: Outside,
    ignore: IgnoreRules | None,
    *,
    observer: Observer | None = None,
) -> tuple[Lowered | None, CheckResult]:
    """Lower a Dockerfile for a build, and check it meanwhile; ``observer`` hears what the checks hear.

    The first part is None where the second has an error. Arguments and what is raised are as in `check`.
    """
    try:
        linter = Linter(dockerfile, source, check_options(source, options.build_args), ignore)
    except SourceError as error:
        return None, CheckResult(warnings=(), error=error, source=source)
    lowered: Lowered | None = None
    failure: WcbuildError | None = None
    try:
        listening = linter if observer is None else Both(linter, observer)
        lowered = lower(dockerfile, options, outside, listening)
        linter.raise_if_asked()
    except WcbuildError as error:
        failure = error
    failure = next(iter(linter.missing), failure)
    result = CheckResult(warnings=linter.warnings, error=failure, source=source)
    return (None if failure else lowered), result


def check_unreadable(
    source: SourceFile,
    error: DockerfileSyntaxError,
    build_args: Mapping[str, str],
    platform: Platform,
    *,
    escape: str,
) -> CheckResult:
    """Return what can be said of a Dockerfile that could not be read, which ``error`` tells of.

    ``escape`` is the escape character unless the file names one.

    Raises:
        UsageError: as in `check`.
    """
    try:
        chosen = check_options(source, build_args)
    except SourceError as wrong_option:
        return CheckResult(warnings=(), error=wrong_option, source=source)
    windows = platform.os == WINDOWS
    found = lint_unreadable(source, error, chosen, windows=windows, escape=escape)
    return CheckResult(warnings=found, error=error, source=source)
