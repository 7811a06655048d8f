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
