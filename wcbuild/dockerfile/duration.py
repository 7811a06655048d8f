"""Lengths of time as Go writes them: `1h30m`, `1.5s`, `250ms`."""

from __future__ import annotations

import re

_NANOSECONDS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "μs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_LARGEST = (1 << 63) - 1
_LONGEST_TEXT = 100


def parse_duration(text: str) -> int:
    """Return nanoseconds.

    Raises:
        ValueError: not a duration, or one of more than about 292 years.
    """
    sign = -1 if text.startswith("-") else 1
    body = text[1:] if text[:1] in ("-", "+") else text
    if body == "0":
        return 0
    if not body or len(body) > _LONGEST_TEXT:
        raise ValueError(f'invalid duration "{text[:_LONGEST_TEXT]}"')
    total = 0
    for part in re.split(r"(?<=[^0-9.])(?=[0-9.])", body):
        match = re.fullmatch(r"([0-9]*)\.?([0-9]*)([^0-9.]*)", part)
        if match is None or not (match[1] or match[2]):
            raise ValueError(f'invalid duration "{text}"')
        whole, decimals, unit = match.groups()
        if not unit:
            raise ValueError(f'missing unit in duration "{text}"')
        if unit not in _NANOSECONDS:
            raise ValueError(f'unknown unit "{unit}" in duration "{text}"')
        # In whole numbers, so that `0.1s` is exact; what is less than a nanosecond falls away.
        total += int(whole + decimals) * _NANOSECONDS[unit] // 10 ** len(decimals)
    if total > _LARGEST:
        raise ValueError(f'invalid duration "{text}"')
    return sign * total
