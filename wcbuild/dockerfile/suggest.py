"""What somebody may have meant."""

from __future__ import annotations

from collections.abc import Iterable

_FARTHEST = 2
"""More edits than this and the words have little in common."""


def suggest(word: str, options: Iterable[str], *, ignore_case: bool = False) -> str:
    """Return the option that ``word`` is most likely a slip of, or nothing.

    With ``ignore_case`` the answer is spelled in the case of the word, as far as it has one.
    """
    best, distance = "", _FARTHEST + 1
    wanted = word.lower() if ignore_case else word
    for option in options:
        candidate = option.lower() if ignore_case else option
        if candidate == wanted:
            return ""
        found = _distance(wanted, candidate)
        if found < distance:
            best, distance = option, found
    if ignore_case:
        return best.lower() if word.islower() else best.upper() if word.isupper() else best
    return best


def did_you_mean(word: str, options: Iterable[str], *, ignore_case: bool = False) -> str:
    """Return the question to ask as a hint, or nothing."""
    found = suggest(word, options, ignore_case=ignore_case)
    return f'did you mean "{found}"?' if found else ""


def _distance(a: str, b: str) -> int:
    """Count insertions, deletions and replacements from ``a`` to ``b``; far is far, not exact."""
    if abs(len(a) - len(b)) > _FARTHEST:
        return _FARTHEST + 1
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        corner, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            corner, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, corner + (x != y))
    return row[-1]
