r"""The folder that Windows exports a container's changes to (`ExportLayer`), as a layer.

Files\…             one backup stream for each file (`wcbuild.windows_host.backup`)
Files\app.$wcidirs$  the same for the directory `app`
Hives\*_Delta       registry changes, plain files
tombstones.txt      what was deleted
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from wcbuild.errors import LayerError
from wcbuild.layer.changes import (
    DIRECTORY,
    FILE,
    STREAM,
    SYMLINK,
    BlobRange,
    Change,
    Meta,
)
from wcbuild.layer.pack import Packed, Writable, pack
from wcbuild.layer.windows.read import plain_target
from wcbuild.layer.windows.records import DIRECTORY_BIT
from wcbuild.layer.windows.write import FILES, HIVES, WindowsCodec
from wcbuild.windows_host.backup import Piece, read_backup

DIRECTORY_SUFFIX = ".$wcidirs$"
TOMBSTONES = "tombstones.txt"
MAX_TOMBSTONES_BYTES = 64 << 20
"""A container may delete all of its drive: some hundred thousand names."""
MAX_HIVE_BYTES = 512 << 20
_VERSION = "Version 1.0"
_RECYCLED = "$Recycle.Bin"


def pack_export(folder: Path, out: Writable, *, epoch: int | None) -> Packed:
    """Write an exported folder as a layer tar.

    Raises:
        LayerError: the folder is not what Windows exports, or holds what no layer can.
        OSError
    """
    codec = WindowsCodec(epoch, read_hives(folder))
    return pack(read_export(folder), out, epoch=epoch, codec=codec)


def read_export(folder: Path) -> Iterator[Change]:
    """Yield the changes to the drive of an exported folder, deletions first."""
    if not (folder / FILES).is_dir():
        raise LayerError(str(folder), f'has no folder "{FILES}", so no layer was exported to it')
    yield from _tombstones(folder / TOMBSTONES)
    for where, names, files in os.walk(folder / FILES):
        names[:] = sorted(name for name in names if name != _RECYCLED)
        above = os.path.relpath(where, folder / FILES).replace(os.sep, "/").removeprefix(".")
        described = {name.removesuffix(DIRECTORY_SUFFIX) for name in files if _is_directory(name)}
        undescribed = sorted(set(names) - described)
        if undescribed:
            raise LayerError(
                str(Path(where, undescribed[0])), f'has no "{DIRECTORY_SUFFIX}" file beside it'
            )
        for name in sorted(files):
            path = f"{above}/{name}" if above else name
            yield from _changes(Path(where, name), path.removesuffix(DIRECTORY_SUFFIX))


def read_hives(folder: Path) -> dict[str, bytes]:
    """Return the registry changes of an exported folder by file name."""
    hives = {}
    if (folder / HIVES).is_dir():
        for place in sorted((folder / HIVES).iterdir()):
            if place.stat().st_size > MAX_HIVE_BYTES:
                raise LayerError(str(place), f"is larger than {MAX_HIVE_BYTES} bytes")
            hives[place.name] = place.read_bytes()
    return hives


def _is_directory(name: str) -> bool:
    return name.endswith(DIRECTORY_SUFFIX)


def _changes(place: Path, path: str) -> Iterator[Change]:
    with open(place, "rb") as stream:
        backup = read_backup(stream, str(place))
    mtime = int(place.stat().st_mtime)
    xattrs = tuple(sorted(backup.records.items()))
    if backup.target is not None:
        link = plain_target(backup.target)
        yield Change(path, Meta(SYMLINK, 0o777, mtime=mtime, link=link, xattrs=xattrs))
    elif backup.attributes & DIRECTORY_BIT:
        yield Change(path, Meta(DIRECTORY, 0o755, mtime=mtime, xattrs=xattrs))
    else:
        yield _content(place, path, backup.data, Meta(FILE, 0o644, mtime=mtime, xattrs=xattrs))
    for name, piece in backup.streams:
        yield _content(place, f"{path}:{name}", piece, Meta(STREAM, 0o644, mtime=mtime))


def _content(place: Path, path: str, piece: Piece | None, meta: Meta) -> Change:
    if piece is None or not piece.size:
        return Change(path, meta)
    return Change(path, meta._replace(size=piece.size), BlobRange(place, piece.start))


def _tombstones(place: Path) -> Iterator[Change]:
    try:
        with open(place, "rb") as stream:
            data = stream.read(MAX_TOMBSTONES_BYTES + 1)
    except FileNotFoundError:
        return
    if len(data) > MAX_TOMBSTONES_BYTES:
        raise LayerError(str(place), f"is larger than {MAX_TOMBSTONES_BYTES} bytes")
    version, *lines = data.decode("utf-8-sig", "surrogateescape").splitlines() or [""]
    if version != _VERSION:
        raise LayerError(str(place), f'does not begin with "{_VERSION}"')
    for line in lines:
        path = line.replace("\\", "/").strip("/")
        if path:
            yield Change(path, None)
