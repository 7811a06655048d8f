"""Parser directives: the comments `# name=value` at the very beginning of a file."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from wcbuild.dockerfile.words import SPACES

ESCAPES = ("\\", "`")
_NAMES = frozenset(("syntax", "escape", "check"))
_BYTE_ORDER_MARK = "\ufeff"
_BLANKS = "\t\n\f\r "
_ASSIGNMENT = re.compile(rf"[{SPACES}]*([a-zA-Z][a-zA-Z0-9]*)[{_BLANKS}]*=[{_BLANKS}]*(.+)")


class DuplicateDirectiveError(ValueError):
    """A directive that stands there twice; its only argument is the name."""

    def __str__(self) -> str:
        return f"only one {self.args[0]} parser directive can be used"


@dataclass(frozen=True, slots=True, kw_only=True)
class Directive:
    """One directive."""

    name: str
    value: str
    line: int

    @property
    def first_word(self) -> str:
        """The value up to a space: the image reference of `syntax`."""
        return self.value.partition(" ")[0]


class DirectiveReader:
    """Reads line after line until one is no directive; that one and all others give None."""

    def __init__(self, *, line: int = 0, comment: str = "#") -> None:
        self._line = line
        self._comment = comment
        self._seen: set[str] = set()
        self.done = False

    def read(self, line: str) -> Directive | None:
        """Read the next line. Raises DuplicateDirectiveError."""
        self._line += 1
        if self.done:
            return None
        match = None
        if line.startswith(self._comment):
            match = _ASSIGNMENT.fullmatch(line, len(self._comment))
        if match is None or match[1].lower() not in _NAMES:
            self.done = True
            return None
        name = match[1].lower()
        if name in self._seen:
            raise DuplicateDirectiveError(name)
        self._seen.add(name)
        # A value of blanks is its last one, and no good.
        value = match[2].rstrip(_BLANKS) or match[2]
        return Directive(name=name, value=value, line=self._line)


def find_directive(text: str, name: str) -> Directive | None:
    """Return the directive called ``name``; a first line `#!...` does not count as one."""
    return _find(text, name, "#")


def detect_syntax(text: str) -> Directive | None:
    """Return which language a file says it is in.

    Other languages than Dockerfile's may have other comments, so `// syntax=...` counts too, and so
    does the key `syntax` of a JSON object.
    """
    for comment in ("#", "//"):
        if found := _find(text, "syntax", comment):
            return found
    body, line = _without_shebang(text)
    if not body.lstrip(" \t\r\n").startswith("{"):
        return None
    try:
        value = json.loads(body).get("syntax")
    except (ValueError, RecursionError):
        return None
    return Directive(name="syntax", value=value, line=line) if isinstance(value, str) else None


def _find(text: str, name: str, comment: str) -> Directive | None:
    body, line = _without_shebang(text)
    try:
        return next((each for each in _read_all(body, line, comment) if each.name == name), None)
    except DuplicateDirectiveError:
        return None


def _read_all(body: str, line: int, comment: str) -> Iterator[Directive]:
    reader = DirectiveReader(line=line, comment=comment)
    while (found := reader.read(body.partition("\n")[0].removesuffix("\r"))) is not None:
        yield found
        body = body.partition("\n")[2]


def _without_shebang(text: str) -> tuple[str, int]:
    """Return the text after a byte order mark and a line `#!...`, and how many lines went."""
    text = text.removeprefix(_BYTE_ORDER_MARK)
    return (text.partition("\n")[2], 1) if text.startswith("#!") else (text, 0)
