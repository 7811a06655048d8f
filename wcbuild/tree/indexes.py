"""Finding a layer's index, or making it from the layer when there is none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from wcbuild.tree.index import DamagedIndexError, LayerIndex, write_index


def load_index(path: Path, open_tar: Callable[[], BinaryIO]) -> LayerIndex:
    """Return the index at ``path``; a missing or damaged one is made from the layer's tar.

    Raises:
        OSError, UnsafeArchiveError, and whatever ``open_tar`` and its stream raise.
    """
    from wcbuild.layer.scan import scan  # noqa: PLC0415 - a cached build scans nothing

    try:
        return LayerIndex(path)
    except (FileNotFoundError, DamagedIndexError):
        with open_tar() as stream:
            write_index(path, scan(stream))
        return LayerIndex(path)
