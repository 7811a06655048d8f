"""Places in a Dockerfile, and how to show them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from wcbuild.errors import SourceError

MAX_EXCERPT_LINES = 12
"""A heredoc may be hundreds of lines long; its first ones tell which it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Lines of a file, counted from 1, both ends included."""

    file: str
    first: int
    last: int

    def __str__(self) -> str:
        return f"{self.file}:{self.first}"


@contextmanager
def blame(span: Span) -> Iterator[None]:
    """Let a SourceError from within that names no place name ``span``."""
    try:
        yield
    except SourceError as error:
        if not error.spans:
            error.spans = (span,)
        raise


def excerpt(text: str, span: Span, word: str = "", hint: str = "") -> str:
    """Return the lines of ``span`` in ``text``, numbered, with carets and ``hint`` under ``word``.

    The first line that contains the word is underlined, where it stands alone
    if it does. Without such a line the hint stands by itself.
    """
    lines = text.split("\n")[span.first - 1 : span.last]
    shown: list[str] = []
    for number, line in enumerate(lines[:MAX_EXCERPT_LINES], span.first):
        line = line.rstrip("\r")  # noqa: PLW2901 - the same line, cleaned
        shown.append(f"{number:5} | {line}".rstrip())
        if word and word in line:
            alone = re.search(rf"(?<!\S){re.escape(word)}(?!\S)", line)
            before = line[: alone.start() if alone else line.index(word)]
            # A tab before the word stays a tab, whatever its width on the reader's terminal.
            indent = "".join("\t" if character == "\t" else " " for character in before)
            shown.append(f"{'':8}{indent}{'^' * len(word)} {hint}".rstrip())
            word = hint = ""
    if len(lines) > MAX_EXCERPT_LINES:
        shown.append(f"{'':5} | ({len(lines) - MAX_EXCERPT_LINES} more lines)")
    if hint:
        shown.append(f"{'':8}{hint}")
    return "\n".join(shown)
