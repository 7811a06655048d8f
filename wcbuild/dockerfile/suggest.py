"""What somebody may have meant."""

from __future__ import annotations

from collections.abc import Iterable

_FARTHEST = 2
"""More edits than this, or than half of the letters of the shorter, and words have little in common."""


def suggest(
    word: str, options: Iterable[str], *, ignore_case: bool = False, loosely: bool = False
) -> str:
    """Return the option that ``word`` is most likely a slip of, or nothing.

    With ``ignore_case`` the answer is spelled in the case of the word, as far as it has one. ``loosely``
    allows words of one letter as many edits as long ones, as BuildKit's checks do.
    """
    best, distance = "", _FARTHEST + 1
    wanted = word.lower() if ignore_case else word
    for option in options:
        candidate = option.lower() if ignore_case else option
        if candidate == wanted:
            return ""
        found = _distance(wanted, candidate)
        if found < distance and (loosely or 2 * found <= min(len(wanted), len(candidate))):
            best, distance = option, found
    if ignore_case:
        return best.lower() if word.islower() else best.upper() if word.isupper() else best
    return best


def did_you_mean(word: str, options: Iterable[str], *, ignore_case: bool = False) -> str:
    """Return the question to ask as a hint, or nothing."""
    found = suggest(word, options, ignore_case=ignore_case)
    return f'did you mean "{found}"?' if found else ""


def _distance(a: str, b: str) -> int:
    """Count letters put in, left out, replaced or exchanged with the next; far is not counted out."""
    # An edit changes at most two of the letters that only one of the words has.
    if abs(len(a) - len(b)) > _FARTHEST or len(set(a) ^ set(b)) > 2 * _FARTHEST:
        return _FARTHEST + 1
    before: list[int] = []
    above = list(range(len(b) + 1))
    for i, x in enumerate(a):
        row = [i + 1]
        for j, y in enumerate(b):
            cost = min(above[j + 1] + 1, row[j] + 1, above[j] + (x != y))
            if i and j and x == b[j - 1] and y == a[i - 1]:
                cost = min(cost, before[j - 1] + 1)
            row.append(cost)
        before, above = above, row
    return above[-1]
