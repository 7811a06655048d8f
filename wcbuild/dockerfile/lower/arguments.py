"""Arguments of a build, and words with variables in them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

from wcbuild.dockerfile import words
from wcbuild.dockerfile.instructions import Arg, Heredoc
from wcbuild.dockerfile.lower.observer import ArgValue, Observer
from wcbuild.dockerfile.lower.outside import Options
from wcbuild.dockerfile.source import Span
from wcbuild.dockerfile.stages import Dockerfile
from wcbuild.dockerfile.suggest import did_you_mean
from wcbuild.errors import SourceError

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")
_NEED_NO_ARG = frozenset((*PROXIES, *(name.lower() for name in PROXIES)))
_OURS = ("BUILDKIT_", "SOURCE_DATE_EPOCH")
"""What build arguments begin with that need no ARG to be heard."""


def declared_args(dockerfile: Dockerfile) -> frozenset[str]:
    """Return the names of all ARGs, whether their stages are built or not."""
    instructions = (each for stage in dockerfile.stages for each in stage.instructions)
    args = (each for each in (*dockerfile.args, *instructions) if isinstance(each, Arg))
    return frozenset(name for arg in args for name, _ in arg.pairs)


def unused_build_args(dockerfile: Dockerfile, given: Mapping[str, str]) -> tuple[str, ...]:
    """Return the names of what is given and no ARG declares, and that means nothing of itself."""
    undeclared = set(given) - declared_args(dockerfile) - _NEED_NO_ARG
    return tuple(sorted(name for name in undeclared if not name.startswith(_OURS)))


class Arguments:
    """What arguments say before any stage begins, and what words come to with the variables of a stage.

    Raises:
        SourceError: a global ARG is wrong.
    """

    def __init__(self, dockerfile: Dockerfile, options: Options, observer: Observer) -> None:
        self._dockerfile = dockerfile
        self._options = options
        self._observer = observer
        self._of_platforms = self._name_platforms()
        self.from_scope, self._global = self._evaluate_global()

    def _name_platforms(self) -> dict[str, str]:
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

    def _evaluate_global(self) -> tuple[dict[str, str], dict[str, str]]:
        """Return what FROM lines see, and what an ARG of a stage takes as its default."""
        build_args = self._options.build_args
        predefined = {
            name: build_args.get(name, value) for name, value in self._of_platforms.items()
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
        return self._options.build_args.get(name, self._global.get(name, ""))

    def default_of(self, name: str) -> str | None:
        """Return what an ARG without a value takes: the global one's, or what the platform says."""
        return self._global.get(name, self._of_platforms.get(name))

    def in_from(self, word: str, span: Span) -> words.Expansion:
        """Return what a word of a FROM line comes to."""
        return self._expansion(word, self.from_scope, span)

    def slip(self, expansion: words.Expansion) -> str:
        """Return the question whether a variable of a FROM line that has no value is misspelt."""
        known = {name for arg in self._dockerfile.args for name, _ in arg.pairs} | set(
            self.from_scope
        )
        return next(
            filter(None, (did_you_mean(name, sorted(known)) for name in expansion.unset)), ""
        )

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


@contextlib.contextmanager
def _blaming(span: Span, word: str) -> Iterator[None]:
    """Give an error in a word the place that only the caller knows."""
    try:
        yield
    except words.WordError as error:
        message = f'failed to process "{word}": {error}'
        raise SourceError(message, (span,), word=error.word or word) from error
