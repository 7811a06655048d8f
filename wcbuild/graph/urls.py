"""URLs as people may see them."""

from __future__ import annotations

import re

_USER = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*://)([^/?#@]*(?:@[^/?#@]*)*)@")


def without_secrets(url: str) -> str:
    """Return ``url`` with its user and password, if it has any, made unreadable as BuildKit does."""
    found = _USER.match(url)
    if found is None or url.startswith("ssh://"):
        # The user of an SSH URL is a name that everybody knows; nothing else fits into one.
        return url
    masked = "xxxxx:xxxxx" if ":" in found[2] else "xxxxx"
    return f"{found[1]}{masked}@{url[found.end() :]}"


def without_user(url: str) -> str:
    """Return ``url`` as a command's argument, which everybody on the machine can read, may have it."""
    scheme, found, rest = url.partition("://")
    if not found or scheme.lower() not in ("http", "https"):
        return url
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"
