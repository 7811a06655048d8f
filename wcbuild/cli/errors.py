"""What a person sees when something went wrong, and the exit status that scripts see.

Dockerfile:12: COPY --from=biulder: no stage or image named "biulder"
  12 | COPY --from=biulder /out /app
                   ^^^^^^^ did you mean "builder"?
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Callable
from typing import TextIO

from registry.errors import RegistryError
from wcbuild.cli.render.text import clean, paint, width
from wcbuild.dockerfile.source import Span
from wcbuild.errors import SourceError, StepFailedError, WcbuildError
from wcbuild.graph.urls import hide_secrets

FAILED, INTERNAL, INTERRUPTED = 1, 125, 130
MAX_EXCERPT = 10
"""Lines of one place of a Dockerfile that are shown."""
MAX_COLUMNS = 160
"""Characters of one line that are shown."""
MAX_NOTES = 10
"""Other failures that are told with one."""
MAX_SOURCE_BYTES = 4 * 1024 * 1024
"""A longer file is not read again to show a line of it."""

SourceReader = Callable[[str], str | None]
"""Gives the text of a file that a span names, or None."""


def read_file(name: str) -> str | None:
    """Return the text of a Dockerfile that lies where its spans say, else None."""
    try:
        with open(name, "rb") as file:
            return file.read(MAX_SOURCE_BYTES).decode("utf-8", "surrogateescape")
    except OSError:
        return None


def guarded(
    action: Callable[[], int],
    *,
    stream: TextIO,
    colour: bool = False,
    debug: bool = False,
    read_source: SourceReader = read_file,
) -> int:
    """Run ``action`` and return its exit status, or that of the error it ends with, after telling it.

    ``debug`` lets the exception through instead, so that its traceback is seen.
    """
    try:
        return action()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        return leave_quietly()
    except Exception as error:
        if debug:
            raise
        with contextlib.suppress(OSError):
            encoding = getattr(stream, "encoding", None) or "utf-8"
            stream.write(describe(error, colour=colour, read_source=read_source, encoding=encoding))
            stream.flush()
        return exit_status(error)


def leave_quietly() -> int:
    """Return the exit status when the reader of our output has left: nobody is there to be told."""
    # The interpreter must not trip over what is still buffered when it ends.
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return FAILED


def exit_status(error: Exception) -> int:
    """Return the exit status that ``error`` stands for."""
    if isinstance(error, WcbuildError | RegistryError):
        return error.exit_status
    return FAILED if isinstance(error, OSError) else INTERNAL


def describe(
    error: Exception,
    *,
    colour: bool = False,
    read_source: SourceReader = read_file,
    encoding: str = "utf-8",
) -> str:
    """Return the lines, each ended, that tell a person of ``error``; none acts on a terminal.

    Carets stand right where what ``encoding`` does not have will be spelled, as on standard error.
    """

    def excerpt(spans: tuple[Span, ...], word: str = "", hint: str = "") -> list[str]:
        return _excerpt(spans, word, hint, read_source, encoding)

    prefix = paint("ERROR:", "red", on=colour)
    if isinstance(error, WcbuildError) and error.dockerfile is not None:
        text = error.dockerfile
        read_source = lambda _: text  # noqa: E731 - as every reader is
    match error:
        case SourceError():
            place = f"{error.spans[0]}: " if error.spans else ""
            shown = excerpt(error.spans, error.word, error.hint)
            # Without a line to show, the hint stands in the message itself.
            message = f"{place}{error.message}" if shown else str(error)
            lines = [f"{prefix} {clean(message)}", *shown]
        case StepFailedError():
            rule = "-" * 6
            tail = [clean(line) for line in error.tail.splitlines()]
            lines = [rule, f" > {clean(error.label)}:", *tail, rule] if tail else []
            lines += [f"{prefix} {clean(str(error))}", *excerpt(error.spans)]
        case WcbuildError():
            place = f"{error.spans[0]}: " if error.spans else ""
            lines = [
                f"{prefix} {clean(place + str(error))}",
                *excerpt(error.spans, error.word),
            ]
        case RegistryError():
            lines = [f"{prefix} {clean(str(error))}"]
        case OSError():
            names = (error.filename, error.filename2)
            files = " -> ".join(
                os.fsdecode(name) for name in names if isinstance(name, str | bytes)
            )
            reason = error.strerror or str(error)
            lines = [f"{prefix} {clean(f'{files}: {reason}' if files else reason)}"]
        case _:
            what = clean(f"{type(error).__name__}: {error}")
            lines = [f"{prefix} internal error: {what} (--debug shows where)"]
    lines += [f"  {clean(note)}" for note in _notes(error)[:MAX_NOTES]]
    return hide_secrets("".join(f"{line}\n" for line in lines))


def _notes(error: BaseException | None) -> list[str]:
    """Return what ``error`` and its causes tell besides: who else was asked, what else failed."""
    notes: list[str] = []
    seen: list[BaseException] = []  # nothing keeps an error from being its own cause
    while error is not None and error not in seen:
        seen.append(error)
        notes += getattr(error, "__notes__", ())
        error = error.__cause__
    return notes


def _excerpt(
    spans: tuple[Span, ...], word: str, hint: str, read_source: SourceReader, encoding: str
) -> list[str]:
    """Return the first span's lines with ``word`` underlined; nothing if they cannot be read."""
    text = read_source(spans[0].file) if spans else None
    if text is None:
        return []
    span, word = spans[0], clean(hide_secrets(word))
    source = text.split("\n")[span.first - 1 : span.last]
    margins = [f"  {number:>3} | " for number in range(span.first, span.first + len(source))]
    if span.trigger:
        source += f"ONBUILD {span.trigger}".split("\n")
        margins += ["      | "] * (len(source) - len(margins))
    rows = [clean(hide_secrets(line.rstrip("\r"))).expandtabs(4) for line in source]
    marked, at = _find(word, rows) if word else (-1, -1)
    # Of many lines the first ones are shown, and those before what is marked.
    near = range(marked - MAX_EXCERPT // 2, marked + 1) if marked >= MAX_EXCERPT else ()
    shown: list[str] = []
    previous = -1
    for index in (*range(min(len(rows), MAX_EXCERPT - len(near))), *near):
        if index > previous + 1:
            shown.append("      | …")
        previous = index
        margin = margins[index]
        row, start = _window(rows[index], at if index == marked else 0, len(word))
        shown.append((margin + row).rstrip())
        if index == marked:
            left = at - start
            before, marks = (
                width(part.encode(encoding, "backslashreplace").decode(encoding))
                for part in (row[:left], row[left : left + len(word)])
            )
            carets = " " * (len(margin) + before) + "^" * marks
            shown.append(f"{carets} {hint}".rstrip())
    if previous < len(rows) - 1:
        shown.append("      | …")
    if shown and hint and marked < 0:
        shown.append(f"        {hint}")
    return shown


def _find(word: str, rows: list[str]) -> tuple[int, int]:
    """Return in which row ``word`` is, and where; -1 if in none.

    It may be part of a word where it stands alone nowhere, and in a comment where it is nowhere else.
    """
    escaped = re.escape(word)
    alone = rf"(?<!\S){escaped}(?!\S)"
    whole = rf"(?<![\w.-]){escaped}(?![\w.-])"
    for is_comment in (False, True):
        for patterns in ((alone, whole), (escaped,)):
            for index, row in enumerate(rows):
                if row.lstrip().startswith("#") is not is_comment:
                    continue
                for pattern in patterns:
                    if found := re.search(pattern, row):
                        return index, found.start()
    return -1, -1


def _window(row: str, at: int, length: int) -> tuple[str, int]:
    """Return the part of a long ``row`` that shows what begins at ``at``, and where it begins."""
    if len(row) <= MAX_COLUMNS:
        return row, 0
    start = max(0, min(at, at + length - MAX_COLUMNS // 2))
    part = row[start : start + MAX_COLUMNS]
    if start > 0:
        part = f"…{part[1:]}"
    return (part if start + MAX_COLUMNS >= len(row) else f"{part[:-1]}…"), start
