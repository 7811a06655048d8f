r"""Wildcards of COPY and ADD, and of one component in `.dockerignore`: Go's `filepath.Match`.

*         any text without a slash
?         any character but a slash
[a-z]     a character of the class, [^a-z] one that is not (both may match a slash)
\x        the character x
"""

from __future__ import annotations

import re
from functools import lru_cache


class BadPatternError(ValueError):
    """A pattern whose class is not closed or empty, or that ends in a backslash; or one too many."""

    def __init__(self, reason: str = "syntax error in pattern") -> None:
        super().__init__(reason)


def match(pattern: str, name: str) -> bool:
    """Say whether ``pattern`` matches all of ``name``. Raises BadPatternError."""
    return compile_pattern(pattern).fullmatch(name) is not None


def has_wildcard(pattern: str) -> bool:
    """Say whether a character in ``pattern`` has a meaning and is not escaped."""
    return _WILDCARD.search(_ESCAPED.sub("", pattern)) is not None


def escape(name: str) -> str:
    """Return the pattern that matches ``name`` alone."""
    return _WILDCARD.sub(r"[\g<0>]", name)


@lru_cache(maxsize=256)
def compile_pattern(pattern: str) -> re.Pattern[str]:
    """Return the regular expression for `fullmatch`. Raises BadPatternError."""
    # Between two stars the first place that matches will do, whatever follows: a star cannot cross
    # a slash, and anything else it could take later it can take then. An atomic group says so, and
    # keeps a pattern of many stars from being slow.
    chunks: list[list[str]] = [[]]
    position = 0
    while position < len(pattern):
        character = pattern[position]
        if character == "*":
            chunks.append([])
            position += 1
        else:
            text, position = translate_character(pattern, position)
            chunks[-1].append(text)
    first, *rest = ("".join(chunk) for chunk in chunks)
    middle = "".join(f"(?>[^/]*?{chunk})" for chunk in rest[:-1])
    last = f"[^/]*?{rest[-1]}" if rest else ""
    return re.compile(first + middle + last, re.DOTALL)


def translate_character(pattern: str, position: int) -> tuple[str, int]:
    """Translate what stands at ``position`` and is not a star; return it and where it ends.

    Raises:
        BadPatternError: a class that is not closed or is empty, or a backslash at the end.
    """
    character = pattern[position]
    if character == "?":
        return "[^/]", position + 1
    if character == "[":
        return _class(pattern, position + 1)
    if character == "\\":
        if position + 1 == len(pattern):
            raise BadPatternError
        return re.escape(pattern[position + 1]), position + 2
    return re.escape(character), position + 1


def _class(pattern: str, position: int) -> tuple[str, int]:
    negated = pattern.startswith("^", position)
    position += negated
    ranges: list[str] = []
    count = 0
    while not (count and pattern.startswith("]", position)):
        low, position = _class_character(pattern, position)
        high = low
        if pattern.startswith("-", position):
            high, position = _class_character(pattern, position + 1)
        count += 1
        if low <= high:  # [z-a] is no error, and matches nothing
            ranges.append(f"\\U{ord(low):08x}-\\U{ord(high):08x}")
    if not ranges:
        return "." if negated else "(?!)", position + 1
    return f"[{'^' if negated else ''}{''.join(ranges)}]", position + 1


def _class_character(pattern: str, position: int) -> tuple[str, int]:
    if position < len(pattern) and pattern[position] in "-]":
        raise BadPatternError
    position += pattern.startswith("\\", position)
    if position + 1 >= len(pattern):  # a class must be closed behind it
        raise BadPatternError
    return pattern[position], position + 1


_ESCAPED = re.compile(r"\\.", re.DOTALL)
_WILDCARD = re.compile(r"[*?\[]")
