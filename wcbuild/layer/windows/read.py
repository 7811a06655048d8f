"""Entries of a Windows layer's tar to what lies on the system drive."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from wcbuild.errors import LayerError
from wcbuild.layer.changes import FILE, HARDLINK, STREAM, SYMLINK
from wcbuild.layer.tar import RawEntry, read_entries
from wcbuild.layer.windows import records
from wcbuild.layer.windows.hive import MAX_HIVE_BYTES
from wcbuild.layer.windows.write import DRIVE, FILES, HIVES

_START = f"{FILES}/"
_UTILITY_VM = "UtilityVM"
"""The system that Hyper-V isolation boots: no part of the drive."""
_OPAQUE = ".wh..wh..opq"


def read_files(stream: BinaryIO) -> Iterator[RawEntry]:
    """Yield what a layer has on the system drive, as `read_entries` does; the rest is passed over.

    Paths are relative to the drive, their spelling that of the layer. Symlinks to the drive begin with `/`
    instead of `C:/`, streams have a kind of their own, and metadata has the layer's records.

    Raises:
        UnsafeArchiveError: as `read_entries`.
        LayerError: nothing in it is where a Windows layer has it, a hard link leaves the drive, or a
            security descriptor is none.
    """
    is_windows, stranger = False, ""
    for entry in read_entries(stream, keep=records.keep):
        path, meta = entry.path, entry.meta
        top = path.partition("/")[0]
        if top != FILES:
            is_windows = is_windows or top in (HIVES, _UTILITY_VM)
            stranger = stranger or path
            continue
        is_windows = True
        if path.endswith(_OPAQUE):
            continue  # hides nothing on Windows, which takes it for a file that is gone
        if meta.kind == HARDLINK:
            target = meta.link
            if not target.startswith(_START):
                raise LayerError(f'"{path}"', f'is a hard link to "{target}", outside the drive')
            entry.meta = meta._replace(link=target[len(_START) :])
        elif meta.kind == SYMLINK:
            entry.meta = meta._replace(link=plain_target(meta.link))
        elif meta.kind == FILE and ":" in path.rpartition("/")[2]:
            entry.meta = meta._replace(kind=STREAM, xattrs=())
        entry.path = path[len(_START) :]
        yield entry
    if stranger and not is_windows:
        reason = f'no layer of a Windows image has that; there all lies in "{FILES}/"'
        raise LayerError(f'"{stranger[:200]}"', reason)


def read_hives(stream: BinaryIO) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of the files in `Hives/`, if a layer begins with that directory.

    Nothing is read beyond it.
    """
    for entry in read_entries(stream):
        top, _, name = entry.path.partition("/")
        if top != HIVES:
            return
        if entry.meta.kind == FILE and entry.meta.size <= MAX_HIVE_BYTES:
            yield name, entry.read()


def read_as_linux(stream: BinaryIO) -> Iterator[RawEntry]:
    """Yield what `read_files` does, but without streams, and with metadata as Linux has it."""
    for entry in read_files(stream):
        if entry.meta.kind != STREAM:
            entry.meta = records.as_linux(entry.meta)
            yield entry


def plain_target(target: str) -> str:
    """Return a reparse point's target with forward slashes and without the system drive."""
    target = target.replace("\\", "/").removeprefix("/??/")
    if target[:2].upper() == DRIVE and target[2:3] in ("", "/"):
        return target[2:] or "/"
    return target
