"""Changes to the entries of a Windows layer's tar.

    Hives/                  registry changes; always there, and mostly empty
    Files/                  the system drive
    Files/app/tool.exe      a file, with the records of `wcbuild.layer.windows.records`
    Files/app/tool.exe:x    a data stream of it, at once behind it
    Files/app/.wh.old       a deletion

As hcsshim exports and imports it. There are no opaque directories: whoever has one lists what it hides.

Spec: https://github.com/microsoft/hcsshim/tree/main/pkg/ociwclayer and
https://github.com/microsoft/go-winio/tree/main/backuptar
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from wcbuild.errors import LayerError
from wcbuild.layer import tar
from wcbuild.layer.changes import (
    DIRECTORY,
    FILE,
    HARDLINK,
    STREAM,
    SYMLINK,
    Change,
    Meta,
)
from wcbuild.layer.windows import names, records

FILES = "Files"
HIVES = "Hives"
DRIVE = "C:"

_TYPE_BITS: Final = {
    FILE: stat.S_IFREG,
    DIRECTORY: stat.S_IFDIR,
    SYMLINK: stat.S_IFLNK,
    STREAM: 0,
    HARDLINK: 0,
}
_NO_HIVES: Mapping[str, bytes] = MappingProxyType({})
_BARE = (STREAM, HARDLINK)
"""Kinds whose metadata stands with another entry."""
_BARE_MODE = 0o644
_DRIVES = re.compile("^[A-Za-z]:/")
_MARKER = Meta(FILE, 0)


class WindowsCodec:
    """Writes the entries of one layer; see `wcbuild.layer.pack.Codec`. ``epoch`` is the latest time.

    ``hives`` are the files of `Hives/`, by name.
    """

    def __init__(self, epoch: int | None, hives: Mapping[str, bytes] = _NO_HIVES) -> None:
        self._epoch = epoch
        self._hives = hives

    def prepare(self, changes: list[Change]) -> tuple[bytes, list[Change]]:
        """Return the entries for the hives, and ``changes`` with the drive; all as new as the newest.

        Raises:
            LayerError: a change that Windows would not take.
        """
        _check(changes)
        latest = max((change.meta.mtime for change in changes if change.meta), default=0)
        top = self.complete(Meta(DIRECTORY, 0o755, mtime=latest))
        bare = tuple(pair for pair in top.xattrs if pair[0] != records.DESCRIPTOR)
        if not changes or changes[0].path:
            changes = [Change("", top), *changes]
        start = header_in_tar(HIVES, top._replace(xattrs=bare))
        return b"".join((start, *self._hive_entries(top.mtime))), changes

    def _hive_entries(self, mtime: int) -> Iterator[bytes]:
        for name, data in sorted(self._hives.items()):
            meta = records.complete(Meta(FILE, 0o644, size=len(data), mtime=mtime), self._epoch)
            yield header_in_tar(f"{HIVES}/{name}", meta)
            yield data + tar.padding(len(data))

    def complete(self, meta: Meta) -> Meta:
        """Return metadata as an entry of the layer has it."""
        if self._epoch is not None and meta.mtime > self._epoch:
            meta = meta._replace(mtime=self._epoch)
        if meta.kind in _BARE:
            return Meta(meta.kind, _BARE_MODE, size=meta.size, mtime=meta.mtime, link=meta.link)
        return records.complete(meta._replace(uid=0, gid=0), self._epoch)

    def header(self, path: str, meta: Meta) -> bytes:
        """Return the header blocks of an entry whose metadata `complete` gave."""
        if meta.kind == HARDLINK:
            meta = meta._replace(link=_in_tar(meta.link))
        elif meta.kind == SYMLINK:
            meta = meta._replace(link=link_text(meta.link))
        return header_in_tar(_in_tar(path), meta)

    def marker(self, path: str) -> bytes:
        """Return the header of an empty file that only means something by its name."""
        return tar.header(_in_tar(path), _MARKER)


def header_in_tar(path: str, meta: Meta) -> bytes:
    """Return the header blocks of an entry at ``path`` of the tar, with the records of ``meta``."""
    return tar.header_with_records(path, meta, _TYPE_BITS[meta.kind])


def link_text(target: str) -> str:
    """Return a symlink's target as Windows layers have it: one that is absolute names the drive."""
    return f"{DRIVE}{target}" if target.startswith("/") and not target.startswith("//") else target


def _in_tar(path: str) -> str:
    return f"{FILES}/{path}" if path else FILES


def _check(changes: Sequence[Change]) -> None:
    """Refuse what Windows would refuse, or take for something else, when the image is pulled."""
    seen: dict[str, str] = {}
    folders: set[str] = set()
    """Directories whose names are known to be good."""
    for change in changes:
        path, meta = change.path, change.meta
        kind = FILE if meta is None else meta.kind
        if kind not in _TYPE_BITS:
            raise LayerError(_quoted(path), "is a device or pipe, which Windows has no files for")
        if change.opaque:
            raise LayerError(_quoted(path), "hides what is below, which no Windows layer can say")
        folder, _, name = path.rpartition("/")
        if folder in folders:
            reason = names.problem(name, stream=kind == STREAM)
        else:
            reason = names.problem(path, stream=kind == STREAM) if path else ""
            folders.add(folder)
        if not reason and meta is not None and kind == SYMLINK:
            reason = _target_problem(meta.link)
        if reason:
            raise LayerError(_quoted(path), f"Windows has no such file: {reason}")
        other = seen.setdefault(names.fold(path), path)
        if other != path:
            raise LayerError(
                _quoted(path),
                f'differs from "{other}" in capital letters only: one file to Windows',
            )


def _target_problem(target: str) -> str:
    if target.startswith("//"):
        return ""  # a volume or a share, which the base has
    parts = [
        part for part in _DRIVES.sub("", target, count=1).split("/") if part not in ("", ".", "..")
    ]
    reason = names.problem("/".join(parts)) if parts else ""
    return f"in its target, {reason}" if reason else ""


def _quoted(path: str) -> str:
    return f'"{path[:200]}"'
