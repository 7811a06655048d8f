"""SOURCE_DATE_EPOCH: a time, or the name of something that has one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from wcbuild.dockerfile.instructions import Arg, Copy
from wcbuild.dockerfile.lower import remote
from wcbuild.dockerfile.lower.arguments import Arguments
from wcbuild.dockerfile.lower.observer import Observer
from wcbuild.dockerfile.lower.outside import MAIN_CONTEXT, SCRATCH, Options, Outside
from wcbuild.dockerfile.stages import Dockerfile, Stage
from wcbuild.errors import SourceError, UsageError
from wcbuild.graph.ops import ContextOp, GitOp, HttpOp

NAME = "SOURCE_DATE_EPOCH"
MAX_EPOCH = 253402300799
"""The last second of the year 9999: RFC 3339 has no later ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Namesake:
    """What SOURCE_DATE_EPOCH names in place of a time."""

    files: ContextOp | HttpOp | GitOp | None
    """The main context (`MAIN_CONTEXT`), or what is to be fetched; anything else has no time."""


def find_epoch(dockerfile: Dockerfile, options: Options, outside: Outside) -> Namesake | None:
    """Return what SOURCE_DATE_EPOCH, a build argument or a global ARG, names; None is a time, or nothing.

    That is the main context, a named one, or a stage that only adds one thing that is fetched.

    Raises:
        UsageError: the argument is no time, or one that cannot be written, and nothing has that name.
        SourceError: that is so of the global ARG; or the stage does more, or less.
    """
    arguments = Arguments(dockerfile, options, Observer())
    text = arguments.global_value(NAME)
    digits = text.removeprefix("+")
    if not text or (digits.isascii() and digits.isdecimal() and float(digits) <= MAX_EPOCH):
        return None
    if text == MAIN_CONTEXT:
        return Namesake(files=ContextOp(name=MAIN_CONTEXT))
    named = outside.context(text, options.platform)
    if named is not None:
        return Namesake(files=named.files)
    for stage in dockerfile.stages:
        if stage.name == text.lower():
            return Namesake(files=_only_source(arguments, stage, options.build_args))
    message = f"invalid {NAME}: {text}"
    if NAME in options.build_args:
        raise UsageError(message)
    spans = tuple(arg.span for arg in dockerfile.args if NAME in dict(arg.pairs))
    raise SourceError(
        message, spans[-1:], word=text, hint='it is seconds since 1970, "context", or a stage'
    )


def _only_source(
    arguments: Arguments, stage: Stage, build_args: Mapping[str, str]
) -> HttpOp | GitOp:
    """Return what a stage fetches that does nothing else."""
    scope = {name: text for name, text in arguments.from_scope.items() if name != NAME}
    found: list[HttpOp | GitOp | None] = []
    for each in stage.instructions:
        match each:
            case Arg():
                for name, default in each.pairs:
                    if name in build_args:
                        scope[name] = build_args[name]
                    elif default is not None:
                        scope[name] = arguments.expand(default, scope, each.span)
            case Copy(add=True, sources=(source,), heredocs=()):
                url, checksum = (
                    arguments.expand(word, scope, each.span) for word in (source, each.checksum)
                )
                found.append(remote.added(url, checksum=checksum, keep_git_dir=each.keep_git_dir))
            case _:
                found.append(None)
    if stage.from_.base != SCRATCH or len(found) != 1 or found[0] is None:
        message = (
            f'{NAME}: stage "{stage.name}" is more, or less, than FROM scratch and ADD of one URL'
        )
        raise SourceError(message, (stage.from_.span,))
    return found[0]
