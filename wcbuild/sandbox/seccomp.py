"""System-call filters, compiled to classic BPF: Docker's default rules, and root for who has one id.

A filter is a list of `struct sock_filter`. It looks at the architecture, then walks a binary search tree
over the system call's number whose leaves say what to do. x32 calls do not exist; nor do those that are
newer than our table, so that libc falls back to what it did before; the rest of what is not allowed is
answered with EPERM, as Docker does.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from struct import pack

from wcbuild.sandbox import syscalls

Code = tuple[tuple[int, int, int, int], ...]
"""Instructions: operation, how many to skip if true, how many if false, operand."""

# BPF_LD|W|ABS, BPF_JMP|JA, |JEQ|K, |JGE|K, |JSET|K, BPF_ALU|AND|K, BPF_RET|K.
_LOAD, _JUMP, _EQUAL, _AT_LEAST, _ANY_BIT, _AND, _RETURN = 0x20, 0x05, 0x15, 0x35, 0x45, 0x54, 0x06

# Offsets in struct seccomp_data; of an argument its low half, for all that we look at are 32 bits wide.
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16

_ALLOW, _ERROR, _KILL_PROCESS = 0x7FFF0000, 0x00050000, 0x80000000
_X32_BIT = 0x40000000
_MAX_SKIP = 255

_PERSONALITIES = (0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)
_CLONE_NAMESPACES = 0x7E020000
# DECnet, Econet, ATM SVC, IrDA, WANPIPE, ISDN, CAIF, ALG and vsock; and what comes after XDP's 44 and
# MCTP's 45.
_FORBIDDEN_FAMILIES = (12, 19, 20, 23, 25, 34, 37, 38, 40)
_FIRST_UNKNOWN_FAMILY = 46
_KIND_BITS = 0o170000


@dataclass(frozen=True, slots=True)
class Architecture:
    """One way in which system calls reach the kernel."""

    audit: int
    """`AUDIT_ARCH_*`."""
    column: int
    """In `syscalls.TABLE`."""
    x32: bool = False


_ARCHITECTURES = {
    "x86_64": (Architecture(0xC000003E, 1, x32=True), Architecture(0x40000003, 2)),
    "aarch64": (Architecture(0xC00000B7, 3), Architecture(0x40000028, 4)),
}


def supported(machine: str = "") -> bool:
    """Say whether filters can be made for the machine; empty means this one."""
    return (machine or os.uname().machine) in _ARCHITECTURES


def keyctl_number() -> int:
    """Return the number of the system call keyctl on this machine."""
    return _numbers(_ARCHITECTURES[os.uname().machine][0].column)["keyctl"]


@cache
def compile_filter(machine: str, *, default: bool, fake_root: bool) -> bytes:
    """Return the program for a sandbox: Docker's rules with ``default``, else everything is allowed.

    With ``fake_root`` changes of owner and identity are answered with success and not done, as are
    device nodes.
    """
    code: Code = ((_LOAD, 0, 0, _ARCHITECTURE),)
    for architecture in _ARCHITECTURES[machine]:
        body = _body(architecture, default=default, fake_root=fake_root)
        code += _if_else(_EQUAL, architecture.audit, body, ())
    code += _leave(_KILL_PROCESS)
    return b"".join(pack("=HBBI", *instruction) for instruction in code)


def _body(architecture: Architecture, *, default: bool, fake_root: bool) -> Code:
    numbers = _numbers(architecture.column)
    rules: dict[int, Code] = {}
    if default:
        rules = {number: _default_rule(name) for name, number in numbers.items()}
    if fake_root:
        for name, number in numbers.items():
            if name in syscalls.OWNERSHIP:
                rules[number] = _leave(_ERROR)
        for name, mode_argument in (("mknod", 1), ("mknodat", 2)):
            if name in numbers:
                rules[numbers[name]] = _fake_devices(mode_argument)
    otherwise = _leave(_ERROR | errno.EPERM) if default else _leave(_ALLOW)
    newer = _leave(_ERROR | errno.ENOSYS) if default else _leave(_ALLOW)
    tree = _search(_runs(rules, otherwise, newer))
    if architecture.x32:
        tree = _if_else(_AT_LEAST, _X32_BIT, _leave(_ERROR | errno.ENOSYS), tree)
    return ((_LOAD, 0, 0, _NUMBER), *tree)


def _default_rule(name: str) -> Code:
    if name in syscalls.FORBIDDEN:
        return _leave(_ERROR | errno.EPERM)
    if name in syscalls.ANSWERED_ENOSYS:
        return _leave(_ERROR | errno.ENOSYS)
    if name == "personality":
        return _argument(0) + _one_of(_PERSONALITIES, _ALLOW, _ERROR | errno.EPERM)
    if name == "clone":
        namespaces = _if_else(
            _ANY_BIT, _CLONE_NAMESPACES, _leave(_ERROR | errno.EPERM), _leave(_ALLOW)
        )
        return _argument(0) + namespaces
    if name == "socket":
        known = _one_of(_FORBIDDEN_FAMILIES, _ERROR | errno.EPERM, _ALLOW)
        unknown = _leave(_ERROR | errno.EPERM)
        return _argument(0) + _if_else(_AT_LEAST, _FIRST_UNKNOWN_FAMILY, unknown, known)
    return _leave(_ALLOW)


def _fake_devices(mode_argument: int) -> Code:
    kinds = _one_of((stat.S_IFCHR, stat.S_IFBLK), _ERROR, _ALLOW)
    return (*_argument(mode_argument), (_AND, 0, 0, _KIND_BITS), *kinds)


def _leave(action: int) -> Code:
    return ((_RETURN, 0, 0, action),)


def _argument(index: int) -> Code:
    return ((_LOAD, 0, 0, _ARGUMENTS + 8 * index),)


def _one_of(values: Iterable[int], found: int, missing: int) -> Code:
    code = _leave(missing)
    for value in values:
        code = _if_else(_EQUAL, value, _leave(found), code)
    return code


def _if_else(operation: int, operand: int, then: Code, otherwise: Code) -> Code:
    """Compare, and go on with one of two pieces; the first must leave, the second stands behind it."""
    if len(then) <= _MAX_SKIP:
        return ((operation, 0, len(then), operand), *then, *otherwise)
    return ((operation, 1, 0, operand), (_JUMP, 0, 0, len(then)), *then, *otherwise)


def _runs(rules: Mapping[int, Code], otherwise: Code, newer: Code) -> list[tuple[int, Code]]:
    """Return (first number, what to do from there on), in order."""
    runs: list[tuple[int, Code]] = []
    ends = {0, syscalls.NEWEST + 1, *rules, *(number + 1 for number in rules)}
    for number in sorted(ends):
        code = rules.get(number, newer if number > syscalls.NEWEST else otherwise)
        if not runs or runs[-1][1] != code:
            runs.append((number, code))
    return runs


def _search(runs: list[tuple[int, Code]]) -> Code:
    if len(runs) == 1:
        return runs[0][1]
    middle = len(runs) // 2
    return _if_else(_AT_LEAST, runs[middle][0], _search(runs[middle:]), _search(runs[:middle]))


@cache
def _numbers(column: int) -> dict[str, int]:
    numbers = {}
    for line in syscalls.TABLE.splitlines():
        fields = line.split()
        if fields[column].isdecimal():
            numbers[fields[0]] = int(fields[column])
    return numbers
