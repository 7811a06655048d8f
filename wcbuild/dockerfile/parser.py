"""Dockerfile text to nodes: one for each instruction, taken apart but not understood.

What belongs together is decided here: continuation lines, comments between them, heredocs, flags, and
which shape the rest of a line has for which keyword (words, pairs, JSON, one text).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from wcbuild.dockerfile.directives import (
    ESCAPES,
    Directive,
    DirectiveReader,
    DuplicateDirectiveError,
)
from wcbuild.dockerfile.heredoc import find_starts
from wcbuild.dockerfile.instructions import Heredoc
from wcbuild.dockerfile.source import Span
from wcbuild.dockerfile.words import SPACES, WordError
from wcbuild.errors import DockerfileSyntaxError

MAX_LINE_BYTES = 65535
"""As BuildKit has it; nobody writes such a line by hand."""

MAX_LINES = 500_000
MAX_INSTRUCTIONS = 20_000
MAX_INSTRUCTION_LENGTH = 1 << 20
"""Characters of one with its lines joined: far more than a kernel takes for a command."""

MAX_TRIGGER_DEPTH = 8
"""`ONBUILD ONBUILD ...` is refused later, with a better message; here it must only end."""

_BLANK = "\t\v\f\r "
_BLANKS = re.compile(f"[{_BLANK}]+")
_HEREDOC_KEYWORDS = frozenset(("add", "copy", "run"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One instruction's text."""

    keyword: str
    """As it is written."""
    original: str
    """The text with its continuation lines joined, without heredocs."""
    span: Span
    flags: tuple[str, ...] = ()
    """Words that begin with `--`, quotes and escapes gone."""
    args: tuple[str, ...] = ()
    """The rest. ENV and LABEL: three for each pair, name, value, and `=` or (old form) nothing."""
    json: bool = False
    """The args came from a JSON list."""
    heredocs: tuple[Heredoc, ...] = ()
    comments: tuple[str, ...] = ()
    """The comment lines above, up to an empty one or an instruction."""
    trigger: Node | None = None
    """What ONBUILD delays."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EmptyContinuation:
    """Empty lines within an instruction, which are skipped and deserve a warning."""

    span: Span
    """The instruction's last line."""
    original: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedFile:
    """All nodes of a file."""

    nodes: tuple[Node, ...]
    escape: str
    directives: tuple[Directive, ...]
    warnings: tuple[EmptyContinuation, ...]


def parse(text: str, *, file: str, escape: str = ESCAPES[0]) -> ParsedFile:
    """Take ``text`` apart; ``escape`` is the escape character unless a directive names another.

    Raises:
        DockerfileSyntaxError: no instruction in it, a heredoc without end, a pair without `=`, a
            JSON list of something else than strings, bytes that are not UTF-8, more of something
            than one of the limits above allows.
    """
    if text.count("\n") > MAX_LINES:
        raise DockerfileSyntaxError(f'"{file}" has more than {MAX_LINES} lines')
    parser = _Parser(text, file, escape)
    while parser.line < len(parser.lines):
        parser.read_instruction()
    if not parser.nodes:
        span = Span(file=file, first=max(parser.line, 1), last=max(parser.line, 1))
        raise DockerfileSyntaxError("file with no instructions", (span,))
    return ParsedFile(
        nodes=tuple(parser.nodes),
        escape=parser.escape,
        directives=tuple(parser.directives),
        warnings=tuple(parser.warnings),
    )


