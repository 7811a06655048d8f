"""URLs of git repositories, as ADD and build contexts take them.

    https://host/team/app.git#v1:docs         ref and folder after `#`
    https://host/team/app.git?tag=v1&subdir=docs
    git@host:team/app                         as scp has it
    ssh://git@host/team/app  git://host/app
    github.com/team/app                       a context only: ADD takes it for a path

HTTP URLs are git's if their path ends in `.git`.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass, replace

from wcbuild.dockerfile.truth import parse_truth

_SCHEMES = ("http", "https", "ssh", "git")
_SCHEME = re.compile(r"([A-Za-z0-9]+)://")
_SCP = re.compile(r"([A-Za-z0-9_-]+)@([A-Za-z0-9.-]+):([^?#]*)(?:\?([^#]*))?(?:#(.*))?", re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_BAD_IN_REF = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{")
_SWITCHES = ("keep-git-dir", "submodules", "fetch-by-commit")

MTIMES = ("checkout", "commit")
FULL_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
CHECKSUM = re.compile(r"[0-9a-f]{7,64}")


class GitRefError(ValueError):
    """A git URL that makes no sense, or that means to do more than name a repository."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GitRef:
    """What a git URL names."""

    remote: str
    """The repository: the URL without query and fragment, with a user and a password if it has them."""
    ref: str = ""
    """A branch, a tag, a full `refs/…` or a full commit; empty is the default branch."""
    checksum: str = ""
    """What the commit must begin with."""
    subdir: str = ""
    keep_git_dir: bool | None = None
    submodules: bool | None = None
    mtime: str = ""
    fetch_by_commit: bool = False
    """Take the commit that ``checksum`` names without asking what ``ref`` is now."""
    may_be_path: bool = False
    """It could as well be a path: written without a scheme."""


def parse_git_ref(text: str) -> GitRef | None:
    """Read a git URL; None is something else: a path, or a URL of a file.

    Raises:
        GitRefError: it is a git URL, but not one to be used.
    """
    scheme = _SCHEME.match(text)
    if scheme is not None:
        if scheme[1].lower() not in _SCHEMES:
            return None
        found = _from_url(text)
    elif text.startswith("github.com/"):
        found = _from_url(f"https://{text}")
        return None if found is None else replace(found, may_be_path=True)
    else:
        found = _from_scp(text)
    if found is None or (_is_http(found.remote) and not found.remote.endswith(".git")):
        return None
    if _CONTROL.search(text):
        # The library that takes URLs apart leaves some of them out, where git would not.
        raise GitRefError("it has control characters")
    return found


def _is_http(url: str) -> bool:
    return url.lower().startswith(("http://", "https://"))


def _from_scp(text: str) -> GitRef | None:
    found = _SCP.fullmatch(text)
    if found is None:
        return None
    user, host, path, query, fragment = found.groups()
    _check_names(host=host, path=path, user=user)
    return _complete(f"{user}@{host}:{path}", query or "", fragment or "")


def _from_url(text: str) -> GitRef | None:
    from urllib.parse import unquote, urlsplit  # noqa: PLC0415 - most Dockerfiles have no URL

    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        if _is_http(text):
            # Whoever fetches files will say so.
            return None
        raise GitRefError(f"impossible URL ({error})") from error
    if (
        _is_http(text)
        and not parts.path.endswith(".git")
        and not text.startswith("https://github.com/")
    ):
        return None
    _check_names(host=host or "", path=parts.path.lstrip("/"), user=parts.username or "")
    remote = parts._replace(query="", fragment="").geturl()
    fragment = unquote(parts.fragment, errors="surrogateescape")
    return _complete(remote, parts.query, fragment)


def _check_names(*, host: str, path: str, user: str = "") -> None:
    """Refuse what ssh or git could take for an option."""
    for what, value in (("host", host), ("path", path), ("user", user)):
        if value.startswith("-"):
            raise GitRefError(f'{what} "{value}" begins with "-"')
    if " " in f"{host}{path}{user}":
        raise GitRefError("it has blanks")


def _complete(remote: str, query: str, fragment: str) -> GitRef:
    ref, _, subdir = fragment.partition(":")
    subdir = posixpath.normpath(f"/{_inside(subdir)}").strip("/")
    found = GitRef(remote=remote, ref=ref, subdir=subdir)
    if query:
        found = _with_query(found, query)
    if found.ref.startswith("-") or _BAD_IN_REF.search(found.ref):
        raise GitRefError(f'ref "{found.ref}" is not a name that git allows')
    if _CONTROL.search(found.subdir):
        raise GitRefError("its subdir has control characters")
    return found


def _inside(subdir: str) -> str:
    if ".." in subdir.split("/"):
        raise GitRefError(f'subdir "{subdir}" leads out of the repository')
    return subdir


def _with_query(found: GitRef, query: str) -> GitRef:
    from urllib.parse import parse_qsl  # noqa: PLC0415 - see above

    fields = parse_qsl(query, keep_blank_values=True)
    names = [name for name, _ in fields]
    tag = branch = ""
    for name, value in fields:
        if names.count(name) > 1:
            raise GitRefError(f'query "{name}" has multiple values')
        if not value and name not in _SWITCHES:
            raise GitRefError(f'query "{name}" has no value')
        match name:
            case "ref":
                found = replace(found, ref=_agreed("ref", found.ref, value))
            case "subdir":
                found = replace(found, subdir=_agreed("subdir", found.subdir, _inside(value)))
            case "tag":
                tag = f"refs/tags/{value.removeprefix('refs/tags/')}"
            case "branch":
                branch = f"refs/heads/{value.removeprefix('refs/heads/')}"
            case "checksum" | "commit":
                found = replace(found, checksum=_agreed("checksum", found.checksum, value))
            case "keep-git-dir":
                found = replace(found, keep_git_dir=_switch(name, value))
            case "submodules":
                found = replace(found, submodules=_switch(name, value))
            case "fetch-by-commit":
                found = replace(found, fetch_by_commit=_switch(name, value))
            case "mtime":
                if value not in MTIMES:
                    raise GitRefError(
                        f'invalid mtime value: "{value}" (must be "checkout" or "commit")'
                    )
                found = replace(found, mtime=value)
            case _:
                raise GitRefError(f'unexpected query "{name}"')
    if tag and branch:
        raise GitRefError("branch conflicts with tag")
    if tag or branch:
        found = replace(found, ref=_agreed("ref", found.ref, tag or branch))
    if found.fetch_by_commit and not found.checksum:
        raise GitRefError("fetch-by-commit needs a checksum")
    return found


def _switch(name: str, value: str) -> bool:
    truth = parse_truth(value or "true")
    if truth is None:
        raise GitRefError(f'invalid {name} value: "{value}"')
    return truth


def _agreed(what: str, before: str, value: str) -> str:
    if before and before != value:
        raise GitRefError(f'{what} conflicts: "{before}" vs "{value}"')
    return value
