"""`# check=skip=A,B;error=true;experimental=C`: which rules count, and whether they end the build."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from wcbuild.dockerfile.directives import DirectiveReader, find_directive
from wcbuild.dockerfile.rules import Rule
from wcbuild.dockerfile.source import SourceFile, Span
from wcbuild.dockerfile.suggest import did_you_mean
from wcbuild.dockerfile.truth import parse_truth
from wcbuild.errors import SourceError, UsageError

BUILD_ARG = "BUILDKIT_DOCKERFILE_CHECK"
"""The build argument that stands in for the file's own options."""

_KEYS = ("skip", "error", "experimental")
_ALL = "all"


class CheckOptionError(ValueError):
    """Text that is no check option; ``word`` is the part to blame."""

    def __init__(self, message: str, word: str, hint: str = "") -> None:
        super().__init__(message)
        self.word = word
        self.hint = hint


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckOptions:
    """What a `check` directive or comment says."""

    skip: frozenset[str] = frozenset()
    skip_all: bool = False
    """All rules that are not experimental."""
    experimental: frozenset[str] = frozenset()
    experimental_all: bool = False
    error: bool = False
    """A warning ends the build."""

    @classmethod
    def parse(cls, text: str) -> CheckOptions:
        """Read `key=value` pairs with `;` between them; names of rules with `,` between them.

        Raises:
            CheckOptionError: an unknown key, no value, or no truth value for `error`.
        """
        found: dict[str, Any] = {}
        for part in text.strip().split(";") if text.strip() else ():
            key, equals, value = (each.strip() for each in part.partition("="))
            if not equals or key not in _KEYS:
                hint = did_you_mean(key, _KEYS) or "as in skip=RuleA,RuleB;error=true"
                raise CheckOptionError(f'invalid check option "{part}"', part, hint)
            if key == "error":
                truth = parse_truth(value)
                if truth is None:
                    raise CheckOptionError(
                        f'invalid check option "{part}": expected true or false', part
                    )
                found["error"] = truth
            elif value == _ALL:
                found[f"{key}_all"] = True
            else:
                found[key] = frozenset(name.strip() for name in value.split(","))
        return cls(**found)

    def merged(self, other: CheckOptions) -> CheckOptions:
        """Return these options and what ``other``, of one instruction, switches off or on."""
        return CheckOptions(
            skip=self.skip | other.skip,
            skip_all=self.skip_all or other.skip_all,
            experimental=self.experimental | other.experimental,
            experimental_all=self.experimental_all or other.experimental_all,
            error=self.error,
        )

    def wants(self, rule: Rule) -> bool:
        """Say whether ``rule`` counts."""
        if rule.experimental:
            return self.experimental_all or rule.name in self.experimental
        return not self.skip_all and rule.name not in self.skip


def check_options(source: SourceFile, build_args: Mapping[str, str]) -> CheckOptions:
    """Return the options of a build: the build argument's if it is given, else the file's.

    Raises:
        SourceError: the directive makes no sense.
        UsageError: the build argument makes no sense.
    """
    if BUILD_ARG in build_args:
        try:
            return CheckOptions.parse(build_args[BUILD_ARG])
        except CheckOptionError as error:
            raise UsageError(f"--build-arg {BUILD_ARG}: {error}") from None
    directive = find_directive(source.text, "check")
    if directive is None:
        return CheckOptions()
    try:
        return CheckOptions.parse(directive.first_word)
    except CheckOptionError as error:
        hint = error.hint
        if directive.value != directive.first_word:
            hint = "options have no blanks between them"
        span = Span(file=source.name, first=directive.line, last=directive.line)
        raise SourceError(str(error), (span,), word=error.word, hint=hint) from None


def comment_options(comments: Iterable[str]) -> CheckOptions | None:
    """Return what the comments above an instruction say, if one of them says something.

    The first that looks like an option is it; one that makes no sense may be prose.
    """
    for comment in comments:
        directive = DirectiveReader(comment="").read(comment)
        if directive is not None and directive.name == "check":
            try:
                return CheckOptions.parse(directive.first_word)
            except CheckOptionError:
                return None
    return None
