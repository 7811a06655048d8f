"""Paths of a Dockerfile: what they come to in the image, whatever system it is for.

A path of a Windows image has a drive letter and slashes of both kinds in the Dockerfile and in the config,
and neither in a step: there it begins with `/` and means the system drive, as in a Linux image.
"""

from __future__ import annotations

import posixpath

from wcbuild.errors import WcbuildError

_SYSTEM_DRIVE = "C:"


class PathError(WcbuildError):
    """A path that the image cannot have. Its place is known to the caller alone."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason
        self.word = path

    def __str__(self) -> str:
        return f'path "{self.path}": {self.reason}'


def plain(path: str, *, windows: bool) -> str:
    """Return a path as steps have it: forward slashes, no drive. `C:sub` is relative.

    Raises:
        PathError: another drive than C:, a drive and nothing else, or a network path.
    """
    if not windows:
        return path
    slashed = path.replace("\\", "/")
    if slashed.startswith("//"):
        raise PathError(path, "network and device paths are not supported")
    if slashed[1:2] != ":":
        return slashed
    if slashed[:2].upper() != _SYSTEM_DRIVE:
        raise PathError(path, "is not on the system drive (C:)")
    if len(slashed) == len(_SYSTEM_DRIVE):
        raise PathError(path, 'has no path after the drive; its root is "C:\\"')
    return slashed[2:]


def pattern(text: str, *, windows: bool) -> str:
    r"""Return a pattern of `--exclude` as steps have it: for Windows `\` parts folders, no escape."""
    return text.replace("\\", "/") if windows else text


def is_absolute(path: str, *, windows: bool) -> bool:
    """Say whether a path does not depend on the directory in force."""
    if windows:
        path = path.replace("\\", "/")
        if path[:2].upper() == _SYSTEM_DRIVE:
            path = path[2:]
    return path.startswith("/")


def absolute(working_dir: str, path: str, *, windows: bool = False) -> str:
    """Return ``path`` absolute and clean, relative to the directory in force.

    Raises:
        PathError: as `plain`, or a name in it that Windows does not take.
    """
    below = plain(working_dir, windows=windows) if working_dir else ""
    found = posixpath.join("/", below, plain(path, windows=windows))
    found = "/" + posixpath.normpath(found).lstrip("/")
    if windows and found != "/":
        from wcbuild.layer.windows.names import problem  # noqa: PLC0415 - most images are Linux's

        reason = problem(found[1:])
        if reason:
            raise PathError(path, reason)
    return found


def destination(working_dir: str, dest: str, *, windows: bool = False) -> str:
    """Return COPY's destination absolute; a trailing slash (or `.`) keeps saying directory.

    Raises:
        PathError: as `plain`.
    """
    path = absolute(working_dir, dest, windows=windows)
    slashed = plain(dest, windows=windows)
    is_directory = not slashed or slashed.endswith("/") or posixpath.basename(slashed) == "."
    return path if path == "/" or not is_directory else path + "/"


def clean_source(source: str, *, parents: bool, windows: bool = False) -> str:
    """Return a source relative to its root; `..` stops there. The pivot of --parents stays.

    Raises:
        PathError: as `plain`.
    """
    source = plain(source, windows=windows)
    if parents and "/./" in source:
        base, _, rest = source.partition("/./")
        return f"{clean_source(base, parents=False)}/./{clean_source(rest, parents=False)}"
    return posixpath.normpath("/" + source).lstrip("/")


def heredoc_file(name: str) -> str:
    """Return the name of the file that a heredoc is; `/` and `..` before it lead nowhere else.

    Raises:
        PathError: it is the name of a directory, or of a file in one.
    """
    found = posixpath.normpath("/" + name).lstrip("/")
    if not found or "/" in found:
        raise PathError(name, "cannot be the name of a heredoc's file")
    return found


def in_config(path: str, *, windows: bool) -> str:
    r"""Return an absolute path as the config of an image has it: `C:\app` for a Windows one."""
    return _SYSTEM_DRIVE + path.replace("/", "\\") if windows else path
