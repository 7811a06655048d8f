"""Finding a layer's index, or making it from the layer when there is none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from wcbuild.graph.ops import LINUX, WINDOWS
from wcbuild.layer.windows.names import fold
from wcbuild.tree.index import DamagedIndexError, LayerIndex, write_index


def load_index(path: Path, open_tar: Callable[[], BinaryIO], *, os: str = LINUX) -> LayerIndex:
    """Return the index at ``path``; a missing or damaged one is made from the layer's tar.

    ``os`` is that of the image.

    Raises:
        OSError, UnsafeArchiveError, LayerError, and whatever ``open_tar`` and its stream raise.
    """
    from wcbuild.layer.scan import scan  # noqa: PLC0415 - a cached build scans nothing
    from wcbuild.layer.tar import read_entries  # noqa: PLC0415
    from wcbuild.layer.windows.read import read_files  # noqa: PLC0415

    read, folding = (read_files, fold) if os == WINDOWS else (read_entries, None)
    try:
        return LayerIndex(path, fold=folding)
    except (FileNotFoundError, DamagedIndexError):
        with open_tar() as stream:
            write_index(path, scan(stream, read=read), fold=folding)
        return LayerIndex(path, fold=folding)
