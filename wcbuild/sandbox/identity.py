"""Become root once, so that everything below can believe that it is.

real root                     its own mount namespace, nothing else changes
root asking for `--userns`    a user namespace in which every id keeps its number
a user with a subuid range    a user namespace: 0 is the user, 1 and up are the range (newuidmap)
any other user                a user namespace with one id; ownership calls are answered with
                              success by a system-call filter (`wcbuild.sandbox.seccomp`)
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum

from wcbuild.kernel import CLONE_NEWNS, CLONE_NEWUSER, MS_REC, MS_SLAVE, mount, unshare

_FIRST_USER_NAMESPACE = "user:[4026531837]"


class IdentityKind(StrEnum):
    """How far this process's being root goes."""

    ROOT = "root"
    RANGE = "range"
    SINGLE = "single"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who this process is, after `become_root`."""

    kind: IdentityKind
    userns: bool = False
    """In a user namespace that is not the machine's first: no device nodes, overlay needs `userxattr`."""
    reason: str = ""
    """For `none`: what was refused. For `single`: why there is no range."""
    hint: str = ""
    """What allows it."""

    @property
    def full_ownership(self) -> bool:
        """Say whether files can get any owner. If not, all belong to root."""
        return self.kind in {IdentityKind.ROOT, IdentityKind.RANGE}


def become_root(*, want_userns: bool = False) -> Identity:
    """Enter the namespaces in which this process may mount; call it once, with a single thread.

    Mounts made from now on are invisible outside and vanish with the process. Where the kernel
    refuses, the identity is `none`: everything but running commands still works.
    """
    if not want_userns and os.geteuid() == 0:
        # Root without CAP_SYS_ADMIN, as in most containers, is refused and goes the longer way.
        with suppress(PermissionError):
            unshare(CLONE_NEWNS)
            return _identity("")
    return _enter_user_namespace()


def _enter_user_namespace() -> Identity:
    uid, gid = os.geteuid(), os.getegid()
    mapper = _Mapper(uid)
    try:
        unshare(CLONE_NEWUSER | CLONE_NEWNS)
    except OSError as error:
        mapper.dismiss()
        return _refused("create a user namespace", error)
    problem = mapper.map(os.getpid())
    try:
        # The mapper may have written one map before it failed, and a map can be written only once.
        if not _read("/proc/self/uid_map"):
            _write("/proc/self/uid_map", f"0 {uid} 1")
        if not _read("/proc/self/gid_map"):
            _write("/proc/self/setgroups", "deny")
            _write("/proc/self/gid_map", f"0 {gid} 1")
    except OSError as error:
        return _refused("map user ids", error)
    return _identity(problem)


def _identity(problem: str) -> Identity:
    """Keep our mounts to ourselves, and look at what we have become."""
    try:
        # Slave: mounts and unmounts of the machine still reach us, ours never leave.
        mount("", "/", "", MS_REC | MS_SLAVE)
    except OSError as error:
        return _refused("mount in a user namespace", error)
    userns = os.readlink("/proc/self/ns/user") != _FIRST_USER_NAMESPACE
    if not userns:
        return Identity(kind=IdentityKind.ROOT)
    if min(_mapped("/proc/self/uid_map"), _mapped("/proc/self/gid_map")) > 1:
        return Identity(kind=IdentityKind.RANGE, userns=True)
    return Identity(
        kind=IdentityKind.SINGLE,
        userns=True,
        reason=problem,
        hint="give the user ranges in /etc/subuid and /etc/subgid, and install newuidmap",
    )


def _mapped(path: str) -> int:
    return sum(int(line.split()[2]) for line in _read(path).splitlines())


class _Mapper:
    """A child outside the new user namespace, for only from there can more than one id be mapped."""

    def __init__(self, uid: int) -> None:
        to_child, self._to_child = os.pipe()
        self._from_child, from_child = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            try:
                os.close(self._to_child)
                target = os.read(to_child, 32).decode()
                if target:
                    problem = _map_all(target) if uid == 0 else _map_range(target, uid)
                    os.write(from_child, problem.encode()[:4096])
            except OSError as error:
                os.write(from_child, str(error).encode()[:4096])
            finally:
                os._exit(0)
        os.close(to_child)
        os.close(from_child)

    def map(self, pid: int) -> str:
        """Have the ids of process ``pid`` mapped; return what went wrong, or nothing."""
        os.write(self._to_child, str(pid).encode())
        problem = os.read(self._from_child, 4096).decode(errors="replace")
        self.dismiss()
        return problem

    def dismiss(self) -> None:
        """Let the child end."""
        os.close(self._to_child)
        os.close(self._from_child)
        os.waitpid(self._pid, 0)


