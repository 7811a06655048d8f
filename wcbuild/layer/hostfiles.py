"""Opening files of this machine that somebody else may be changing."""

from __future__ import annotations

import os
from typing import Self

from wcbuild.kernel import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, openat2
from wcbuild.layer.changes import HostFile

# O_NONBLOCK means nothing to a file, but a fifo that has taken its place meanwhile would stop us for ever.
FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_PLACE = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC


def open_folder(root: str, path: str) -> int:
    """Open the directory at ``path`` below ``root``; no part of ``path`` may be a symlink.

    Raises:
        OSError: there is none.
    """
    if not path:
        # The root itself may be one: that is what whoever named it meant.
        return os.open(root, _FOLDER)
    top = os.open(root, _PLACE)
    try:
        return openat2(top, path, _FOLDER, resolve=RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)
    finally:
        os.close(top)


class HostFiles:
    """Opens files; the folder of the last one stays open, since the next one mostly lies there, too.

    As a context manager it closes that folder.
    """

    def __init__(self) -> None:
        self._folder = ("", "")
        self._fd = -1

    def open(self, file: HostFile) -> int:
        """Return a descriptor of a file.

        Raises:
            OSError: it is gone, or something on the way to it has become a symlink.
        """
        path = os.fspath(file.path)
        if not file.root:
            return os.open(path, FLAGS)
        place, _, name = path[len(file.root) :].lstrip("/").rpartition("/")
        if self._fd < 0 or self._folder != (file.root, place):
            self.close()
            self._fd = open_folder(file.root, place)
            self._folder = (file.root, place)
        return os.open(name, FLAGS, dir_fd=self._fd)

    def close(self) -> None:
        """Let go of the folder; again is harmless."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
