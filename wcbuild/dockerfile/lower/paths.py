"""Paths of a Dockerfile: what they come to, relative to the directory in force."""

from __future__ import annotations

import posixpath


def absolute(working_dir: str, path: str) -> str:
    """Return ``path`` absolute and clean, relative to the directory in force."""
    return "/" + posixpath.normpath(posixpath.join("/", working_dir, path)).lstrip("/")


def destination(working_dir: str, dest: str) -> str:
    """Return COPY's destination absolute; a trailing slash (or `.`) keeps saying directory."""
    path = absolute(working_dir, dest)
    is_directory = not dest or dest.endswith("/") or posixpath.basename(dest) == "."
    return path if path == "/" or not is_directory else path + "/"


def clean_source(source: str, *, parents: bool) -> str:
    """Return a source relative to its root; `..` stops there. The pivot of --parents stays."""
    if parents and "/./" in source:
        base, _, rest = source.partition("/./")
        return f"{clean_source(base, parents=False)}/./{clean_source(rest, parents=False)}"
    return posixpath.normpath("/" + source).lstrip("/")
