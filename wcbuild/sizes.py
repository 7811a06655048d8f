"""Sizes as people type them."""

from __future__ import annotations

import re

from wcbuild.errors import UsageError

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgtp]?)(?:i?b)?", re.ASCII | re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}


def parse_size(text: str) -> int:
    """Return bytes: `64m`, `1.5g`, `512`; units are powers of 1024, as docker reads memory sizes.

    Raises:
        UsageError: not a size.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise UsageError(f'invalid size "{text}": write a number and k, m, g or t')
    return int(float(match[1]) * 1024 ** _POWERS[match[2].lower()])


def format_size(size: int) -> str:
    """Return bytes as docker prints them: three digits, powers of 1000 (`7.8MB`)."""
    value, unit = float(size), "B"
    for larger in ("kB", "MB", "GB", "TB", "PB"):
        if value < 1000:  # noqa: PLR2004 - the base of these units
            break
        value, unit = value / 1000, larger
    return f"{value:.3g}{unit}"
