"""Checking a Dockerfile without building it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from wcbuild.dockerfile.ignore import IgnoreRules
from wcbuild.dockerfile.lint.linter import Linter, lint_unreadable
from wcbuild.dockerfile.lint.options import CheckOptions, check_options
from wcbuild.dockerfile.lower import Options, Outside, lower
from wcbuild.dockerfile.rules import LintWarning
from wcbuild.dockerfile.source import SourceFile
from wcbuild.dockerfile.stages import parse_dockerfile
from wcbuild.errors import DockerfileSyntaxError, SourceError, WcbuildError


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """What the checks found."""

    warnings: tuple[LintWarning, ...]
    """In the order of the file."""
    error: WcbuildError | None
    """Why the Dockerfile would not build; what stands behind that place was not checked."""
    source: SourceFile

    @property
    def is_clean(self) -> bool:
        """Whether there is nothing to say."""
        return not self.warnings and self.error is None


def check(
    source: SourceFile, options: Options, outside: Outside, ignore: IgnoreRules | None
) -> CheckResult:
    """Check the target stage and all it needs; without a target, every stage.

    Args:
        source: the Dockerfile.
        options: of the build that is not made.
        outside: where base images come from; no layer is asked for.
        ignore: what the build context leaves out.

    Raises:
        UsageError: the build argument BUILDKIT_DOCKERFILE_CHECK makes no sense.
    """
    chosen = CheckOptions()
    error: WcbuildError | None = None
    try:
        chosen = check_options(source, options.build_args)
        dockerfile = parse_dockerfile(source.data, file=source.name)
    except DockerfileSyntaxError as caught:
        return CheckResult(
            warnings=lint_unreadable(source, caught, chosen), error=caught, source=source
        )
    except SourceError as caught:
        return CheckResult(warnings=(), error=caught, source=source)
    linter = Linter(dockerfile, source, chosen, ignore)
    try:
        lower(dockerfile, replace(options, every_stage=not options.target), outside, linter)
        linter.raise_if_asked()
    except WcbuildError as caught:
        error = caught
    return CheckResult(warnings=linter.warnings, error=error, source=source)
