"""Commits as files: tars that git writes, and tables of their entries."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from registry.files import store_errors
from wcbuild.context.archive import open_tree, scan_files
from wcbuild.context.command import CommandError
from wcbuild.context.git.remote import Commit, object_format
from wcbuild.context.git.submodules import bring_submodules
from wcbuild.context.local import LocalTree
from wcbuild.layer.changes import DIRECTORY, Change, Entry, Meta
from wcbuild.tree.base import FileTree
from wcbuild.tree.index import DamagedIndexError, write_index
from wcbuild.tree.paths import join

_INDEX, _TAR, _INFO = "index", "tar", "info.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkout:
    """The files of a commit."""

    tree: FileTree
    commit: str
    time: int
    """The commit's, in seconds since 1970; every file has it."""


def read_checkout(folder: Path, commit: str) -> Checkout | None:
    """Return what `write_checkout` wrote; None if it is not there, or damaged."""
    try:
        info = json.loads((folder / _INFO).read_bytes())
        tars = [
            (folder / f"{number}.{_INDEX}", folder / f"{number}.{_TAR}")
            for number in range(int(info["tars"]))
        ]
        return Checkout(tree=open_tree(tars), commit=commit, time=int(info["time"]))
    except (OSError, ValueError, KeyError, TypeError, DamagedIndexError):
        return None


def write_checkout(
    folder: Path, commit: Commit, *, subdir: str, submodules: bool, git_dir_of: str
) -> None:
    """Write the files of a commit into ``folder``: those below ``subdir``, with submodules or without.

    ``git_dir_of``, if not empty, is the URL for a `.git` beside them.

    Raises:
        CommandError: git cannot give them, or there is no such folder. CancelledError, StoreError
    """
    writer = _Writer(folder, subdir, commit.time())
    writer.add(commit, "")
    if submodules:
        for path, submodule in bring_submodules(commit, subdir):
            writer.add(submodule, path)
    if git_dir_of:
        writer.add_git_dir(commit, git_dir_of)
    writer.finish()


class _Writer:
    """Writes one tar after the other; later ones count more."""

    def __init__(self, folder: Path, subdir: str, moment: int) -> None:
        self._folder = folder
        self._subdir = subdir
        self._moment = moment
        self._tars = 0
        self._entries = 0

    def add(self, commit: Commit, prefix: str) -> None:
        """Add the files of a commit below ``prefix``."""
        tar = self._folder / f"{self._tars}.{_TAR}"
        words = ["archive", "--format=tar", f"--output={tar}"]
        if prefix:
            commit.run(*words, f"--prefix={prefix}/", commit.id)
        elif not self._subdir:
            commit.run(*words, commit.id)
        elif commit.has(self._subdir):
            commit.run(*words, commit.id, "--", self._subdir)
        else:
            # Perhaps it is in a submodule.
            return
        with store_errors(tar), open(tar, "rb") as stream:
            self._index(self._within(scan_files(stream)))

    def _index(self, entries: Iterable[Entry]) -> None:
        """Write the table of the newest tar."""
        write_index(self._folder / f"{self._tars}.{_INDEX}", entries)
        self._tars += 1

    def _within(self, entries: Iterable[Entry]) -> Iterator[Entry]:
        """Yield the entries that are wanted, their paths relative to the folder that is."""
        yield Entry("", Meta(DIRECTORY, 0o755, mtime=self._moment))
        for entry in entries:
            if not self._subdir or entry.path.startswith(f"{self._subdir}/"):
                self._entries += 1
                yield entry._replace(path=entry.path[len(self._subdir) :].lstrip("/"))
            elif entry.path == self._subdir and entry.meta and entry.meta.kind != DIRECTORY:
                raise CommandError("git", f'"{self._subdir}" is not a folder of the repository')

    def add_git_dir(self, commit: Commit, url: str) -> None:
        """Add a `.git` that holds this commit alone, for programs that ask git what they are."""
        from wcbuild.layer.pack import pack  # noqa: PLC0415 - few keep the folder

        work = self._folder / "work"
        git_dir = work / ".git"
        with store_errors(work):
            work.mkdir()
        commit.remote.git.run(git_dir, "init", "--quiet", "--template=", *object_format(commit.id))
        objects = commit.run("rev-list", "--objects", "--no-object-names", "-n1", commit.id)
        pack_name = str(git_dir / "objects/pack/pack")
        tag = f"{commit.tag}\n".encode() if commit.tag else b""
        # One thread: which objects are written as differences of which must not depend on chance.
        packing = ("pack-objects", "--quiet", "--threads=1", pack_name)
        commit.run(*packing, stdin=objects + tag)
        with store_errors(git_dir):
            (git_dir / "shallow").write_text(f"{commit.id}\n")
        for words in _finishing(commit, url):
            commit.remote.git.run(git_dir, *words)
        tar = self._folder / f"{self._tars}.{_TAR}"
        with store_errors(tar), open(tar, "wb") as file:
            packed = pack(_changes(LocalTree(work), ".git", self._moment), file, epoch=None)
        self._index(packed.entries)

    def finish(self) -> None:
        """Write what `read_checkout` looks for."""
        if self._subdir and not self._entries:
            raise CommandError("git", f'"{self._subdir}" is not a folder of the repository')
        with store_errors(self._folder):
            info = {"tars": self._tars, "time": self._moment}
            (self._folder / _INFO).write_text(json.dumps(info))


def _finishing(commit: Commit, url: str) -> Iterator[tuple[str, ...]]:
    """Yield what makes a `.git` with a commit's objects one that has it checked out."""
    if commit.ref.startswith(("refs/heads/", "refs/tags/")):
        yield ("update-ref", commit.ref, commit.tag or commit.id)
    yield ("update-ref", "--no-deref", "HEAD", commit.id)
    yield ("config", "remote.origin.url", url)
    yield ("config", "remote.origin.fetch", "+refs/heads/*:refs/remotes/origin/*")
    yield ("read-tree", commit.id)


def _changes(tree: LocalTree, path: str, moment: int) -> Iterator[Change]:
    """Yield a directory and everything in it, all with one time."""
    node = tree.find(path)
    if node is not None:
        yield Change(path, node.meta._replace(mtime=moment), node.content)
        for name, _ in tree.children(path):
            yield from _changes(tree, join(path, name), moment)