class _Parser:
    """Reads instruction after instruction; `line` is how many physical lines are read."""

    def __init__(self, text: str, file: str, escape: str) -> None:
        self.file = file
        self.lines = text.removeprefix("\ufeff").split("\n")
        if not self.lines[-1]:
            self.lines.pop()
        self.line = 0
        self.escape = escape
        self.directives: list[Directive] = []
        self.warnings: list[EmptyContinuation] = []
        self.nodes: list[Node] = []
        self._reader = DirectiveReader()
        self._comments: list[str] = []

    def read_instruction(self) -> None:
        """Read one instruction, or a comment or empty line."""
        text = self._next_line().lstrip(SPACES)
        if self._read_directive(text):
            return
        if text.startswith("#"):
            self._read_comment()
            return
        first = self.line
        text, goes_on = self._without_continuation(text)
        if not text and not goes_on:
            return
        parts, has_empty_line = [text], False
        while goes_on and self.line < len(self.lines):
            text = self._next_line()
            bare = text.strip(SPACES)
            if bare.startswith("#"):
                continue
            if not bare:
                has_empty_line = True
                continue
            text, goes_on = self._without_continuation(text)
            parts.append(text)
        original = "".join(parts)
        if len(original) > MAX_INSTRUCTION_LENGTH:
            raise self._error(
                f"instruction of more than {MAX_INSTRUCTION_LENGTH} characters", first
            )
        if len(self.nodes) == MAX_INSTRUCTIONS:
            raise self._error(f"more than {MAX_INSTRUCTIONS} instructions", first)
        if has_empty_line:
            span = Span(file=self.file, first=self.line, last=self.line)
            self.warnings.append(EmptyContinuation(span=span, original=original))
        self._add(original, first)
        self._comments = []

    def _next_line(self) -> str:
        line = self.lines[self.line]
        self.line += 1
        # A character is four bytes at most, so most lines need no counting.
        if len(line) * 4 > MAX_LINE_BYTES and _byte_length(line) > MAX_LINE_BYTES:
            raise self._error(
                f"dockerfile line greater than max allowed size of {MAX_LINE_BYTES}", self.line
            )
        return line.rstrip("\r")

    def _read_directive(self, line: str) -> bool:
        """Say whether the line is a directive."""
        try:
            directive = self._reader.read(line)
        except DuplicateDirectiveError as error:
            raise self._error(str(error), self.line, word=error.args[0]) from None
        if directive is None:
            return False
        self.directives.append(directive)
        if directive.name == "escape":
            if directive.value not in ESCAPES:
                raise self._error(
                    f"invalid escape token '{directive.value}' does not match ` or \\",
                    self.line,
                    word=directive.value,
                )
            self.escape = directive.value
        return True

    def _read_comment(self) -> None:
        # Of an indented comment the first blank is taken for the sign. BuildKit does so, and with it
        # an indented comment is no description of what follows.
        comment = self.lines[self.line - 1][1:].strip(SPACES)
        if comment:
            self._comments.append(comment)
        else:
            self._comments = []

    def _without_continuation(self, line: str) -> tuple[str, bool]:
        """Return the line without its last escape character, and whether there was one.

        An escape character right before it makes both ordinary, so an odd number of three goes on
        no more than two do.
        """
        bare = line.rstrip(" \t")
        if not bare.endswith(self.escape) or bare.endswith(self.escape * 2):
            return line, False
        return bare[:-1], True

    def _add(self, original: str, first: int) -> None:
        if not _is_utf8(original):
            raise self._error("the instruction is not valid UTF-8", first)
        try:
            span = Span(file=self.file, first=first, last=self.line)
            node = _node(original, self.escape, span, tuple(self._comments))
            starts = find_starts(original) if _may_have_heredocs(node) else []
        except WordError as error:
            raise self._error(str(error), first) from None
        except _LineError as error:
            raise self._error(str(error), first, word=error.word, hint=error.hint) from None
        if starts:
            heredocs = tuple(
                Heredoc(
                    name=start.name,
                    raw=self._read_heredoc(start.name, first, chomp=start.chomp),
                    expand=start.expand,
                    chomp=start.chomp,
                    fd=start.fd,
                )
                for start in starts
            )
            span = Span(file=self.file, first=first, last=self.line)
            node = replace(node, heredocs=heredocs, span=span)
        self.nodes.append(node)

    def _read_heredoc(self, name: str, first: int, *, chomp: bool) -> str:
        body: list[str] = []
        while self.line < len(self.lines):
            line = self._next_line()
            if (line.lstrip("\t") if chomp else line) == name:
                text = "\n".join((*body, ""))
                if not _is_utf8(text):
                    raise self._error(f"the heredoc {name} is not valid UTF-8", first)
                return text
            body.append(self.lines[self.line - 1])
        raise DockerfileSyntaxError(
            "unterminated heredoc",
            (Span(file=self.file, first=first, last=self.line),),
            word=name,
            hint=f'no line says only "{name}"',
        )

    def _error(
        self, message: str, first: int, *, word: str = "", hint: str = ""
    ) -> DockerfileSyntaxError:
        span = Span(file=self.file, first=first, last=self.line)
        return DockerfileSyntaxError(message, (span,), word=word, hint=hint)


