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

import itertools
import posixpath
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from wcbuild.dockerfile.source import Span
from wcbuild.dockerfile.wildcard import BadPatternError, compile_pattern, translate_character
from wcbuild.dockerfile.words import SPACES
from wcbuild.errors import SourceError

MAX_WILDCARDS = 10_000
"""Patterns that are more than a path, all of which are tried with every path."""
MAX_CHANGES = 1_000
"""Times that `!` follows none or none follows `!`."""
MAX_STARS = 4
"""Of a pattern that may have to be tried in every way; see `_translate`."""

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


class TooManyPatternsError(BadPatternError):
    """No pattern is to blame alone."""


class IgnoreRules:
    """The patterns of one ignore file, or of COPY's `--exclude`."""

    def __init__(self, patterns: Iterable[str]) -> None:
        """Compile ``patterns``. Raises BadPatternError."""
        parsed = [each for pattern in patterns if (each := _Pattern.parse(pattern))]
        if sum(_SPECIAL.search(each.text) is not None for each in parsed) > MAX_WILDCARDS:
            raise TooManyPatternsError(f"more than {MAX_WILDCARDS} patterns with wildcards")
        self._groups = tuple(_grouped(parsed))
        if len(self._groups) > MAX_CHANGES:
            raise TooManyPatternsError(f'more than {MAX_CHANGES} changes between "!" and none')
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
        except TooManyPatternsError as error:
            last, _ = numbered[-1]
            raise SourceError(str(error), (Span(file=file, first=last, last=last),)) from None
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
        later = self._groups[state + 1 :]
        return any(not group.excludes and group.may_match_below(folder) for group in later)


@dataclass(frozen=True, slots=True)
class _Pattern:
    """One pattern, cleaned, without its sign."""

    text: str
    excludes: bool

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
        if "[" in text or "\\" in text:
            compile_pattern(text)  # to see whether it can be read
        return cls(text, excludes)


class _Group:
    """Patterns of one kind that stand together: which of them matches does not matter."""

    __slots__ = ("_beginnings", "_ends", "_exact", "_expression", "_folders", "_wild", "excludes")

    def __init__(self, patterns: Iterable[_Pattern], *, excludes: bool) -> None:
        self.excludes = excludes
        exact: set[str] = set()
        folders: set[str] = set()
        wild: list[str] = []
        beginnings: list[str] = []
        ends: list[str] = []
        expressions: list[str] = []
        for pattern in patterns:
            text = pattern.text
            if not _SPECIAL.search(text):
                exact.add(text)
                while folder := text.rpartition("/")[0]:
                    if folder in folders:
                        break
                    folders.add(folder)
                    text = folder
                continue
            wild.append(text)
            if text.endswith("/**") and not _SPECIAL.search(text[:-2]):
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
        self._folders = frozenset(folders)
        self._wild = tuple(wild)
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

    def may_match_below(self, folder: str) -> bool:
        return folder in self._folders or any(
            _may_match_below(pattern, folder) for pattern in self._wild
        )


def _may_match_below(pattern: str, folder: str) -> bool:
    """Compare component by component as far as both go.

    `**` may be anything, and a class or a backslash may have the slash at which the pattern was split.
    """
    own, names = pattern.split("/"), folder.split("/")
    for component, name in zip(own, names, strict=False):
        if "**" in component or "[" in component or "\\" in component:
            return True
        if not compile_pattern(component).fullmatch(name):
            return False
    return len(own) > len(names)


def _grouped(patterns: Iterable[_Pattern]) -> Iterator[_Group]:
    for excludes, group in itertools.groupby(patterns, lambda pattern: pattern.excludes):
        yield _Group(group, excludes=excludes)


_SPECIAL = re.compile(r"[*?\[\]\\]")


def _translate(pattern: str) -> str:
    """Return the regular expression of a pattern.

    What stands between two stars may be looked for at the first place where it matches, whatever
    follows (see `wildcard`), and so may what stands between two `**`. That is not so if a class
    matches slashes, too, or a `**` goes on within a component; there may be few stars in such a
    pattern.
    """
    segments: list[list[str]] = [[""]]
    position = stars = 0
    first_will_do = True
    while position < len(pattern):
        if pattern.startswith("**", position):
            within = position > 0 and pattern[position - 1] != "/" and stars > 0
            # Several that stand together mean no more than one.
            while pattern.startswith("**", position):
                position += 2
                position += pattern.startswith("/", position)
            # Behind `***` and at the end it goes on anywhere.
            if within and position < len(pattern) and pattern[position] != "*":
                first_will_do = False
            segments.append([""])
            stars += 1
        elif pattern[position] == "*":
            segments[-1].append("")
            position += 1
            stars += 1
        else:
            text, position = translate_character(pattern, position)
            segments[-1][-1] += text
            if text[0] in "[." and re.fullmatch(text, "/"):
                first_will_do = False
    if stars > MAX_STARS and not first_will_do:
        raise BadPatternError(f"more than {MAX_STARS} stars beside a class or within components")
    group = "(?>" if first_will_do else "(?:"
    *before, last = segments
    if not before:
        return _joined(last, group, to_the_end=True)
    parts = [_joined(before[0], group)]
    parts += [
        f"{group}(?:.*?/)??{_joined(segment, group)})" for segment in before[1:] if segment != [""]
    ]
    parts.append(".*" if last == [""] else f"(?:.*/)?{_joined(last, group, to_the_end=True)}")
    return "".join(parts)


def _joined(chunks: list[str], group: str, *, to_the_end: bool = False) -> str:
    """Return the expression for ``chunks`` with a star between each two."""
    first, *rest = chunks
    last = f"[^/]*{rest.pop()}" if rest and to_the_end else ""
    return first + "".join(f"{group}[^/]*?{chunk})" for chunk in rest) + last


def _clean(pattern: str) -> str:
    """Return the shortest spelling: no double slash, no `.`, no `..` that can be resolved."""
    cleaned = posixpath.normpath(pattern)
    return cleaned[1:] if cleaned.startswith("//") else cleaned


def _blame(pattern: str, span: Span) -> None:
    try:
        IgnoreRules((pattern,))
    except BadPatternError as error:
        reason = 'illegal exclusion pattern: "!"' if pattern == "!" else str(error)
        raise SourceError(reason, (span,), word=pattern) from None
