r"""`.dockerignore`: which files of a folder are not part of the build context.

Patterns are tried in order and the last one that matches decides; `!pattern` takes back in. A pattern
that matches a folder also matches everything below. All start at the context's root:

    *  ?  [a-z]  \x       as in `wildcard`, within one component
    **                   any number of components

A walk asks about tens of thousands of paths, so patterns of one kind that stand together are tried as
one, and what a walker must remember of a folder is one number: the last group of patterns that matched
it or a folder above.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable

from wcbuild.dockerfile.source import Span
from wcbuild.dockerfile.wildcard import BadPatternError, compile_pattern, translate_character
from wcbuild.dockerfile.words import SPACES
from wcbuild.errors import SourceError

NO_MATCH = -1
"""The state of a walk at the root: nothing has matched."""


def read_patterns(data: bytes) -> list[tuple[int, str]]:
    """Return the patterns of an ignore file, cleaned, each with the number of its line."""
    patterns: list[tuple[int, str]] = []
    text = data.decode(errors="surrogateescape").removeprefix("\ufeff")
    for number, line in enumerate(text.split("\n"), 1):
        pattern = "" if line.startswith("#") else line.strip(SPACES)
        if not pattern:
            continue
        sign = ""
        if pattern.startswith("!"):
            sign, pattern = "!", pattern[1:].strip(SPACES)
        if pattern:
            pattern = _clean(pattern)
            if len(pattern) > 1:
                pattern = pattern.removeprefix("/")
        patterns.append((number, sign + pattern))
    return patterns


class IgnoreRules:
    """The patterns of one ignore file, or of COPY's `--exclude`."""

    def __init__(self, patterns: Iterable[str]) -> None:
        """Compile ``patterns``. Raises BadPatternError."""
        parsed = [each for pattern in patterns if (each := _Pattern.parse(pattern))]
        self._groups = _grouped(parsed)
        self._patterns = parsed

    @classmethod
    def parse(cls, data: bytes, *, file: str = ".dockerignore") -> IgnoreRules:
        """Read an ignore file; ``file`` is what to call it in messages.

        Raises:
            SourceError: a pattern that cannot be read.
        """
        numbered = read_patterns(data)
        try:
            return cls(pattern for _, pattern in numbered)
        except BadPatternError:
            for number, pattern in numbered:
                _blame(pattern, Span(file=file, first=number, last=number))
            raise

    def __bool__(self) -> bool:
        return bool(self._groups)

    @property
    def patterns(self) -> tuple[str, ...]:
        """The patterns that leave something out, cleaned."""
        return tuple(pattern.text for pattern in self._patterns if pattern.excludes)

    @property
    def has_exceptions(self) -> bool:
        """Whether a pattern takes something back in."""
        return not all(pattern.excludes for pattern in self._patterns)

    def excludes(self, path: str) -> bool:
        """Say whether ``path``, relative to the root and clean, is left out."""
        state = NO_MATCH
        slash = path.find("/")
        while slash >= 0:
            state = self.state(path[:slash], state)
            slash = path.find("/", slash + 1)
        return self.is_excluded(self.state(path, state))

    def state(self, path: str, parent: int = NO_MATCH) -> int:
        """Return the state of ``path``, given that of its folder (`NO_MATCH` for the root)."""
        groups = self._groups
        for index in range(len(groups) - 1, parent, -1):
            if groups[index].matches(path):
                return index
        return parent

    def is_excluded(self, state: int) -> bool:
        """Say whether a path of this state is left out."""
        return state >= 0 and self._groups[state].excludes

    def may_include_below(self, folder: str, state: int) -> bool:
        """Say whether something below the excluded ``folder`` of this state could be taken back in.

        False is certain, and a walker need not look into the folder.
        """
        depth = folder.count("/") + 1
        return any(
            pattern.may_match_below(folder, depth)
            for pattern in self._patterns
            if pattern.group > state and not pattern.excludes
        )