class _LineError(Exception):
    """What is wrong with the text of an instruction."""

    def __init__(self, message: str, *, word: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.word = word
        self.hint = hint


def _byte_length(text: str) -> int:
    return len(text.encode(errors="surrogateescape"))


def _is_utf8(text: str) -> bool:
    """Say whether ``text`` holds no byte that could not be decoded."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _may_have_heredocs(node: Node) -> bool:
    inner = node.trigger or node
    return inner.keyword.lower() in _HEREDOC_KEYWORDS and not inner.json


def _node(
    original: str, escape: str, span: Span, comments: tuple[str, ...] = (), depth: int = 0
) -> Node:
    keyword, *rest = _BLANKS.split(original.strip(SPACES), maxsplit=1)
    flags, text = _split_flags(rest[0], escape) if rest else ([], "")
    text = text.strip(SPACES)
    lowered = keyword.lower()
    trigger = None
    is_json = False
    args: list[str] = []
    if lowered == "onbuild":
        if text and depth < MAX_TRIGGER_DEPTH:
            trigger = _node(text, escape, span, depth=depth + 1)
            args = [trigger.keyword, *trigger.args]
    elif shape := _SHAPES.get(lowered):
        args, is_json = shape(text, escape, keyword.upper())
    return Node(
        keyword=keyword,
        original=original,
        span=span,
        flags=tuple(flags),
        args=tuple(args),
        json=is_json,
        comments=comments,
        trigger=trigger,
    )


def _split_flags(text: str, escape: str) -> tuple[list[str], str]:
    """Return the flags at the beginning, and what follows them.

    Quotes may hold blanks together, and the escape character protects the next one. A lone `--` ends
    the flags.
    """
    flags: list[str] = []
    position = 0
    while True:
        while position < len(text) and text[position] in _BLANK:
            position += 1
        if not text.startswith("--", position):
            return flags, text[position:]
        flag, position = _read_flag(text, position, escape)
        if flag == "--":
            return flags, text[position:]
        flags.append(flag)


def _read_flag(text: str, position: int, escape: str) -> tuple[str, int]:
    """Read the flag that begins at ``position``; return it and where it ends."""
    flag: list[str] = []
    quote = ""
    while position < len(text):
        character = text[position]
        position += 1
        if character == escape:
            flag.append(text[position : position + 1])
            position += 1
        elif character == quote:
            quote = ""
        elif not quote and character in "'\"":
            quote = character
        elif not quote and character in _BLANK:
            position -= 1
            break
        else:
            flag.append(character)
    return "".join(flag), min(position, len(text))


# One function for each shape of arguments: text, escape character and keyword -> args, and whether
# they are a JSON list.


def _one_text(text: str, _escape: str, _keyword: str) -> tuple[list[str], bool]:
    return [text] if text else [], False


def _blank_separated(text: str, _escape: str, _keyword: str) -> tuple[list[str], bool]:
    return _BLANKS.split(text) if text else [], False


def _json_or_text(text: str, escape: str, keyword: str) -> tuple[list[str], bool]:
    items = _json_list(text)
    return _one_text(text, escape, keyword) if items is None else (items, True)


def _json_or_blank_separated(text: str, escape: str, keyword: str) -> tuple[list[str], bool]:
    items = _json_list(text)
    return _blank_separated(text, escape, keyword) if items is None else (items, True)


def _pairs(text: str, escape: str, keyword: str) -> tuple[list[str], bool]:
    words = _quoted_words(text, escape)
    if not words:
        return [], False
    if "=" not in words[0]:
        name, *rest = _BLANKS.split(text, maxsplit=1)
        if not rest:
            raise _LineError(
                f"{keyword} must have two arguments",
                word=text,
                hint=f"as in {keyword} {name}=value",
            )
        return [name, rest[0], ""], False
    args: list[str] = []
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise _LineError(
                f'Syntax error - can\'t find = in "{word}". Must be of the form: name=value',
                word=word,
                hint="a value with spaces stands in quotes",
            )
        args += (name, value, "=")
    return args, False


def _names_and_pairs(text: str, escape: str, _keyword: str) -> tuple[list[str], bool]:
    return _quoted_words(text, escape), False


def _health_check(text: str, escape: str, keyword: str) -> tuple[list[str], bool]:
    if not text:
        return [], False
    kind, *rest = _BLANKS.split(text, maxsplit=1)
    args, is_json = _json_or_text(rest[0] if rest else "", escape, keyword)
    return [kind, *args], is_json


_SHAPES: dict[str, Callable[[str, str, str], tuple[list[str], bool]]] = {
    "add": _json_or_blank_separated,
    "arg": _names_and_pairs,
    "cmd": _json_or_text,
    "copy": _json_or_blank_separated,
    "entrypoint": _json_or_text,
    "env": _pairs,
    "expose": _blank_separated,
    "from": _blank_separated,
    "healthcheck": _health_check,
    "label": _pairs,
    "maintainer": _one_text,
    "run": _json_or_text,
    "shell": _json_or_text,
    "stopsignal": _one_text,
    "user": _one_text,
    "volume": _json_or_blank_separated,
    "workdir": _one_text,
}


def _json_list(text: str) -> list[str] | None:
    """Return a JSON list of strings; None for text that is no JSON list, which is then for a shell."""
    if not text.startswith("["):
        return None
    try:
        items = json.loads(text, parse_constant=_no_constant, parse_int=_no_text)
    except (ValueError, RecursionError):
        return None
    if not all(isinstance(item, str) for item in items):
        raise _LineError(
            "when using JSON array syntax, arrays must be comprised of strings only",
            hint="every element stands in double quotes",
        )
    return [_whole(item) for item in items]


def _no_text(_digits: str) -> None:
    """Stand for a number, whose value nobody needs and may be a million digits long."""


def _no_constant(name: str) -> None:
    """Refuse `NaN` and `Infinity`, which Python reads and JSON does not have."""
    raise ValueError(name)


def _whole(item: str) -> str:
    """Replace halves of surrogate pairs, which a JSON escape may leave and UTF-8 cannot say."""
    return (
        item
        if _is_utf8(item)
        else item.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    )


def _quoted_words(text: str, escape: str) -> list[str]:
    """Split at spaces that are neither quoted nor escaped. Quotes and escapes stay."""
    words: list[str] = []
    word: list[str] = []
    quote = ""
    position = 0
    while position < len(text):
        character = text[position]
        position += 1
        if not quote and character in SPACES:
            if word:
                words.append("".join(word))
                word = []
            continue
        if character == escape and quote != "'":
            if position < len(text):  # at the very end it means nothing
                word.append(text[position - 1 : position + 1])
                position += 1
            continue
        if character == quote:
            quote = ""
        elif not quote and character in "'\"":
            quote = character
        word.append(character)
    if word:
        words.append("".join(word))
    return words
