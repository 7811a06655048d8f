"""System calls that Python 3.11 does not have, by ctypes. They raise OSError and know no policy.

Numbers are those of the kernel's headers: `linux/mount.h`, `linux/sched.h`, `linux/openat2.h`. System
calls without a libc wrapper have the same number on every architecture since Linux 5.1 (424 and up).
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping

CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_NOSUID = 2
MS_NODEV = 4
MS_REC = 16384
MS_PRIVATE = 1 << 18
MS_SLAVE = 1 << 19

MNT_DETACH = 2

FSCONFIG_SET_FLAG = 0
FSCONFIG_SET_STRING = 1
FSCONFIG_CMD_CREATE = 6

MOUNT_ATTR_RDONLY = 0x01
MOUNT_ATTR_NOSUID = 0x02
MOUNT_ATTR_NODEV = 0x04
MOUNT_ATTR_NOEXEC = 0x08
MOUNT_ATTR_STRICTATIME = 0x20

AT_FDCWD = -100

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_CAPBSET_DROP = 24
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_CLEAR_ALL = 4

RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
RESOLVE_IN_ROOT = 0x10

_SYS_OPEN_TREE = 428
_SYS_MOVE_MOUNT = 429
_SYS_FSOPEN = 430
_SYS_FSCONFIG = 431
_SYS_FSMOUNT = 432
_SYS_CLOSE_RANGE = 436
_SYS_OPENAT2 = 437
_SYS_MOUNT_SETATTR = 442

_CLOEXEC = 1
_MOVE_MOUNT_F_EMPTY_PATH = 4
_MOVE_MOUNT_T_EMPTY_PATH = 0x40
_OPEN_TREE_CLONE = 1
_AT_SYMLINK_NOFOLLOW = 0x100
_AT_EMPTY_PATH = 0x1000
_AT_RECURSIVE = 0x8000
_CLOSE_RANGE_CLOEXEC = 4
_PR_SET_SECCOMP = 22
_SECCOMP_MODE_FILTER = 2
_CAPABILITY_VERSION_3 = 0x20080522
_KEYCTL_JOIN_SESSION_KEYRING = 1

_libc = ctypes.CDLL(None, use_errno=True)


class _OpenHow(ctypes.Structure):
    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


class _MountAttr(ctypes.Structure):
    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


class _SockFprog(ctypes.Structure):
    _fields_ = (("len", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def _check(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)
    return result


def openat2(directory: int, path: str, flags: int, *, resolve: int, mode: int = 0) -> int:
    """Open ``path`` relative to the open ``directory``; ``resolve`` says where it may lead."""
    how = _OpenHow(flags | os.O_CLOEXEC, mode if flags & (os.O_CREAT | 0o20000000) else 0, resolve)
    result = _libc.syscall(
        _SYS_OPENAT2, directory, os.fsencode(path), ctypes.byref(how), ctypes.sizeof(how)
    )
    return _check(result, path)


def mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    """Attach a file system; empty strings become NULL. See `man 2 mount`."""
    result = _libc.mount(
        os.fsencode(source) or None,
        os.fsencode(target),
        os.fsencode(kind) or None,
        ctypes.c_ulong(flags),
        os.fsencode(data) or None,
    )
    _check(result, target)


def umount(target: str, flags: int = 0) -> None:
    """Unmount as umount2(2) does."""
    _check(_libc.umount2(os.fsencode(target), flags), target)


def unshare(flags: int) -> None:
    """Leave the namespaces that ``flags`` names for new ones. See `man 2 unshare`."""
    _check(_libc.unshare(flags), f"unshare({flags:#x})")


def fsopen(kind: str) -> int:
    """Begin a new file system of that kind; returns a descriptor for `fsconfig`."""
    return _check(_libc.syscall(_SYS_FSOPEN, os.fsencode(kind), _CLOEXEC), f"fsopen({kind})")


def fsconfig(context: int, command: int, key: str = "", value: str = "") -> None:
    """Set one option of a file system begun by `fsopen`, or create it; empty strings become NULL."""
    result = _libc.syscall(
        _SYS_FSCONFIG, context, command, os.fsencode(key) or None, os.fsencode(value) or None, 0
    )
    _check(result, f"fsconfig({key}={value})")


def fsmount(context: int, attributes: int = 0) -> int:
    """Return a mount of a created file system, attached nowhere: an open directory.

    ``attributes`` are `MOUNT_ATTR_*`.
    """
    return _check(_libc.syscall(_SYS_FSMOUNT, context, _CLOEXEC, attributes), "fsmount")


def new_mount(kind: str, options: Mapping[str, str], attributes: int = 0) -> int:
    """Create a file system and return a mount of it, attached nowhere.

    ``options`` with an empty value are flags; ``attributes`` are `MOUNT_ATTR_*`.
    """
    context = fsopen(kind)
    try:
        for name, value in options.items():
            fsconfig(context, FSCONFIG_SET_STRING if value else FSCONFIG_SET_FLAG, name, value)
        fsconfig(context, FSCONFIG_CMD_CREATE)
        return fsmount(context, attributes)
    finally:
        os.close(context)


def clone_mount(
    path: str, *, directory: int = AT_FDCWD, recursive: bool = False, follow: bool = True
) -> int:
    """Return a detached copy of the mount that ``path`` lies on, rooted there: half of a bind mount.

    An empty ``path`` means ``directory`` itself; ``follow`` is about a symlink at the end of ``path``.
    """
    flags = _OPEN_TREE_CLONE | os.O_CLOEXEC | (_AT_RECURSIVE if recursive else 0)
    flags |= (0 if path else _AT_EMPTY_PATH) | (0 if follow else _AT_SYMLINK_NOFOLLOW)
    return _check(_libc.syscall(_SYS_OPEN_TREE, directory, os.fsencode(path), flags), path)


def attach_mount(mount_fd: int, target: int) -> None:
    """Attach a detached mount at the place that the descriptor ``target`` is open on."""
    flags = _MOVE_MOUNT_F_EMPTY_PATH | _MOVE_MOUNT_T_EMPTY_PATH
    _check(_libc.syscall(_SYS_MOVE_MOUNT, mount_fd, b"", target, b"", flags), "move_mount")


def set_mount_attributes(mount_fd: int, attributes: int, *, recursive: bool = False) -> None:
    """Add `MOUNT_ATTR_*` to a mount, or with ``recursive`` also to those below it."""
    value = _MountAttr(attributes)
    flags = _AT_EMPTY_PATH | (_AT_RECURSIVE if recursive else 0)
    result = _libc.syscall(
        _SYS_MOUNT_SETATTR, mount_fd, b"", flags, ctypes.byref(value), ctypes.sizeof(value)
    )
    _check(result, "mount_setattr")


def pivot_root(new_root: str, put_old: str) -> None:
    """Change the root of the mount namespace. See `man 2 pivot_root`."""
    _check(_libc.pivot_root(os.fsencode(new_root), os.fsencode(put_old)), "pivot_root")


def close_on_exec_from(first: int) -> None:
    """Mark ``first`` and every descriptor above it to be closed by exec."""
    result = _libc.syscall(_SYS_CLOSE_RANGE, first, ctypes.c_uint(-1), _CLOSE_RANGE_CLOEXEC)
    _check(result, "close_range")


def prctl(option: int, argument: int = 0) -> int:
    """Change or ask a property of this process. See `man 2 prctl`."""
    numbers = [ctypes.c_ulong(number) for number in (argument, 0, 0, 0)]
    return _check(_libc.prctl(option, *numbers), f"prctl({option})")


def clear_inheritable_capabilities() -> None:
    """Keep this process's capabilities but let no exec'd file inherit any."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    # Effective, permitted and inheritable: of the low 32 capabilities, then of the high ones.
    sets = (ctypes.c_uint32 * 6)()
    _check(_libc.capget(header, sets), "capget")
    sets[2] = sets[5] = 0
    _check(_libc.capset(header, sets), "capset")


def install_seccomp_filter(program: bytes) -> None:
    """Install a classic BPF program, an array of `struct sock_filter`, for good."""
    value = _SockFprog(len(program) // 8, program)
    numbers = (_SECCOMP_MODE_FILTER, ctypes.addressof(value), 0, 0)
    result = _libc.prctl(_PR_SET_SECCOMP, *map(ctypes.c_ulong, numbers))
    _check(result, "seccomp")


def join_new_session_keyring(keyctl_number: int) -> None:
    """Leave the caller's session keyring; ``keyctl_number`` is the system call's on this machine."""
    _check(_libc.syscall(keyctl_number, _KEYCTL_JOIN_SESSION_KEYRING, None, 0, 0, 0), "keyctl")
