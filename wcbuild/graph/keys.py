"""Cache keys: digests over named, typed fields of an operation and the keys of its inputs.

The derivation is specified in docs/formats.md. A key says "the same operation on the same things", so
what cannot change the result (labels, spans, proxies, addresses of `--add-host`) is not part of it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from typing import Any, NewType

from wcbuild.graph.ops import (
    ContextOp,
    CopyOp,
    ImageOp,
    MkdirOp,
    Mount,
    MountKind,
    Op,
    RunOp,
    ScratchOp,
)

CacheKey = NewType("CacheKey", str)
"""sha256 in hexadecimal."""

_VERSION = "wcbuild-key-1"
"""Changes when an operation starts to give other results, so that old results are not taken."""


def step_key(op: Op, inputs: Sequence[CacheKey], *salt: str) -> CacheKey:
    """Return the key of ``op`` on ``inputs``; ``salt`` is whatever else decides the result."""
    return digest(_VERSION, type(op).__name__, op_json(op), list(inputs), list(salt))


def digest(*parts: object) -> CacheKey:
    """Return a key over JSON-able parts; the JSON keeps their borders apart."""
    text = json.dumps(parts, separators=(",", ":"), sort_keys=True)
    return CacheKey(hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest())


def op_json(op: Op) -> dict[str, Any]:
    """Return the fields of ``op`` that decide its result."""
    match op:
        case RunOp():
            return _fields(op) | {
                "mounts": [_mount_json(mount) for mount in op.mounts],
                "hosts": [name for name, _ in op.hosts],
            }
        case ImageOp():
            # The digest alone: two spellings of a reference are one image.
            return {"digest": op.digest}
        case CopyOp() | MkdirOp() | ContextOp() | ScratchOp():
            return _fields(op)


def _mount_json(mount: Mount) -> dict[str, Any]:
    data = _fields(mount)
    if mount.kind is MountKind.CACHE:
        # A cache's content is never part of the result, so neither is which cache it was.
        data |= {"id": "", "sharing": "", "source": "", "input": None}
    return data


def _fields(value: Any) -> dict[str, Any]:
    """Return a dataclass's compared fields, nested values as plain lists and objects."""
    return {
        field.name: _plain(getattr(value, field.name))
        for field in dataclasses.fields(value)
        if field.compare
    }


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return _fields(value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value
