"""What ADD and contexts name by URL, as trees of files."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from wcbuild.context.archive import OpenArchive, SingleFile, open_archive
from wcbuild.context.git import Repositories
from wcbuild.context.http import Download, Downloads
from wcbuild.graph.ops import GitOp, HttpOp
from wcbuild.graph.urls import without_secrets
from wcbuild.layer.changes import FILE, Meta
from wcbuild.tree.base import FileTree

_MODE = 0o600
"""Of a file that came by HTTP, as BuildKit has it."""


class Remotes:
    """Fetches and opens; safe to use from several threads.

    ``scratch`` makes files that stay for the rest of the build.
    """

    def __init__(
        self, downloads: Downloads, repositories: Repositories, scratch: Callable[[], Path]
    ) -> None:
        self.downloads = downloads
        self.repositories = repositories
        self._scratch = scratch

    def find(self, op: HttpOp | GitOp) -> FileTree | None:
        """Return the files if they are here, and nobody has to be asked whether they still are the same."""
        if isinstance(op, GitOp):
            checkout = self.repositories.find(op)
            return None if checkout is None else checkout.tree
        download = self.downloads.find(op.url, op.checksum)
        return None if download is None else self._tree(op, download)

    def fetch(self, op: HttpOp | GitOp, cancel: threading.Event) -> FileTree:
        """Return the files, bringing them here if need be.

        Raises:
            RemoteError: they cannot be had, or are not what the checksum says.
            UnsafeArchiveError: an archive that is to be opened is damaged.
            CancelledError: ``cancel`` was set.
        """
        if isinstance(op, GitOp):
            return self.repositories.fetch(op, cancel).tree
        return self._tree(op, self.downloads.fetch(op.url, op.checksum, cancel))

    def moment(self, op: HttpOp | GitOp, cancel: threading.Event) -> int | None:
        """Return how new the files are (seconds since 1970): a commit's time, or what `Last-Modified` says.

        An archive of which nobody says that is as new as what is in it.

        Raises:
            RemoteError, CancelledError: as `fetch`.
        """
        if isinstance(op, GitOp):
            return self.repositories.fetch(op, cancel).time
        download = self.downloads.fetch(op.url, op.checksum, cancel)
        if download.modified:
            return download.modified
        archive = self.open_archive(op, download)
        return None if archive is None else archive.newest

    def _tree(self, op: HttpOp, download: Download) -> FileTree:
        archive = self.open_archive(op, download) if op.unpack else None
        return archive.tree if archive else single_file(op.name, download)

    def open_archive(self, op: HttpOp, download: Download) -> OpenArchive | None:
        """Return what is in a file that was fetched, if it is an archive."""
        return open_archive(download.path, without_secrets(op.url), self._scratch)


def single_file(name: str, download: Download) -> SingleFile:
    """Return a tree of one file, as ADD sees what it fetched."""
    meta = Meta(FILE, _MODE, size=download.size, mtime=download.modified)
    return SingleFile(name, meta, download.path, download.digest.hex)