def _map_all(target: str) -> str:
    """As root: map every id that we have to itself."""
    for name in ("uid_map", "gid_map"):
        entries = [line.split() for line in _read(f"/proc/self/{name}").splitlines()]
        lines = "".join(f"{inside} {inside} {count}\n" for inside, _, count in entries)
        _write(f"/proc/{target}/{name}", lines)
    return ""


def _map_range(target: str, uid: int) -> str:
    """As a user: map the ranges that the administrator gave us, by the setuid helpers."""
    jobs = []
    for tool, path, own in (
        ("newuidmap", "/etc/subuid", uid),
        ("newgidmap", "/etc/subgid", os.getegid()),
    ):
        arguments = ["0", str(own), "1"]
        inside = 1
        for start, count in _ranges(path, uid):
            arguments += [str(inside), str(start), str(count)]
            inside += count
        if inside == 1:
            return f"{path} has no range for this user"
        program = _find_program(tool)
        if not program:
            return f"{tool} is not installed"
        jobs.append((tool, program, arguments))
    for tool, program, arguments in jobs:
        reader, writer = os.pipe()
        actions = [(os.POSIX_SPAWN_DUP2, writer, 2), (os.POSIX_SPAWN_CLOSE, writer)]
        argv = [tool, target, *arguments]
        pid = os.posix_spawn(program, argv, {"LC_ALL": "C"}, file_actions=actions)
        os.close(writer)
        said = os.read(reader, 1024).decode(errors="replace").strip()
        os.close(reader)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if status != 0:
            return f"{tool} failed: {said or status}"
    return ""


def _ranges(path: str, uid: int) -> list[tuple[int, int]]:
    """Return the (start, count) pairs that ``path`` gives to the user."""
    import pwd  # noqa: PLC0415 - only a user with ranges needs it

    names = {str(uid)}
    with suppress(KeyError):
        names.add(pwd.getpwuid(uid).pw_name)
    found = []
    with suppress(OSError):
        for line in _read(path).splitlines():
            name, _, rest = line.partition(":")
            start, _, count = rest.partition(":")
            if name in names and start.isdecimal() and count.isdecimal() and int(count):
                found.append((int(start), int(count)))
    return found


def _find_program(name: str) -> str:
    places = [*os.environ.get("PATH", "").split(":"), "/usr/bin", "/bin"]
    paths = (f"{place}/{name}" for place in places if place.startswith("/"))
    return next((path for path in paths if os.access(path, os.X_OK)), "")


def _refused(operation: str, error: OSError) -> Identity:
    reason = f"{operation}: {(error.strerror or str(error)).lower()}"
    return Identity(kind=IdentityKind.NONE, reason=reason, hint=_why_refused(error.errno or 0))


def _why_refused(number: int) -> str:
    """Look at the settings that are known to forbid user namespaces."""
    if _setting("user/max_user_namespaces") == "0":
        return "sysctl -w user.max_user_namespaces=15000 allows it"
    if _setting("kernel/unprivileged_userns_clone") == "0":
        return "sysctl -w kernel.unprivileged_userns_clone=1 allows it"
    if _setting("kernel/apparmor_restrict_unprivileged_userns") == "1":
        return "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0 allows it"
    if "Seccomp:\t2" in _read("/proc/self/status"):
        return (
            "a system-call filter forbids it, probably that of an outer container; "
            "start that container with --security-opt seccomp=unconfined"
        )
    if number in {errno.ENOSPC, errno.EUSERS}:
        return "too many user namespaces exist or are nested; raise user.max_user_namespaces"
    if number in {errno.EINVAL, errno.ENOSYS}:
        return "this kernel is built without user namespaces; run as root"
    return "a security module or a chroot may forbid it; run as root"


def _setting(name: str) -> str:
    try:
        return _read(f"/proc/sys/{name}").strip()
    except OSError:
        return ""


def _read(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read()


def _write(path: str, text: str) -> None:
    # One write(2): the kernel takes a map as a whole or not at all.
    handle = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(handle, text.encode())
    finally:
        os.close(handle)
