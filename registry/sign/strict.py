"""JSON that must mean the same to every reader: what a signature or a policy depends on."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable
from typing import Any


class StrictError(ValueError):
    """Text that two readers could understand differently, or not at all."""


def load_strict(raw: bytes, limit: int) -> dict[str, Any]:
    """Decode a JSON object in which no key stands twice; at most ``limit`` bytes.

    Raises:
        StrictError: the message continues a sentence whose subject is the document.
    """
    if len(raw) > limit:
        raise StrictError(f"is larger than {limit} bytes")
    try:
        data = json.loads(raw, object_pairs_hook=_unique, parse_constant=_no_constant)
    except StrictError:
        raise
    except (ValueError, RecursionError) as error:
        raise StrictError("is not JSON") from error
    if not isinstance(data, dict):
        raise StrictError("is not a JSON object")
    return data


def require_keys(value: object, required: Iterable[str], optional: Iterable[str] = ()) -> None:
    """Check that ``value`` is an object with these keys and no others.

    Raises:
        StrictError: naming what is missing or not understood.
    """
    if not isinstance(value, dict):
        raise StrictError("is not an object")
    required = tuple(required)
    missing = [key for key in required if key not in value]
    unknown = [key for key in value if key not in (*required, *optional)]
    if missing:
        raise StrictError(f'has no "{missing[0]}"')
    if unknown:
        raise StrictError(f'has "{unknown[0][:100]}", which is not understood')


def decode_base64(text: object) -> bytes:
    """Decode base64 in its one canonical spelling.

    Raises:
        StrictError
    """
    try:
        data = base64.b64decode(str(text), validate=True)
    except (binascii.Error, ValueError) as error:
        raise StrictError("is not base64") from error
    if base64.b64encode(data).decode() != text:
        raise StrictError("is not canonical base64")
    return data


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise StrictError(f'has "{twice[:100]}" twice')
    return data


def _no_constant(text: str) -> float:
    raise StrictError(f"has {text}, which is not JSON")
