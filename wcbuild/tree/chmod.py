"""Modes as COPY --chmod takes them: octal, or symbolic as BSD's chmod(1) does with an empty umask."""

from __future__ import annotations

import re
from functools import lru_cache

from wcbuild.tree.errors import InvalidModeError

_MAX = 0o7777
_NOT_OCTAL = "it should be octal string and between 0 and 07777"

_CLAUSE = re.compile(r"([ugoa]*)((?:[-+=][rwxXstugo]*)+)")
_ACTION = re.compile(r"([-+=])([rwxXstugo]*)")

_WHO = {"u": 0o4700, "g": 0o2070, "o": 0o0007, "a": 0o6777}
_PERMISSIONS = {"r": 0o0444, "w": 0o0222, "x": 0o0111, "s": 0o6000, "t": 0o1000}
_EXECUTE = 0o0111
_STICKY = 0o1000
_OTHERS = 0o0007
_SHIFTS = {"u": 6, "g": 3, "o": 0}


@lru_cache(maxsize=64)
def octal(text: str) -> int | None:
    """Return the mode that ``text`` says in octal; None if it is symbolic.

    Raises:
        InvalidModeError: a number, but not one of a mode.
    """
    if not text[:1].isdigit():
        return None
    mode = int(text, 8) if re.fullmatch("[0-7]{1,20}", text) else _MAX + 1
    if mode > _MAX:
        raise InvalidModeError(text, _NOT_OCTAL)
    return mode


def change(text: str, mode: int, *, is_directory: bool) -> int:
    """Return what becomes of ``mode`` under ``text``, octal or symbolic.

    Raises:
        InvalidModeError: neither octal nor symbolic.
    """
    fixed = octal(text)
    if fixed is not None:
        return fixed
    before = mode
    for who, operator, permissions in _actions(text):
        mode = _act(mode, before, who, operator, permissions, is_directory=is_directory)
    return mode


@lru_cache(maxsize=64)
def _actions(text: str) -> tuple[tuple[int, str, str], ...]:
    """Return what a symbolic mode does: the bits it may touch, `+`, `-` or `=`, and permissions."""
    actions = []
    for clause in text.split(","):
        found = _CLAUSE.fullmatch(clause)
        if found is None:
            raise InvalidModeError(text, "invalid syntax")
        who = 0
        for letter in found[1]:
            who |= _WHO[letter]
        actions += [(who, action[1], action[2]) for action in _ACTION.finditer(found[2])]
    return tuple(actions)


def _act(
    mode: int, before: int, who: int, operator: str, permissions: str, *, is_directory: bool
) -> int:
    bits = 0
    conditional = 0
    cleared = False
    for letter in permissions:
        if letter in _SHIFTS:
            if bits:
                mode = _set(mode, who, operator, bits)
            mode = _set(mode, who, "+", conditional)
            bits = conditional = 0
            mode = _copy(mode, who, operator, (mode >> _SHIFTS[letter]) & _OTHERS)
            cleared = True
        elif letter == "X" and operator != "-":
            if is_directory or before & _EXECUTE:
                conditional = _EXECUTE
        elif letter not in "st" or who != _OTHERS:
            # Setuid, setgid and sticky say nothing about others alone.
            bits |= _PERMISSIONS[letter.lower()]
            if letter == "t":
                who |= _STICKY
    if bits or (operator == "=" and not cleared):
        mode = _set(mode, who, operator, bits)
    return _set(mode, who, "+", conditional)


def _set(mode: int, who: int, operator: str, bits: int) -> int:
    allowed = bits & who if who else bits
    if operator == "-":
        return mode & ~allowed
    if operator == "=":
        mode &= ~(who or _WHO["a"])
    return mode | allowed


def _copy(mode: int, who: int, operator: str, value: int) -> int:
    """Give a copy of somebody's permissions to everybody in ``who``; none of the special bits move."""
    for letter, shift in _SHIFTS.items():
        if who and not who & _WHO[letter] & 0o777:
            continue
        if operator == "-":
            mode &= ~(value << shift)
        elif operator == "=":
            mode = mode & ~(_OTHERS << shift) | (value << shift)
        else:
            mode |= value << shift
    return mode
