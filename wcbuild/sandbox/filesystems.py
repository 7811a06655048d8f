"""What a sandbox's tree is made of: its root, and the kernel's file systems in it.

Everything is attached by descriptor, never by path, so that no symlink of an image can send a mount
elsewhere. `/proc`, `/sys` and `/dev` must be real directories of the image or be missing.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from wcbuild import kernel, overlayfs
from wcbuild.kernel import (
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_RDONLY,
    MOUNT_ATTR_STRICTATIME,
    MS_NODEV,
)
from wcbuild.sandbox.base import RootMount

_PLAIN = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC

_DEVICES = {
    "null": (1, 3),
    "zero": (1, 5),
    "full": (1, 7),
    "random": (1, 8),
    "urandom": (1, 9),
    "tty": (5, 0),
}
_LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
    "ptmx": "pts/ptmx",
}
_TTY_GROUP = "5"

_MASKED_IN_PROC = (
    "acpi",
    "asound",
    "interrupts",
    "kcore",
    "keys",
    "latency_stats",
    "sched_debug",
    "scsi",
    "timer_list",
    "timer_stats",
)
_READ_ONLY_IN_PROC = ("bus", "fs", "irq", "sys", "sysrq-trigger")
_MASKED_IN_SYS = ("devices/virtual/powercap", "firmware")
_CPUS = "devices/system/cpu"


def mount_root(root: RootMount, *, read_only: bool, devices: bool) -> int:
    """Attach the root file system in this mount namespace and return its descriptor.

    Without ``devices`` the nodes in it cannot be opened: a command may make some for its image, but must
    not reach the machine's disks with them.
    With ``read_only`` what is written goes to a tmpfs, so that mount points can be made; whoever is done
    with that makes the root read-only in earnest.
    """
    flags = 0 if devices else MS_NODEV
    if read_only or root.upper is None:
        layers = root.lower if root.upper is None else (root.upper, *root.lower)
        # By descriptor from here on, for the scratch directories will cover one of them.
        pinned = tuple(Path(f"/proc/self/fd/{_open_directory(str(path))}") for path in layers)
        upper, work = _scratch_directories(layers[0])
        overlayfs.mount(upper, lower=pinned, upper=upper, work=work, flags=flags)
        return _open_directory(str(upper))
    if root.lower:
        overlayfs.mount(root.upper, lower=root.lower, upper=root.upper, work=root.work, flags=flags)
        return _open_directory(str(root.upper))
    place = _open_directory(str(root.upper))
    mount = kernel.clone_mount(str(root.upper))
    if not devices:
        kernel.set_mount_attributes(mount, MOUNT_ATTR_NODEV)
    kernel.attach_mount(mount, place)
    os.close(place)
    return mount


def _scratch_directories(place: Path) -> tuple[Path, Path]:
    scratch = _new("tmpfs", {"mode": "0755"})
    kernel.attach_mount(scratch, _open_directory(str(place)))
    for name in ("upper", "work"):
        os.mkdir(name, 0o755, dir_fd=scratch)
    return place / "upper", place / "work"


def mount_proc(place: int, *, masked: bool, null: int) -> int:
    """Attach a fresh procfs; ``masked`` hides or write-protects what tells about the machine."""
    proc = _new("proc", {}, _PLAIN)
    kernel.attach_mount(proc, place)
    if masked:
        _hide(proc, _MASKED_IN_PROC, null)
        for name in _READ_ONLY_IN_PROC:
            with suppress(FileNotFoundError):
                target = _open(proc, name)
                clone = kernel.clone_mount("", directory=target)
                kernel.set_mount_attributes(clone, MOUNT_ATTR_RDONLY)
                kernel.attach_mount(clone, target)
    return proc


def mount_sys(place: int, *, masked: bool, null: int) -> None:
    """Attach sysfs and the sandbox's own view of cgroups."""
    attributes = _PLAIN | (MOUNT_ATTR_RDONLY if masked else 0)
    try:
        sys = _new("sysfs", {}, attributes)
    except PermissionError:
        # A user namespace may mount sysfs only for a network namespace of its own.
        sys = kernel.clone_mount("/sys", recursive=True)
        kernel.set_mount_attributes(sys, _PLAIN | MOUNT_ATTR_RDONLY, recursive=True)
    kernel.attach_mount(sys, place)
    if os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
        # Refused where an outer container hides part of it; then what /sys has is read-only anyway.
        with suppress(OSError):
            cgroup = _new("cgroup2", {}, attributes)
            kernel.attach_mount(cgroup, _open(sys, "fs/cgroup"))
    if masked:
        _hide(sys, (*_MASKED_IN_SYS, *_throttles(sys)), null)


def _throttles(sys: int) -> Iterator[str]:
    with suppress(OSError):
        handle = os.open(_CPUS, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=sys)
        names = os.listdir(handle)
        os.close(handle)
        yield from (
            f"{_CPUS}/{name}/thermal_throttle"
            for name in names
            if name.startswith("cpu") and name[3:].isdecimal()
        )


def _hide(root: int, paths: tuple[str, ...], null: int) -> None:
    """Cover directories with an empty tmpfs and files with /dev/null."""
    empty = -1
    for path in paths:
        try:
            target = _open(root, path)
        except FileNotFoundError:
            continue
        if not stat.S_ISDIR(os.stat(target).st_mode):
            cover = kernel.clone_mount("", directory=null)
        elif empty < 0:
            cover = empty = _new("tmpfs", {"size": "4k"}, _PLAIN | MOUNT_ATTR_RDONLY)
        else:
            cover = kernel.clone_mount("", directory=empty)
        kernel.attach_mount(cover, target)


def mount_dev(place: int, *, tty_group: bool, shm_size: int) -> int:
    """Attach a small /dev; return the descriptor of its null device.

    Its nodes are the machine's own, each a mount, so that nodes which a command makes beside them cannot
    be opened.
    """
    attributes = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_STRICTATIME
    dev = _new("tmpfs", {"mode": "0755", "size": "64m"}, attributes)
    kernel.attach_mount(dev, place)
    for name, (major, minor) in _DEVICES.items():
        os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666, dir_fd=dev))
        node = kernel.clone_mount(f"/dev/{name}")
        found = os.stat(node)
        if not stat.S_ISCHR(found.st_mode) or found.st_rdev != os.makedev(major, minor):
            raise OSError(errno.ENODEV, f"the machine's /dev/{name} is not that device")
        kernel.attach_mount(node, _open(dev, name))
        os.close(node)
    for name, target in _LINKS.items():
        os.symlink(target, name, dir_fd=dev)
    pts = {"newinstance": "", "ptmxmode": "0666", "mode": "0620"}
    if tty_group:
        pts["gid"] = _TTY_GROUP
    shm = {"mode": "1777", "size": str(shm_size)}
    for name, kind, options, flags in (
        ("pts", "devpts", pts, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC),
        ("shm", "tmpfs", shm, _PLAIN),
        ("mqueue", "mqueue", {}, _PLAIN),
    ):
        os.mkdir(name, 0o755, dir_fd=dev)
        mount = _new(kind, options, flags)
        kernel.attach_mount(mount, _open(dev, name))
        os.close(mount)
    return _open(dev, "null")


def _new(kind: str, options: Mapping[str, str], attributes: int = 0) -> int:
    # The source is what df and mount print first.
    return kernel.new_mount(kind, {"source": kind, **options}, attributes)


def _open(directory: int, path: str) -> int:
    return os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)


def _open_directory(path: str) -> int:
    return os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
