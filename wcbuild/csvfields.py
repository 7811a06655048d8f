"""Fields between commas, as `--mount`, `--secret` and `--output` have them."""

from __future__ import annotations

import re

_FIELD = re.compile(r'(?:"((?:[^"]|"")*)"|([^",]*))(?=,|\Z)')


def split_fields(text: str) -> list[str]:
    """Split at commas; a field in double quotes may hold some, and quotes written twice.

    Raises:
        ValueError: a quote stands elsewhere.

    Spec: RFC 4180, section 2
    """
    if '"' not in text:
        return text.split(",")
    fields: list[str] = []
    position = 0
    while True:
        match = _FIELD.match(text, position)
        if match is None:
            raise ValueError(text)
        quoted = match[1]
        fields.append(match[2] if quoted is None else quoted.replace('""', '"'))
        position = match.end()
        if position == len(text):
            return fields
        position += 1
