"""What --chown and --chmod make of the metadata of copied files."""

from __future__ import annotations

from typing import Protocol

from wcbuild.graph.ops import CopyOp
from wcbuild.layer.changes import DIRECTORY, SYMLINK, Meta
from wcbuild.tree import chmod
from wcbuild.tree.base import FileTree
from wcbuild.tree.owners import find_owner

LINK_MODE = 0o777
"""Of every symlink on Linux; archives of other systems have others."""


class Stamp(Protocol):
    """Gives copied files the metadata that they shall have in an image."""

    def copied(self, meta: Meta) -> Meta:
        """Return what a source's metadata becomes."""
        ...

    def owned(self, meta: Meta) -> Meta:
        """Return metadata with the owner that --chown asks for, and nothing else changed."""
        ...

    def merged(self, there: Meta, meta: Meta, *, implied: bool) -> Meta:
        """Return the metadata of a directory that is there and that one of a source is merged into.

        ``implied`` is one that only leads to what is copied.
        """
        ...


class LinuxStamp:
    """For Linux images: ids and modes. A directory that is there takes on its source's.

    One that only leads to what is copied keeps its owner and time, though.
    """

    def __init__(self, op: CopyOp, tree: FileTree) -> None:
        self._chmod = op.chmod
        self._keep_owner = op.keep_owner
        self._owner = find_owner(op.chown, tree) if op.chown else None

    def copied(self, meta: Meta) -> Meta:
        """Return what a source's metadata becomes."""
        if self._owner is not None:
            uid, gid = self._owner
        elif self._keep_owner:
            uid, gid = meta.uid, meta.gid
        else:
            uid = gid = 0
        mode = LINK_MODE if meta.kind == SYMLINK else meta.mode
        if self._chmod and meta.kind != SYMLINK:
            mode = chmod.change(self._chmod, mode, is_directory=meta.kind == DIRECTORY)
        if mode == meta.mode and uid == meta.uid and gid == meta.gid:
            return meta
        return meta._replace(mode=mode, uid=uid, gid=gid)

    def owned(self, meta: Meta) -> Meta:
        """Return metadata with the owner that --chown asks for."""
        if self._owner is None:
            return meta
        return meta._replace(uid=self._owner[0], gid=self._owner[1])

    def merged(self, there: Meta, meta: Meta, *, implied: bool) -> Meta:
        """Return the metadata of a directory that one of a source is merged into."""
        copied = self.copied(meta)
        return there._replace(mode=copied.mode) if implied else copied
