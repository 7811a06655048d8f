"""Submodules: what a commit says of them, and where they come from."""

from __future__ import annotations

from collections.abc import Iterator

from wcbuild.context.command import CommandError
from wcbuild.context.git.remote import Commit, Found, Remote
from wcbuild.dockerfile.gitref import GitRefError, parse_git_ref
from wcbuild.graph.urls import without_secrets, without_user
from wcbuild.tree.paths import join

MAX_SUBMODULES = 500
"""Of one repository, at any depth."""
MAX_SUBMODULE_DEPTH = 10

_LINK = "160000"
"""The mode of a submodule among the files of a commit."""


def bring_submodules(commit: Commit, subdir: str) -> Iterator[tuple[str, Commit]]:
    """Bring the submodules of a commit, and theirs, and yield each with its path.

    Those that neither lie in ``subdir`` nor hold it are left out.

    Raises:
        CommandError: one cannot be had, or there are too many. CancelledError, StoreError
    """
    for count, each in enumerate(_below(commit, subdir, "", 0)):
        if count == MAX_SUBMODULES:
            raise CommandError("git", f"more than {MAX_SUBMODULES} submodules")
        yield each


def _below(commit: Commit, subdir: str, prefix: str, depth: int) -> Iterator[tuple[str, Commit]]:
    if not commit.has(".gitmodules"):
        return
    if depth == MAX_SUBMODULE_DEPTH:
        raise CommandError("git", f"submodules are nested deeper than {depth}")
    modules = _read_modules(commit)
    for path, wanted in _links(commit):
        place = join(prefix, path)
        if not _meet(place, subdir):
            continue
        module = modules.get(path, {})
        if module.get("update") == "none":
            continue
        try:
            url = _submodule_url(commit.remote.url, module.get("url", ""))
            submodule = Remote(commit.remote.git, url).bring(Found(commit=wanted))
        except CommandError as error:
            raise CommandError("git", f'submodule "{place}": {error.reason}') from error
        yield place, submodule
        yield from _below(submodule, subdir, place, depth + 1)


def _read_modules(commit: Commit) -> dict[str, dict[str, str]]:
    """Return what a commit's .gitmodules says, by path."""
    try:
        output = commit.run("config", f"--blob={commit.id}:.gitmodules", "--null", "--list")
    except CommandError as error:
        raise CommandError("git", f".gitmodules: {error.reason}") from error
    sections: dict[str, dict[str, str]] = {}
    for line in output.decode("utf-8", "surrogateescape").split("\0"):
        name, _, value = line.partition("\n")
        section, _, key = name.rpartition(".")
        if section.startswith("submodule."):
            sections.setdefault(section, {})[key] = value
    return {each["path"]: each for each in sections.values() if "path" in each}


def _links(commit: Commit) -> Iterator[tuple[str, str]]:
    """Yield path and commit of each submodule. The path is the tree's own, which git has checked."""
    output = commit.run("ls-tree", "-r", "-z", "--full-tree", commit.id)
    for line in output.decode("utf-8", "surrogateescape").split("\0"):
        facts, _, path = line.partition("\t")
        fields = facts.split(" ")
        if fields[0] == _LINK:
            yield path, fields[2]


def _meet(place: str, subdir: str) -> bool:
    """Say whether one of two folders lies in the other, or is it."""
    first, second = f"{place}/", f"{subdir}/" if subdir else ""
    return first.startswith(second) or second.startswith(first)


def _submodule_url(parent: str, url: str) -> str:
    """Return the URL of a submodule, which may be relative to its parent's.

    Raises:
        CommandError: it is none, or of a kind that could reach into this machine.
    """
    if not url:
        raise CommandError("git", "no URL for it in .gitmodules")
    if url.startswith("-") or any(letter <= " " or letter == "\x7f" for letter in url):
        raise CommandError("git", f"its URL {url!r} is not allowed")
    if url.startswith(("./", "../")):
        return _relative_url(parent, url)
    try:
        scheme = url.partition("://")[0].lower()
        # An HTTP URL of a submodule is git's, whatever it ends in.
        found = parse_git_ref(f"{url.rstrip('/')}.git" if scheme in ("http", "https") else url)
    except GitRefError as error:
        raise CommandError("git", f'its URL "{without_secrets(url)}": {error}') from error
    if found is None or found.may_be_path:
        raise CommandError(
            "git", f'its URL "{without_secrets(url)}" is of a kind that is not allowed'
        )
    return without_user(url)


def _relative_url(parent: str, url: str) -> str:
    """Resolve a relative URL as git does: each `../` takes a part, at a slash or a colon, away."""
    base = parent.rstrip("/")
    scheme = len(base.partition("://")[0]) + 3 if "://" in base else 0
    while url.startswith(("./", "../")):
        up, _, url = url.partition("/")
        if up == "..":
            cut = max(base.rfind("/", scheme), base.rfind(":", scheme))
            if cut < 0:
                raise CommandError("git", "its URL leads out of its parent's")
            base, separator = base[:cut], base[cut]
        else:
            separator = "/"
    return f"{base}{separator}{url.rstrip('/')}"
