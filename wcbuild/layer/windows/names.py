"""File names as Windows takes them: which are equal, and which cannot be.

Spec: https://learn.microsoft.com/windows/win32/fileio/naming-a-file
"""

from __future__ import annotations

import re
from functools import lru_cache

MAX_NAME_UNITS = 255
"""UTF-16 units in one name; NTFS takes no longer ones."""

_FORBIDDEN = re.compile(r'[<>"|?*\\:/\x00-\x1f]')
_NOT_UTF8 = re.compile("[\udc80-\udcff]")
_DEVICES = frozenset(
    (
        *("CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"),
        *(f"{device}{number}" for device in ("COM", "LPT") for number in "123456789¹²³"),
    )
)
_LAST_BASIC = "\uffff"


def fold(path: str) -> str:
    """Return ``path`` in the one spelling that all its spellings share; as many characters as it has.

    Like NTFS, whose table has one capital for each character below U+10000, and no capital in another
    alphabet: neither a sharp s nor a dotless i is anybody's small letter.
    """
    return path.upper() if path.isascii() else "".join(map(_capital, path))


@lru_cache(maxsize=4096)
def _capital(character: str) -> str:
    capital = character.upper()
    one_to_one = len(capital) == 1 and capital.lower() == character
    return capital if one_to_one and character <= _LAST_BASIC else character


def problem(path: str, *, stream: bool = False) -> str:
    """Say why Windows has no file of this path, relative to the drive; empty if it can have one.

    ``stream`` says that the last component names a file and a data stream of it, with a colon between.
    """
    if stream:
        path, _, name = path.rpartition(":")
        if not name or _FORBIDDEN.search(name):
            return f'"{name}" cannot be the name of a data stream'
    for name in path.split("/"):
        reason = _problem(name)
        if reason:
            return f'"{name[:200]}" {reason}'
    return ""


def _problem(name: str) -> str:
    if ":" in name:
        return "has a colon, which names a data stream on Windows"
    if forbidden := _FORBIDDEN.search(name):
        shown = f'"{forbidden[0]}"' if forbidden[0].isprintable() else "a control character"
        return f"has {shown} in it, which no name on Windows has"
    if name.endswith((".", " ")):
        return "ends in a dot or space, which Windows drops"
    # CON.txt is the console as well, and so is "CON .txt".
    if name.partition(".")[0].rstrip(" ").upper() in _DEVICES:
        return "is the name of a device on Windows"
    if len(name.encode("utf-16-le", "surrogatepass")) > 2 * MAX_NAME_UNITS:
        return f"is longer than {MAX_NAME_UNITS} characters"
    if _NOT_UTF8.search(name):
        return "is not UTF-8"
    return ""
