"""Who a command runs as: `USER` looked up in the image's own passwd and group files.

The rules are BuildKit's and runc's: a number is never taken for a name; two numbers need no files; an
explicit group switches supplementary groups off; no user at all is 0, looked up if it can be.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass

_MAX_ID = 2**31 - 1
_MAX_DIGITS = 10
_MAX_FILE_BYTES = 1 << 20  # a passwd file of a large site has some 10 thousand lines of 60 bytes

OpenInside = Callable[[str], int]
"""Opens a path inside the image, O_PATH."""


class UserError(Exception):
    """The user or group is not there, or its number is out of range."""


@dataclass(frozen=True, slots=True)
class User:
    """Numbers and home of who runs the command."""

    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = (0,)
    """Supplementary groups; the primary one is always among them."""
    home: str = "/"


def find_user(text: str, walk: OpenInside) -> User:
    """Look ``text`` (`user[:group]`, names or numbers, or nothing) up.

    Raises:
        UserError: a name is not in the files, or a number is negative or above 2^31 - 1.
    """
    user_text, _, group_text = text.partition(":")
    uid = _number("user", user_text) if user_text else 0
    gid = _number("group", group_text) if group_text else None
    entry = _find_passwd(walk, name=user_text, uid=uid)
    if uid is None and user_text == "root" and entry is None:
        uid = 0
    if uid is None and entry is None:
        raise UserError(f"unable to find user {user_text}: no matching entries in passwd file")
    name, uid, primary, home = entry or ("", uid or 0, 0, "/")
    if group_text:
        if gid is None:
            gid = _find_group(walk, group_text)
        return User(uid, gid, (gid,), home)
    extra = sorted(_groups_of(walk, name)) if name else []
    return User(uid, primary, tuple(dict.fromkeys([primary, *extra])), home)


def _number(what: str, text: str) -> int | None:
    """Return the number that ``text`` is, or None if it is a name."""
    digits = text[1:] if text[:1] in {"-", "+"} else text
    if not (digits.isascii() and digits.isdecimal()):
        return None
    if text[0] == "-" or len(digits) > _MAX_DIGITS or int(digits) > _MAX_ID:
        raise UserError(f"{what} {text} is not a number between 0 and {_MAX_ID}")
    return int(digits)


def _find_passwd(
    walk: OpenInside, *, name: str, uid: int | None
) -> tuple[str, int, int, str] | None:
    for fields in _lines(walk, "/etc/passwd", 7):
        found, found_uid, found_gid = fields[0], _id(fields[2]), _id(fields[3])
        if found_uid is None or found_gid is None:
            continue
        if found_uid == uid if uid is not None else found == name:
            return found, found_uid, found_gid, fields[5] or "/"
    return None


def _find_group(walk: OpenInside, name: str) -> int:
    for fields in _lines(walk, "/etc/group", 4):
        gid = _id(fields[2])
        if fields[0] == name and gid is not None:
            return gid
    if name == "root":
        return 0
    raise UserError(f"unable to find group {name}: no matching entries in group file")


def _groups_of(walk: OpenInside, name: str) -> Iterator[int]:
    for fields in _lines(walk, "/etc/group", 4):
        gid = _id(fields[2])
        if gid is not None and name in fields[3].split(","):
            yield gid


def _id(text: str) -> int | None:
    if not (text.isascii() and text.isdecimal() and len(text) <= _MAX_DIGITS):
        return None
    return int(text) if int(text) <= _MAX_ID else None


def _lines(walk: OpenInside, path: str, fields: int) -> Iterator[list[str]]:
    """Yield the lines of a passwd-like file, each with at least ``fields`` fields."""
    for line in _read(walk, path).split("\n"):
        parts = line.strip().split(":")
        if parts[0] and not parts[0].startswith("#"):
            yield parts + [""] * (fields - len(parts))


def _read(walk: OpenInside, path: str) -> str:
    """Return the text of a file that an image supplied; empty if it is missing or is no plain file."""
    try:
        place = walk(path)
    except OSError:
        return ""
    try:
        found = os.stat(place)
        if not stat.S_ISREG(found.st_mode) or found.st_size > _MAX_FILE_BYTES:
            return ""
        handle = os.open(f"/proc/self/fd/{place}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(place)
    try:
        return os.read(handle, _MAX_FILE_BYTES).decode("utf-8", "surrogateescape")
    finally:
        os.close(handle)
