"""Marker entries: how a layer says that something of the layers below is gone.

An empty file `.wh.<name>` deletes its sibling `<name>`; `.wh..wh..opq` in a directory hides all that lower
layers have there. Other names with `.wh..wh.` are book-keeping of AUFS and mean nothing today.

Spec: https://github.com/opencontainers/image-spec/blob/main/layer.md#whiteouts
"""

from __future__ import annotations

from typing import NamedTuple

from wcbuild.errors import UnsafeArchiveError

PREFIX = ".wh."
_BOOKKEEPING = ".wh..wh."
_OPAQUE = ".wh..wh..opq"


class Marker(NamedTuple):
    """What a marker entry says."""

    path: str
    """What is deleted, or the directory that is opaque."""
    opaque: bool


def is_reserved(path: str) -> bool:
    """Say whether some component of the path cannot be a real file's name."""
    return path.startswith(PREFIX) or "/.wh." in path


def name_for(path: str) -> str:
    """Return the path of the marker that deletes ``path``."""
    parent, slash, name = path.rpartition("/")
    return f"{parent}{slash}{PREFIX}{name}"


def opaque_name_for(directory: str) -> str:
    """Return the path of the marker that makes ``directory`` opaque."""
    return f"{directory}/{_OPAQUE}" if directory else _OPAQUE


def read(path: str) -> Marker | None:
    """Return what the reserved path of an entry says; None if it has no meaning for an image.

    Raises:
        UnsafeArchiveError: a marker that would delete the directory it lies in, or a real entry below one.
    """
    parent, _, name = path.rpartition("/")
    if is_reserved(parent):
        if any(part.startswith(_BOOKKEEPING) for part in parent.split("/")):
            return None
        raise UnsafeArchiveError(path, "lies below a whiteout")
    if name == _OPAQUE:
        return Marker(parent, opaque=True)
    if name.startswith(_BOOKKEEPING):
        return None
    deleted = name[len(PREFIX) :]
    if deleted in ("", ".", ".."):
        raise UnsafeArchiveError(path, "is a whiteout of no file's name")
    return Marker(f"{parent}/{deleted}" if parent else deleted, opaque=False)
