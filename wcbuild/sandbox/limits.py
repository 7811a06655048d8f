"""Limits of one command: a control group of its own, version 1 or 2, wherever one can be made."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from contextlib import suppress

from wcbuild.errors import SandboxError
from wcbuild.sandbox.base import RunSpec
from wcbuild.sandbox.errors import SetupError

_PERIOD_US = 100_000
_HINT = "as root, or with a control group delegated to the user, limits can be set"


class Limits:
    """The control groups of one command; none if it has no limits."""

    def __init__(self, spec: RunSpec) -> None:
        self._wanted = _wanted(spec)
        self._groups: dict[str, str] = {}

    def make(self) -> None:
        """Create the groups.

        Raises:
            SetupError: a limit was asked for, and there is no place to set it.
        """
        for controller, (old, new) in self._wanted.items():
            try:
                self._groups[controller] = _make_group(controller)
                settings = new if _is_unified(self._groups[controller]) else old
                for name, value, needed in settings:
                    path = f"{self._groups[controller]}/{name}"
                    if needed or os.path.exists(path):
                        _write(path, value)
            except OSError as error:
                self.remove()
                reason = (error.strerror or str(error)).lower()
                raise SetupError(f"limit {controller}", reason, _HINT) from error

    def join(self) -> None:
        """Put the calling process into the groups."""
        for group in set(self._groups.values()):
            _write(f"{group}/cgroup.procs", "0")

    def out_of_memory(self) -> bool:
        """Say whether the kernel killed something in the group for lack of memory."""
        group = self._groups.get("memory")
        if group is None:
            return False
        with suppress(OSError):
            name = "memory.events" if _is_unified(group) else "memory.oom_control"
            for line in _read(f"{group}/{name}").splitlines():
                key, _, count = line.partition(" ")
                if key == "oom_kill":
                    return count != "0"
        return False

    def remove(self) -> None:
        """Delete the groups; every process in them has ended."""
        for group in set(self._groups.values()):
            for _ in range(50):
                try:
                    os.rmdir(group)
                except OSError as error:
                    if error.errno != errno.EBUSY:
                        break
                    time.sleep(0.01)  # the kernel is still taking the last process apart
                else:
                    break
        self._groups.clear()


def check(spec: RunSpec) -> None:
    """Say now what a command of these limits would say.

    Raises:
        SandboxError: a limit was asked for, and there is no place to set it.
    """
    limits = Limits(spec)
    try:
        limits.make()
    except SetupError as error:
        raise SandboxError(error.operation, error.reason, error.hint) from error
    limits.remove()


Setting = tuple[str, str, bool]
"""File, value, and whether it must be there."""


def _wanted(spec: RunSpec) -> dict[str, tuple[list[Setting], list[Setting]]]:
    """Return by controller what to write, in version 1 and in version 2."""
    wanted: dict[str, tuple[list[Setting], list[Setting]]] = {}
    if spec.memory:
        size = str(spec.memory)
        wanted["memory"] = (
            [("memory.limit_in_bytes", size, True), ("memory.memsw.limit_in_bytes", size, False)],
            [("memory.max", size, True), ("memory.swap.max", "0", False)],
        )
    if spec.cpus:
        quota = str(max(1000, round(spec.cpus * _PERIOD_US)))
        wanted["cpu"] = (
            [("cpu.cfs_period_us", str(_PERIOD_US), True), ("cpu.cfs_quota_us", quota, True)],
            [("cpu.max", f"{quota} {_PERIOD_US}", True)],
        )
    if spec.pids:
        wanted["pids"] = ([("pids.max", str(spec.pids), True)],) * 2
    return wanted


def _make_group(controller: str) -> str:
    """Create a group below the nearest of our own groups that lets us, and return its path."""
    name = f"wcbuild-{os.getpid()}"
    problem = OSError(errno.ENOENT, "no control group has this controller")
    for parent, unified in _places(controller):
        group = f"{parent}/{name}"
        try:
            if unified and controller not in _read(f"{parent}/cgroup.subtree_control").split():
                _write(f"{parent}/cgroup.subtree_control", f"+{controller}")
            with suppress(FileExistsError):
                os.mkdir(group)
        except OSError as error:
            problem = error
        else:
            return group
    raise problem


def _places(controller: str) -> Iterator[tuple[str, bool]]:
    """Yield our own groups that may have the controller, the innermost first."""
    for line in _read("/proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        unified = not controllers
        if not unified and controller not in controllers.split(","):
            continue
        for mount in _mounts(controller, unified=unified):
            at = path.rstrip("/")
            while True:
                if os.path.isdir(mount + at):
                    yield mount + at, unified
                if not at:
                    break
                at = at.rpartition("/")[0]


def _mounts(controller: str, *, unified: bool) -> Iterator[str]:
    for line in _read("/proc/self/mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        if kind == "cgroup2" if unified else kind == "cgroup" and controller in options.split(","):
            yield before.split(" ")[4]


def _is_unified(group: str) -> bool:
    return os.path.exists(f"{group}/cgroup.controllers")


def _read(path: str) -> str:
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return file.read()


def _write(path: str, text: str) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(handle, text.encode())
    finally:
        os.close(handle)