class _Pattern:
    """One pattern; `group` is set when it has found its place."""

    __slots__ = ("excludes", "group", "text")

    def __init__(self, text: str, *, excludes: bool) -> None:
        self.text = text
        self.excludes = excludes
        self.group = NO_MATCH

    @classmethod
    def parse(cls, pattern: str) -> _Pattern | None:
        pattern = pattern.strip(SPACES)
        if not pattern:
            return None
        pattern = _clean(pattern)
        excludes = not pattern.startswith("!")
        text = pattern if excludes else pattern[1:]
        if not text:
            raise BadPatternError
        compile_pattern(text)
        return cls(text, excludes=excludes)

    def may_match_below(self, folder: str, depth: int) -> bool:
        """Compare component by component as far as both go; `**` may be anything."""
        own = self.text.split("/")
        for component, name in zip(own, folder.split("/"), strict=False):
            if "**" in component or "[" in component:
                return True
            if not compile_pattern(component).fullmatch(name):
                return False
        return len(own) > depth


class _Group:
    """Patterns of one kind that stand together: which of them matches does not matter."""

    __slots__ = ("_beginnings", "_ends", "_exact", "_expression", "excludes")

    def __init__(self, patterns: Iterable[_Pattern], *, excludes: bool) -> None:
        self.excludes = excludes
        exact: set[str] = set()
        beginnings: list[str] = []
        ends: list[str] = []
        expressions: list[str] = []
        for pattern in patterns:
            text = pattern.text
            if not _SPECIAL.search(text):
                exact.add(text)
            elif text.endswith("/**") and not _SPECIAL.search(text[:-2]):
                beginnings.append(text[:-2])
            elif text.startswith("**/*") and not _SPECIAL.search(text[4:]) and "/" not in text[4:]:
                ends.append(text[4:])
            elif text.startswith("**") and not _SPECIAL.search(text[2:]):
                # Not even a component's beginning has to be there: `**.o` is any name that ends so.
                ends.append(text[2:])
                if text[2:3] == "/":
                    exact.add(text[3:])
            else:
                expressions.append(_translate(text))
        self._exact = frozenset(exact)
        self._beginnings = tuple(beginnings)
        self._ends = tuple(ends)
        joined = "|".join(f"(?:{expression})" for expression in expressions)
        self._expression = re.compile(joined, re.DOTALL) if joined else None

    def matches(self, path: str) -> bool:
        return (
            path in self._exact
            or path.endswith(self._ends)
            or path.startswith(self._beginnings)
            or (self._expression is not None and self._expression.fullmatch(path) is not None)
        )


def _grouped(patterns: list[_Pattern]) -> tuple[_Group, ...]:
    groups: list[list[_Pattern]] = []
    for pattern in patterns:
        if not groups or groups[-1][-1].excludes != pattern.excludes:
            groups.append([])
        groups[-1].append(pattern)
        pattern.group = len(groups) - 1
    return tuple(_Group(group, excludes=group[0].excludes) for group in groups)


_SPECIAL = re.compile(r"[*?\[\]\\]")


def _translate(pattern: str) -> str:
    """Return the regular expression of a pattern."""
    parts: list[str] = []
    position = 0
    while position < len(pattern):
        if pattern[position] != "*":
            part, position = translate_character(pattern, position)
            parts.append(part)
            continue
        if pattern.startswith("**", position):
            position += 2
            position += pattern.startswith("/", position)
            part = ".*" if position == len(pattern) else "(?:.*/)?"
        else:
            position += 1
            part = "[^/]*"
        if parts[-1:] != [part]:  # twice the same says no more than once, but takes longer
            parts.append(part)
    return "".join(parts)


def _clean(pattern: str) -> str:
    """Return the shortest spelling: no double slash, no `.`, no `..` that can be resolved."""
    cleaned = posixpath.normpath(pattern)
    return cleaned[1:] if cleaned.startswith("//") else cleaned


def _blame(pattern: str, span: Span) -> None:
    try:
        _Pattern.parse(pattern)
    except BadPatternError as error:
        reason = 'illegal exclusion pattern: "!"' if pattern == "!" else str(error)
        raise SourceError(reason, (span,), word=pattern) from None
