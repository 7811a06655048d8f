"""What --chown and --chmod make of the metadata of copied files."""

from __future__ import annotations

from typing import Protocol

from wcbuild.graph.ops import CopyOp
from wcbuild.layer.changes import DIRECTORY, SYMLINK, Meta
from wcbuild.tree import chmod
from wcbuild.tree.base import FileTree
from wcbuild.tree.owners import find_owner


class Stamp(Protocol):
    """Gives copied files the metadata that they shall have in an image."""

    def copied(self, meta: Meta) -> Meta:
        """Return what a source's metadata becomes."""
        ...

    def owned(self, meta: Meta) -> Meta:
        """Return metadata with the owner that --chown asks for, and nothing else changed."""
        ...

    def merged(self, there: Meta, meta: Meta) -> Meta:
        """Return the metadata of a directory that is there and that one of a source is merged into."""
        ...


class LinuxStamp:
    """For Linux images: ids and modes. A directory that is there takes on its source's."""

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
        mode = meta.mode
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

    def merged(self, there: Meta, meta: Meta) -> Meta:  # noqa: ARG002 - the protocol's
        """Return the metadata of a directory that one of a source is merged into."""
        return self.copied(meta)
