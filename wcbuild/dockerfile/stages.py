"""A whole Dockerfile: global arguments and stages."""

from __future__ import annotations

import codecs
from dataclasses import dataclass, replace

from wcbuild.dockerfile.directives import ESCAPES, Directive
from wcbuild.dockerfile.instructions import Arg, From, Instruction
from wcbuild.dockerfile.parser import EmptyContinuation, Node, parse
from wcbuild.dockerfile.reader import parse_instruction
from wcbuild.dockerfile.source import Span
from wcbuild.errors import DockerfileSyntaxError, SourceError

MAX_DOCKERFILE_BYTES = 16 << 20
"""Far more than anybody writes; a wrong `-f` may name a disk image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A FROM and what follows it."""

    index: int
    from_: From
    instructions: tuple[Instruction, ...]

    @property
    def name(self) -> str:
        """The name after AS in lower case, or nothing."""
        return self.from_.name

    @property
    def display_name(self) -> str:
        """What to call it in messages."""
        return self.name or f"stage-{self.index}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dockerfile:
    """A Dockerfile that was read without an error; nothing in it is expanded yet."""

    escape: str
    directives: tuple[Directive, ...]
    args: tuple[Arg, ...]
    """ARGs before the first FROM."""
    stages: tuple[Stage, ...]
    """At least one."""
    nodes: tuple[Node, ...]
    """Every instruction as it stands there."""
    warnings: tuple[EmptyContinuation, ...]


def parse_dockerfile(text: bytes, *, file: str, escape: str = ESCAPES[0]) -> Dockerfile:
    """Read a Dockerfile.

    Args:
        text: its bytes; UTF-8 except in comments.
        file: what to call it in messages.
        escape: the escape character, unless a directive names another.

    Raises:
        DockerfileSyntaxError: it is empty, or something in it cannot be read.
    """
    if len(text) > MAX_DOCKERFILE_BYTES:
        raise DockerfileSyntaxError(
            f'"{file}" is larger than {MAX_DOCKERFILE_BYTES} bytes; it is no Dockerfile'
        )
    if not text:
        raise DockerfileSyntaxError(f"the Dockerfile ({file}) cannot be empty")
    if text.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        # Without a place: a line of it would be shown as rubbish.
        raise DockerfileSyntaxError(
            f'"{file}" is in UTF-16', hint="save it as UTF-8, which a Dockerfile has to be"
        )
    parsed = parse(text.decode(errors="surrogateescape"), file=file, escape=escape)
    args: list[Arg] = []
    heads: list[tuple[From, list[Instruction]]] = []
    for node in parsed.nodes:
        instruction = parse_instruction(node)
        if isinstance(instruction, From):
            heads.append((instruction, []))
        elif heads:
            heads[-1][1].append(instruction)
        elif isinstance(instruction, Arg):
            args.append(instruction)
        else:
            raise DockerfileSyntaxError(
                "no build stage in current context",
                (node.span,),
                word=node.keyword,
                hint="only ARG may stand before the first FROM",
            )
    if not heads:
        raise DockerfileSyntaxError(
            "dockerfile contains no stages to build", (args[-1].span,), hint="there is no FROM"
        )
    return Dockerfile(
        escape=parsed.escape,
        directives=parsed.directives,
        args=tuple(args),
        stages=tuple(
            Stage(index=index, from_=from_, instructions=tuple(instructions))
            for index, (from_, instructions) in enumerate(heads)
        ),
        nodes=parsed.nodes,
        warnings=parsed.warnings,
    )


def parse_trigger(text: str, *, span: Span, escape: str) -> tuple[Instruction, ...]:
    """Read what an ONBUILD of a base image delayed: one instruction.

    Args:
        text: as the image's config has it.
        span: what to blame, which is the FROM that brings the trigger in.
        escape: the escape character, which the config does not tell.

    Raises:
        SourceError: it is not one instruction, or FROM.
    """
    span = replace(span, trigger=text)
    directive = "" if escape == "\\" else f"# escape={escape}\n"
    try:
        instructions = [parse_instruction(n) for n in parse(directive + text, file=span.file).nodes]
    except SourceError as error:
        raise SourceError(
            f'ONBUILD trigger "{text}" of the base image: {error.message}',
            (span,),
            word=error.word,
            hint=error.hint,
        ) from error
    # Other tools delay ONBUILD and MAINTAINER as well, which our Dockerfiles may not.
    if len(instructions) != 1 or isinstance(instructions[0], From):
        raise SourceError(
            f'ONBUILD trigger "{text}" of the base image: not one instruction of a stage',
            (span,),
        )
    return (replace(instructions[0], span=span),)
