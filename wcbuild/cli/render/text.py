"""What all renderers share: harmless text out of anybody's bytes, lines, widths and numbers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from wcbuild.dockerfile.source import SourceFile, Span
from wcbuild.graph.urls import hide_secrets

if TYPE_CHECKING:
    from wcbuild.solve.events import Warned

MAX_LINE = 4096
"""Bytes of a command's line that are kept together; a longer line is shown in pieces."""

_COLOURS = re.compile("\x1b\\[[0-9;:]*m")
_BIDIRECTIONAL = (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
# What a terminal would act on, or what would show text in another order than it stands.
_HARMFUL = {
    code: ascii(chr(code))[1:-1]
    for code in (*range(9), *range(10, 32), *range(127, 160), *_BIDIRECTIONAL, 0x2028, 0x2029)
}
# Bytes that are not UTF-8, as Python keeps them in text.
_HARMFUL |= {0xDC00 + byte: rf"\x{byte:02x}" for byte in range(0x80, 0x100)}
_UTF8_CONTINUATION = range(0x80, 0xC0)


def clean(text: str) -> str:
    r"""Return ``text`` with nothing in it that a terminal would act on.

    Colour changes are dropped; every other control character is spelled (`\x1b`), and so is what
    UTF-8 cannot say (`\xff`). Tabs stay.
    """
    if text.isprintable():
        return text
    harmless = _COLOURS.sub("", text).translate(_HARMFUL)
    return harmless.encode("utf-8", "backslashreplace").decode()


def decode(line: bytes) -> str:
    r"""Return a command's line as harmless text; bytes that are not UTF-8 are spelled (`\xff`)."""
    return clean(line.decode("utf-8", "backslashreplace"))


class Lines:
    """Cuts one command's output into lines, however its bytes arrive.

    A carriage return ends a line too, so that nothing printed is hidden by what follows it.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._after_return = False
        self._begun = 0.0

    def feed(self, data: bytes, time: float) -> list[tuple[float, str]]:
        """Take bytes that came at ``time``; return the lines now whole and when they began."""
        if self._after_return and data.startswith(b"\n"):
            data = data[1:]
            self._after_return = False
        if not data:
            return []
        self._after_return = data.endswith(b"\r")
        begun = self._begun if self._rest else time
        *whole, rest = (
            (self._rest + data).replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        )
        lines: list[tuple[float, str]] = []
        for line in whole:
            lines += [(begun, decode(piece)) for piece in _pieces(line)]
            begun = time
        *full, self._rest = _pieces(rest)
        lines += [(begun, decode(piece)) for piece in full]
        self._begun = begun
        return lines

    def flush(self) -> list[tuple[float, str]]:
        """Return the last line if no newline ended it."""
        rest, self._rest = self._rest, b""
        return [(self._begun, decode(rest))] if rest else []


def _pieces(line: bytes) -> list[bytes]:
    """Cut a line into pieces of at most ``MAX_LINE`` bytes, between characters."""
    pieces = []
    while len(line) > MAX_LINE:
        end = MAX_LINE
        while line[end] in _UTF8_CONTINUATION and end > MAX_LINE - 4:
            end -= 1
        pieces.append(line[:end])
        line = line[end:]
    pieces.append(line)
    return pieces


def width(text: str) -> int:
    """Return how many columns a terminal uses for harmless text without tabs."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def cut(text: str, columns: int) -> str:
    """Return ``text``, tabs as spaces, shortened to ``columns`` with an ellipsis if it is wider."""
    text = text.expandtabs(4)
    if width(text) <= columns:
        return text
    used, kept = 1, 0
    for kept, character in enumerate(text):  # noqa: B007 - the index at which it stops
        used += _columns(character)
        if used > columns:
            break
    return text[:kept] + "…"


def _columns(character: str) -> int:
    import unicodedata  # noqa: PLC0415 - only for text beyond ASCII

    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def seconds(value: float) -> str:
    """Return a duration as docker prints it: `3.1s`."""
    return f"{max(value, 0.0):.1f}s"


def paint(text: str, colour: str, *, on: bool) -> str:
    """Return ``text`` between the terminal's codes for ``colour``."""
    return f"\x1b[{_CODES[colour]}m{text}\x1b[0m" if on and text else text


_CODES = {"red": "31", "yellow": "33", "blue": "34", "bold": "1"}


def warning_lines(warned: Sequence[Warned], *, colour: bool = False) -> list[str]:
    """Return the lines that end a build in which something was ``warned`` of; none if nothing was."""
    if not warned:
        return []
    found = "1 warning found" if len(warned) == 1 else f"{len(warned)} warnings found"
    head = paint(f" {found} (--check tells more):", "yellow", on=colour)
    return ["", head, *(f" - {clean(str(each.warning))}" for each in warned)]


@lru_cache(maxsize=1)
def source_lines(source: SourceFile) -> list[str]:
    """Return the lines of a Dockerfile; bytes that are not UTF-8 are spelled."""
    return source.data.decode("utf-8", "backslashreplace").split("\n")


def excerpt(lines: Sequence[str], span: Span) -> list[str]:
    """Return those ``lines`` of a file that ``span`` means, and a few around, as BuildKit shows a place."""
    first, last = span.first, min(span.last, len(lines))
    if not 1 <= first <= len(lines):
        return []
    around = 4 if first == last else 2
    start, end, added = first, last, 0
    while added < around:
        if start > 1:
            start, added = start - 1, added + 1
        if end < len(lines):
            end, added = end + 1, added + 1
        added += 1
    rule = "-" * 20
    rows = [f"{clean(span.file)}:{first}", rule]
    for number in range(start, end + 1):
        mark = ">>>" if first <= number <= last else "   "
        line = clean(hide_secrets(lines[number - 1].rstrip("\r")))
        rows.append(f" {number:3} | {mark} {line}")
    return [*rows, rule]
