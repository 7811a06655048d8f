"""What ADD and contexts name that has to be fetched: files by HTTP, and git repositories."""

from __future__ import annotations

import posixpath
import re

from registry.errors import InvalidDigestError
from registry.oci.digest import Digest
from wcbuild.dockerfile.gitref import CHECKSUM, GitRef, GitRefError, parse_git_ref
from wcbuild.errors import SourceError
from wcbuild.graph.ops import GitOp, HttpOp
from wcbuild.graph.urls import without_secrets

_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2}).{0,2}")
_UNNAMED = "__unnamed__"
_CONTEXT_FILE = "context"
"""What BuildKit calls the file that a context's URL leads to."""


def is_http(text: str) -> bool:
    """Say whether ``text`` is a URL of HTTP."""
    return text.startswith(("http://", "https://"))


def added(source: str, *, checksum: str, keep_git_dir: bool | None) -> HttpOp | GitOp | None:
    """Return what offers the files that a source of ADD names; None is a path.

    Raises:
        SourceError: a URL or a checksum that makes no sense.
    """
    git = git_ref(source)
    if git is not None and not git.may_be_path:
        return git_op(git, checksum=checksum, keep_git_dir=keep_git_dir)
    if not is_http(source):
        return None
    if checksum:
        try:
            Digest(checksum)
        except InvalidDigestError as error:
            message = "invalid checksum digest format"
            raise SourceError(message, word=checksum, hint=error.reason) from error
    return HttpOp(url=source, name=_file_name(source), checksum=checksum)


def context(value: str, *, keep_git_dir: bool = False) -> HttpOp | GitOp | None:
    """Return what offers the files of a context that was given as a URL; None is something else.

    Raises:
        SourceError: a URL that makes no sense.
    """
    git = git_ref(value)
    if git is not None:
        return git_op(git, keep_git_dir=keep_git_dir or None)
    return HttpOp(url=value, name=_CONTEXT_FILE, unpack=True) if is_http(value) else None


def git_ref(text: str) -> GitRef | None:
    """Read a git URL; None is something else.

    Raises:
        SourceError: it is one, but makes no sense.
    """
    try:
        return parse_git_ref(text)
    except GitRefError as error:
        raise SourceError(f'git URL "{without_secrets(text)}": {error}', word=text) from error


def git_op(ref: GitRef, *, checksum: str = "", keep_git_dir: bool | None = None) -> GitOp:
    """Return the operation that a git URL, and flags beside it, amount to.

    Raises:
        SourceError: the two contradict each other.
    """
    if None not in (keep_git_dir, ref.keep_git_dir) and keep_git_dir != ref.keep_git_dir:
        raise SourceError("inconsistent keep-git-dir configuration", word="--keep-git-dir")
    if checksum and ref.checksum and checksum != ref.checksum:
        message = f'checksum "{checksum}" differs from the URL\'s, "{ref.checksum}"'
        raise SourceError(message, word=checksum)
    checksum = checksum or ref.checksum
    if checksum and not CHECKSUM.fullmatch(checksum):
        hint = "a commit, or the first seven or more of its digits"
        raise SourceError("invalid checksum digest format", word=checksum, hint=hint)
    return GitOp(
        remote=ref.remote,
        ref=ref.ref,
        checksum=checksum,
        fetch_by_commit=ref.fetch_by_commit,
        subdir=posixpath.normpath(f"/{ref.subdir}").strip("/"),
        keep_git_dir=bool(ref.keep_git_dir if keep_git_dir is None else keep_git_dir),
        submodules=ref.submodules is not False,
    )


def _file_name(url: str) -> str:
    """Return what ADD calls the file behind a URL: the last part of its path."""
    from urllib.parse import unquote, urlsplit  # noqa: PLC0415 - most Dockerfiles have no URL

    try:
        parts = urlsplit(url)
        path, host, _ = parts.path, parts.hostname, parts.port
    except ValueError as error:
        raise SourceError(f'impossible URL "{without_secrets(url)}" ({error})', word=url) from error
    if not host:
        raise SourceError(f'impossible URL "{without_secrets(url)}" (it names no host)', word=url)
    if wrong := _BAD_ESCAPE.search(path):
        message = (
            f'impossible URL "{without_secrets(url)}" ("{wrong[0]}" is not "%" and two digits)'
        )
        raise SourceError(message, word=url)
    path = unquote(path, errors="surrogateescape")
    name = posixpath.basename(path.rstrip("/"))
    return _UNNAMED if name in ("", ".", "..") or "\0" in name else name
