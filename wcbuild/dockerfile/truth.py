"""Truth values as Go reads them."""

from __future__ import annotations

_TRUE = frozenset(("1", "t", "T", "TRUE", "true", "True"))
_FALSE = frozenset(("0", "f", "F", "FALSE", "false", "False"))


def parse_truth(text: str) -> bool | None:
    """Return whether ``text`` says yes or no; None if it says neither."""
    return True if text in _TRUE else False if text in _FALSE else None
