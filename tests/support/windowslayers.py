"""Layers of Windows images, packed and read back by `tarfile`, which has never heard of Windows."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from wcbuild.layer.changes import DIRECTORY, FILE, Change, Inline, Meta
from wcbuild.layer.pack import Packed, pack
from wcbuild.layer.scan import scan
from wcbuild.layer.windows.names import fold
from wcbuild.layer.windows.read import read_files
from wcbuild.layer.windows.write import WindowsCodec
from wcbuild.tree.index import LayerIndex, write_index
from wcbuild.tree.windows import WindowsTree

NOW = 1_700_000_000


def packed(changes: Iterable[Change], epoch: int | None = None) -> tuple[bytes, Packed]:
    out = io.BytesIO()
    result = pack(changes, out, epoch=epoch, codec=WindowsCodec(epoch))
    return out.getvalue(), result


def members(data: bytes) -> dict[str, tarfile.TarInfo]:
    """Return the entries of a tar in its order; none has a name twice."""
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        found = archive.getmembers()
    by_name = {member.name: member for member in found}
    assert len(by_name) == len(found)
    return by_name


def folder(path: str, own: Mapping[str, bytes] = {}, *, mtime: int = NOW) -> Change:
    return Change(path, Meta(DIRECTORY, 0o755, mtime=mtime, xattrs=tuple(sorted(own.items()))))


def file(
    path: str, data: bytes = b"", own: Mapping[str, bytes] = {}, *, mtime: int = NOW
) -> Change:
    xattrs = tuple(sorted(own.items()))
    meta = Meta(FILE, 0o644, size=len(data), mtime=mtime, xattrs=xattrs)
    return Change(path, meta, Inline(data) if data else None)


def tree_of(folder: Path, *tars: bytes, for_windows: bool = True) -> WindowsTree:
    """Return the merged view of layers, the lowest first."""
    layers = []
    for number, data in enumerate(tars):
        place = folder / f"{number}.index"
        write_index(place, scan(io.BytesIO(data), read=read_files), fold=fold)
        (folder / f"{number}.tar").write_bytes(data)
        layers.append((LayerIndex(place, fold=fold), folder / f"{number}.tar"))
    return WindowsTree(layers, for_windows=for_windows)
