"""The words that snapshots, trees and layers share: what a file is, and what changed.

Paths are text relative to the image root without leading slash, `""` for the root itself; bytes that
are not UTF-8 travel as surrogate escapes (`os.fsdecode`). Named tuples here, not dataclasses: a
layer has tens of thousands of them and they are made five times as fast.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

FILE, DIRECTORY, SYMLINK, HARDLINK, FIFO, CHARACTER, BLOCK = "f", "d", "l", "h", "p", "c", "b"
STREAM = "s"
"""More content of a file of a Windows image, at `path:name`; it follows its file, and has no metadata."""
WITH_CONTENT = (FILE, STREAM)

TIMES = frozenset(("LIBARCHIVE.creationtime", "atime", "ctime", "mtime"))
"""Records of Windows layers that are times; a `Meta`'s own is in whole seconds."""


class Meta(NamedTuple):
    """Everything a layer stores about one path, but for its content."""

    kind: str
    """One of the constants above."""
    mode: int
    """Permission bits and setuid, setgid and sticky: at most 0o7777."""
    uid: int = 0
    gid: int = 0
    size: int = 0
    """Bytes of content; 0 for all but files and streams."""
    mtime: int = 0
    """Whole seconds since 1970, UTC, as layers keep them."""
    link: str = ""
    """A symlink's target as it stands, or a hard link's: a path in the image as above."""
    major: int = 0
    minor: int = 0
    xattrs: tuple[tuple[str, bytes], ...] = ()
    """Sorted by name. In layers of Windows images the records of `wcbuild.layer.windows.records`."""


class HostFile(NamedTuple):
    """Content that lies in a file on this machine, whole."""

    path: Path | str
    root: str = ""
    """A folder that ``path`` begins with, below which nobody is trusted: no symlink is followed there."""
    inode: int = 0
    """Of a file that may be appended to meanwhile: the content is then as much as there was before."""


class BlobRange(NamedTuple):
    """Content that lies in part of a file on this machine, such as an uncompressed layer tar."""

    path: os.PathLike[str] | str
    """May be found out only when it is opened, by decompressing a layer."""
    offset: int
    digest: str = ""
    """sha256 in hexadecimal that the content has, if whoever packs it is to verify it."""


class Inline(NamedTuple):
    """Content that is at hand."""

    data: bytes


Content = HostFile | BlobRange | Inline


class Change(NamedTuple):
    """One path of a layer. ``meta`` None says that the path is deleted (a whiteout)."""

    path: str
    meta: Meta | None
    content: Content | None = None
    """For files with a size; None for everything else."""
    opaque: bool = False
    """A directory that hides what lower layers have in it."""


class Entry(NamedTuple):
    """One path as it stands in a layer tar. ``meta`` None says that the path is deleted."""

    path: str
    meta: Meta | None
    offset: int = 0
    """Where the content begins in the uncompressed tar, in bytes; files only."""
    digest: str = ""
    """sha256 of the content in hexadecimal; files only."""
    opaque: bool = False
    """A directory that hides what lower layers have in it."""
