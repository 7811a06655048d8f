"""The files of commits, fetched once and kept.

Below ``root``: a bare repository a remote, kept because fetching twice is slow; and by what was asked
for, the tars and the tables of their entries.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from registry.files import store_errors
from registry.oci.digest import sha256
from wcbuild.context.command import CommandError
from wcbuild.context.git.checkout import Checkout, read_checkout, write_checkout
from wcbuild.context.git.program import Git, variables
from wcbuild.context.git.remote import Commit, Found, Remote
from wcbuild.dockerfile.gitref import FULL_COMMIT
from wcbuild.errors import RemoteError
from wcbuild.graph.ops import GitOp
from wcbuild.graph.urls import without_secrets, without_user

_VERSION = "wcbuild-git-1"
"""Changes when the same commit would give other files."""
HALF_WRITTEN = ".new-"
"""What the folders of trees that are being written begin with."""


class Repositories:
    """Fetches commits into ``root``; safe to use from several threads and processes.

    ``environment`` says where git, certificates and proxies are. ``secrets`` are, by id,
    `GIT_AUTH_TOKEN[.HOST]` and `GIT_AUTH_HEADER[.HOST]`; one without a host is for that of the
    repository that was named. ``agent`` opens the socket of the SSH agent, if there is one.
    """

    def __init__(
        self,
        root: Path,
        *,
        environment: Mapping[str, str],
        secrets: Mapping[str, bytes],
        agent: Callable[[], AbstractContextManager[Path | None]],
    ) -> None:
        self._root = root
        self._environment = environment
        self._secrets = secrets
        self._agent = agent

    def find(self, op: GitOp) -> Checkout | None:
        """Return the files if they are here and the commit is given: then nobody need be asked."""
        commit = _given_commit(op)
        return self._open(op, commit) if commit.startswith(op.checksum) and commit else None

    def fetch(self, op: GitOp, cancel: threading.Event) -> Checkout:
        """Return the files of the commit that ``op`` means now.

        Raises:
            RemoteError: they cannot be had, or the commit is not the one that was expected.
            CancelledError: ``cancel`` was set.
            StoreError: the disk refused.
        """
        found = self.find(op)
        if found is not None:
            return found
        with store_errors(self._root):
            for name in ("trees", "home"):
                (self._root / name).mkdir(parents=True, exist_ok=True)
        try:
            with self._agent() as socket:
                seen = variables(self._root, self._environment, op.remote, self._secrets, socket)
                git = Git(folder=self._root, environment=seen, cancel=cancel)
                return self._fetch_from(Remote(git, without_user(op.remote)), op)
        except CommandError as error:
            raise RemoteError(without_secrets(op.remote), error.reason) from error

    def _fetch_from(self, remote: Remote, op: GitOp) -> Checkout:
        given = _given_commit(op)
        at = Found(commit=given) if given else remote.resolve(op.ref)
        # A tag's own id will do as well as the commit's.
        if not at.commit.startswith(op.checksum) and not at.tag.startswith(op.checksum):
            reason = f"expected checksum {op.checksum}, received {at.commit}"
            raise RemoteError(without_secrets(op.remote), reason)
        found = self._open(op, at.commit)
        if found is not None:
            return found
        commit = remote.bring(at)
        return self._open(op, commit.id) or self._make(op, commit)

    def _make(self, op: GitOp, commit: Commit) -> Checkout:
        """Write what `_open` reads, into a folder that gets its name when it is whole."""
        from shutil import rmtree  # noqa: PLC0415 - a cached build makes nothing
        from tempfile import mkdtemp  # noqa: PLC0415 - see above

        with store_errors(self._root):
            folder = Path(mkdtemp(prefix=HALF_WRITTEN, dir=self._root / "trees"))
        try:
            write_checkout(
                folder,
                commit,
                subdir=op.subdir,
                submodules=op.submodules,
                git_dir_of=without_secrets(op.remote) if op.keep_git_dir and not op.subdir else "",
            )
            # If another build was faster, its files are the same.
            with store_errors(folder), contextlib.suppress(FileExistsError):
                _rename_new(folder, self._place(op, commit.id))
        finally:
            rmtree(folder, ignore_errors=True)
        found = self._open(op, commit.id)
        if found is None:
            raise CommandError("git", "what it wrote cannot be read again")
        return found

    def _place(self, op: GitOp, commit: str) -> Path:
        key = [
            _VERSION,
            without_secrets(op.remote),
            commit,
            op.subdir,
            op.submodules,
            # The tag or branch is part of a .git folder.
            [op.ref] if op.keep_git_dir else None,
        ]
        return self._root / "trees" / sha256(json.dumps(key).encode("utf-8", "surrogateescape")).hex

    def _open(self, op: GitOp, commit: str) -> Checkout | None:
        return read_checkout(self._place(op, commit), commit)


def _rename_new(folder: Path, target: Path) -> None:
    """Rename a folder. Raises FileExistsError if ``target`` is there."""
    try:
        os.rename(folder, target)
    except OSError as error:
        if target.exists():
            raise FileExistsError from error
        raise


def _given_commit(op: GitOp) -> str:
    """Return the commit that is asked for in full; empty if the remote has to be asked which it is."""
    if FULL_COMMIT.fullmatch(op.ref):
        return op.ref
    return op.checksum if op.fetch_by_commit and FULL_COMMIT.fullmatch(op.checksum) else ""
