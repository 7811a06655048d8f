"""Repositories elsewhere: what their refs are, and bringing single commits here."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from registry.files import FileLock, store_errors
from registry.oci.digest import sha256
from wcbuild.context.command import CommandError
from wcbuild.context.git.program import Git
from wcbuild.dockerfile.gitref import FULL_COMMIT
from wcbuild.errors import CancelledError

_SHA256_LENGTH = 64
_SHORT_COMMIT = re.compile("[0-9a-f]{7,63}")
"""What servers do not tell to what commit it belongs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a ref is at the remote now."""

    commit: str
    """In full; of an annotated tag what it points to, once that is known."""
    tag: str = ""
    """An annotated tag's own id."""
    ref: str = ""
    """The ref's full name; empty if a commit was asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """A commit that is here, in a repository of ours."""

    remote: Remote
    """Where it came from."""
    id: str
    tag: str
    """The id of the annotated tag that led to it, if one did."""
    ref: str
    """The full name of the ref that led to it, if one did."""
    _folder: Path

    def has(self, path: str) -> bool:
        """Say whether the commit has something at ``path``; in a shallow repository, it is here, too."""
        return _has(self.remote.git, self._folder, f"{self.id}:{path}")

    def time(self) -> int:
        """Return when it was made, in seconds since 1970."""
        return max(
            0, int(self.run("log", "-1", "--no-show-signature", "--format=%ct", self.id, "--"))
        )

    def run(self, *words: str, stdin: bytes = b"") -> bytes:
        """Run git in our repository, and return what it says. Raises CommandError, CancelledError."""
        return self.remote.git.run(self._folder, *words, stdin=stdin)


class Remote:
    """One repository elsewhere. Ours of it lies below ``git.folder``: fetching twice is slow."""

    def __init__(self, git: Git, url: str) -> None:
        self.git = git
        self.url = url

    def resolve(self, ref: str) -> Found:
        """Ask what a ref is now; empty is the default branch.

        A branch is preferred to a tag of the same name, as `git checkout` does.

        Raises:
            CommandError: there is none, or nobody to be asked. CancelledError
        """
        patterns = (ref, f"{ref}^{{}}") if ref else ("HEAD",)
        # Asked from no repository: one that holds ids of another length could not speak with it.
        nowhere = self.git.folder / "home"
        output = self.git.run(nowhere, "ls-remote", "--symref", "--", self.url, *patterns)
        found: dict[str, str] = {}
        branch = ""
        for line in output.decode("utf-8", "surrogateescape").splitlines():
            value, _, name = line.partition("\t")
            if value.startswith("ref: "):
                branch = value.removeprefix("ref: ")
            elif FULL_COMMIT.fullmatch(value):
                found[name] = value
        if not ref and "HEAD" in found:
            return Found(commit=found["HEAD"], ref=branch or "HEAD")
        bare = ref.removeprefix("refs/")
        for name in (ref, f"refs/{bare}", f"refs/heads/{bare}", f"refs/tags/{bare}"):
            if name in found:
                peeled = found.get(f"{name}^{{}}", "")
                tag = found[name] if peeled else ""
                return Found(commit=peeled or found[name], tag=tag, ref=name)
        what = f'there is no ref "{ref}"' if ref else "it has no default branch"
        if _SHORT_COMMIT.fullmatch(ref):
            what += " (of a commit, give all digits)"
        raise CommandError("git", what)

    def bring(self, at: Found) -> Commit:
        """Have a commit here.

        Raises:
            CommandError: it is not there, or no commit. CancelledError, StoreError
        """
        from shutil import rmtree  # noqa: PLC0415 - a cached build brings nothing

        wanted = at.tag or at.commit
        name = sha256(self.url.encode("utf-8", "surrogateescape")).hex
        # A repository holds ids of one length.
        folder = self.git.folder / f"{name}{'.sha256' if object_format(wanted) else ''}"
        # There while something comes, and behind a fetch that was killed or failed.
        begun = folder.with_name(f"{folder.name}.begun")
        with _locked(folder, self.git.cancel) as lock:
            # If this process is killed, its git goes on; two would write into the same files.
            git = replace(self.git, inherited=(lock.fileno(),))
            if begun.exists():
                # Nobody knows what is whole of it: commits come before their files.
                rmtree(folder, ignore_errors=True)
            if not (folder / "info/attributes").exists():
                _initialize(git, folder, wanted)
            if not _has(git, folder, wanted):
                with store_errors(begun):
                    begun.touch()
                self._fetch(git, folder, wanted, at.ref)
                begun.unlink()
        try:
            words = ("rev-parse", "--verify", "--end-of-options", f"{wanted}^{{commit}}")
            commit = self.git.run(folder, *words).decode().strip()
        except CommandError:
            raise CommandError("git", f'"{at.ref or wanted}" is not a commit') from None
        tag = wanted if commit != wanted else ""
        return Commit(remote=self, id=commit, tag=tag, ref=at.ref, _folder=folder)

    def _fetch(self, git: Git, folder: Path, wanted: str, ref: str) -> None:
        error = CommandError("git", f"commit {wanted} is not in it")
        for attempt in self._attempts(folder, wanted, ref):
            try:
                git.run(folder, "fetch", "--quiet", "--force", "--no-write-fetch-head", *attempt)
                if _has(git, folder, wanted):
                    return
            except CommandError as failure:
                # Some other ref may be at fault. The commit alone says nothing: it comes first.
                if _has(git, folder, wanted) and _has_all_of(git, folder, wanted):
                    return
                error = failure
        raise error

    def _attempts(self, folder: Path, wanted: str, ref: str) -> Iterator[tuple[str, ...]]:
        """Yield the arguments of fetch: what brings least first, then what every server understands."""
        own = f"refs/wcbuild/{wanted}"
        yield ("--no-tags", "--depth=1", "--", self.url, f"{wanted}:{own}")
        if ref:
            yield ("--no-tags", "--depth=1", "--", self.url, f"{ref}:{own}")
        whole = ("refs/heads/*:refs/wcbuild/heads/*", "refs/tags/*:refs/wcbuild/tags/*")
        shallow = ("--unshallow",) if (folder / "shallow").exists() else ()
        yield ("--no-tags", *shallow, "--", self.url, *whole)


@contextlib.contextmanager
def _locked(folder: Path, cancel: threading.Event) -> Iterator[FileLock]:
    """Keep other builds out of a repository of ours for the `with` block."""
    lock = FileLock(folder.with_name(f"{folder.name}.lock"))
    try:
        if not lock.acquire_unless(cancel, shared=False):
            raise CancelledError
        yield lock
    finally:
        lock.release()


def _initialize(git: Git, folder: Path, commit: str) -> None:
    git.run(folder, "init", "--quiet", "--bare", "--template=", *object_format(commit))
    with store_errors(folder):
        (folder / "info").mkdir(exist_ok=True)
        # Stronger than what the repository itself says: an archive is all of a commit.
        attributes = "* -export-ignore -export-subst -filter\n"
        (folder / "info/attributes").write_text(attributes)


def object_format(commit: str) -> tuple[str, ...]:
    """Return the flags that make a repository one for ``commit``; old versions of git have none."""
    return ("--object-format=sha256",) if len(commit) == _SHA256_LENGTH else ()


def _has(git: Git, folder: Path, name: str) -> bool:
    """Say whether an object, such as a commit or a path in one (`COMMIT:PATH`), is here."""
    return _succeeds(git, folder, "cat-file", "-e", name)


def _has_all_of(git: Git, folder: Path, commit: str) -> bool:
    """Say whether all files of a commit are here."""
    return _succeeds(git, folder, "rev-list", "--objects", "--no-walk", "--quiet", commit)


def _succeeds(git: Git, folder: Path, *words: str) -> bool:
    try:
        git.run(folder, *words)
    except CommandError:
        return False
    return True
