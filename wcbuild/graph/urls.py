"""URLs as people may see them."""

from __future__ import annotations

import re

_USER = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)([^/?#@]*(?:@[^/?#@]*)*)@")
_USER_IN_TEXT = re.compile(r"(ssh://|[A-Za-z0-9+.-]://)([^\s/?#@]*(?:@[^\s/?#@]*)*)@")
"""The scheme's last letter is enough: to look for its first at every letter takes long in a long line."""


def without_secrets(url: str) -> str:
    """Return ``url`` with its user and password, if it has any, made unreadable as BuildKit does."""
    found = _USER.match(url)
    return url if found is None else _masked(found) + url[found.end() :]


def hide_secrets(text: str) -> str:
    """Return ``text`` with the users and passwords of all URLs in it made unreadable."""
    return _USER_IN_TEXT.sub(_masked, text) if "://" in text else text


def _masked(found: re.Match[str]) -> str:
    scheme, user = found[1], found[2]
    if ":" not in user and scheme == "ssh://":
        # Who speaks SSH without a password has a name that everybody knows.
        return found[0]
    return f"{scheme}{'xxxxx:xxxxx' if ':' in user else 'xxxxx'}@"


def without_user(url: str) -> str:
    """Return ``url`` as a command's argument, which everybody on the machine can read, may have it."""
    scheme, found, rest = url.partition("://")
    if not found or scheme.lower() not in ("http", "https", "git"):
        return url
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"
