"""Process 1 of a sandbox, from its first instruction to the exec of the command.

It runs in a fresh process with one thread, already in a new pid namespace, and trusts nothing that the
root file system says. Nothing may be imported any more once the root has been entered: the modules
would come from the image. The launcher makes that impossible.
"""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import signal
import socket
import stat
import struct
import termios
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from wcbuild import kernel
from wcbuild.graph.ops import Network
from wcbuild.sandbox import filesystems, seccomp
from wcbuild.sandbox.base import RunSpec, SandboxMount, SuppliedFile
from wcbuild.sandbox.errors import SetupError
from wcbuild.sandbox.identity import IdentityKind
from wcbuild.sandbox.inside import Stub, make_directory, make_mount_point, open_inside, walk
from wcbuild.sandbox.launcher import Request
from wcbuild.sandbox.users import User, UserError, find_user

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP NET_BIND_SERVICE NET_RAW SYS_CHROOT MKNOD
# AUDIT_WRITE SETFCAP, by their numbers in linux/capability.h.
_KEPT_CAPABILITIES = frozenset({0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31})
_LAST_CAPABILITY = 63

_NOT_EXECUTABLE, _NOT_FOUND = 126, 127
_MAX_INTERPRETERS = 5  # one more than the kernel follows
_MAX_SHEBANG = 256

_INSECURE_DEVICES = tuple(
    f"/dev/{name}" for name in ("kmsg", "cuse", "fuse", "kvm", "net/tun", "loop-control")
)

_APT_RULES = (
    "/etc/apt/apt.conf.d",
    "/etc/apt/apt.conf.d/zz-wcbuild",
    b'APT::Sandbox::User "root";\n',
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What process 1 has to become."""

    request: Request
    resolv_conf: bytes
    filter: bytes
    """The system-call filter, or nothing."""
    join_limits: Callable[[], None]
    report_stub: Callable[[Stub], None]

    @property
    def read_only(self) -> bool:
        """Say whether the root stays as it is."""
        return self.request.spec.read_only_root or self.request.root.upper is None

    def make_mount_point(self, root: int, path: str, *, directory: bool) -> int:
        """Open ``path`` in the root; what has to be created for that is reported, to be removed."""
        place, stubs = make_mount_point(root, path, directory=directory)
        for stub in stubs:
            if not self.read_only:
                self.report_stub(stub)
        return place


class Doing:
    """Remembers what is being done, so that an error can say so."""

    what = "start"


def become(command: Command, doing: Doing) -> NoReturn:
    """Turn this process into the command. Descriptors 0, 1 and 2 are already the command's.

    Raises:
        SetupError, OSError: the sandbox could not be made; ``doing`` says at what.
    """
    spec = command.request.spec
    doing.what = "leave the caller's session"
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
    _reset_signals()
    os.setsid()
    if spec.terminal:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    doing.what = "apply limits"
    command.join_limits()
    doing.what = "create namespaces"
    kernel.unshare(
        kernel.CLONE_NEWNS
        | kernel.CLONE_NEWIPC
        | kernel.CLONE_NEWUTS
        | kernel.CLONE_NEWCGROUP
        | (kernel.CLONE_NEWNET if spec.network is Network.NONE else 0)
    )
    kernel.mount("", "/", "", kernel.MS_REC | kernel.MS_PRIVATE)
    socket.sethostname(spec.hostname)
    if spec.network is Network.NONE:
        _loopback_up()
    os.umask(0)  # what is made here gets exactly the mode that it is made with
    doing.what = "mount the root file system"
    root = filesystems.mount_root(
        command.request.root, read_only=command.read_only, devices=spec.insecure
    )
    _furnish(command, root, doing)
    doing.what = "user"
    user = _find_user(spec.user, root)
    doing.what = f'working directory "{spec.cwd}"'
    owner = (user.uid, user.gid) if command.request.identity.full_ownership else None
    cwd = make_directory(root, spec.cwd, owner)
    if not stat.S_ISDIR(os.stat(cwd).st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    doing.what = "make the root read-only"
    if command.read_only:
        kernel.set_mount_attributes(root, kernel.MOUNT_ATTR_RDONLY)
    doing.what = "enter the root file system"
    os.fchdir(root)
    kernel.pivot_root(".", ".")
    kernel.umount(".", kernel.MNT_DETACH)
    os.chdir("/")
    os.fchdir(cwd)
    environment = _environment(spec, user)
    candidates = _candidates(spec.args[0], environment)
    doing.what = "find the command"
    for candidate in candidates:
        _refuse_own_interpreter(candidate)
    doing.what = "drop privileges"
    _drop_privileges(command, user)
    doing.what = "run the command"
    _exec(spec.args, candidates, environment)


def _reset_signals() -> None:
    for number in signal.valid_signals():
        if signal.getsignal(number) is not signal.SIG_DFL:
            with suppress(OSError, ValueError):
                signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def _loopback_up() -> None:
    siocsifflags, iff_up = 0x8914, 1
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        fcntl.ioctl(handle, siocsifflags, struct.pack("16sH14x", b"lo", iff_up))


def _furnish(command: Command, root: int, doing: Doing) -> None:
    """Attach everything that the command sees besides its root."""
    spec, identity = command.request.spec, command.request.identity
    doing.what = "make mount points in the root file system"
    places = {}
    for name in ("dev", "proc", "sys"):
        places[name] = _own_directory(command, root, name)
    doing.what = "write the files that appear for the command only"
    own = _own_files(command, root)
    files = _file_mounts(command, (*own, *spec.files), places["dev"])
    doing.what = "mount /dev"
    null = filesystems.mount_dev(
        places["dev"],
        tty_group=identity.kind is not IdentityKind.SINGLE,
        shm_size=spec.shm_size,
    )
    doing.what = "mount /proc"
    proc = filesystems.mount_proc(places["proc"], masked=not spec.insecure, null=null)
    doing.what = "mount /sys"
    filesystems.mount_sys(places["sys"], masked=not spec.insecure, null=null)
    guarded = {os.stat(handle).st_dev for handle in (proc, walk(root, "sys"))}

    def attach_files(files: list[tuple[str, int]]) -> None:
        for path, handle in files:
            doing.what = f'mount "{path}"'
            _attach(command, root, path, handle, guarded)

    # What the step mounts may cover our own.
    attach_files(files[: len(own)])
    for mount in (*_machine_devices(), *spec.mounts) if spec.insecure else spec.mounts:
        doing.what = f'mount "{mount.target}"'
        handle = _detached(mount, root, devices=spec.insecure or mount.device)
        _attach(command, root, mount.target, handle, guarded)
    attach_files(files[len(own) :])


def _machine_devices() -> Iterator[SandboxMount]:
    """Yield the devices that only an insecure command sees, as far as the machine has them."""
    loops = sorted(Path("/dev").glob("loop[0-9]*"))
    for path in (*map(Path, _INSECURE_DEVICES), *loops):
        if path.is_char_device() or path.is_block_device():
            yield SandboxMount(target=str(path), source=path, device=True)


def _own_directory(command: Command, root: int, name: str) -> int:
    """Open or make a directory directly in the root; a symlink there is an attack."""
    try:
        place = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=root)
    except FileNotFoundError:
        place = command.make_mount_point(root, name, directory=True)
    if not stat.S_ISDIR(os.stat(place).st_mode):
        raise SetupError("root file system", f"/{name} is not a directory")
    return place


def _own_files(command: Command, root: int) -> list[SuppliedFile]:
    """Return the files that every command sees."""
    files = [
        SuppliedFile("/etc/resolv.conf", command.resolv_conf, 0o644),
        SuppliedFile("/etc/hosts", _hosts(command.request.spec), 0o644),
    ]
    if command.request.identity.kind is IdentityKind.SINGLE:
        directory, path, data = _APT_RULES
        with suppress(OSError):
            os.close(walk(root, directory))
            # apt asks whether its change of user happened; with one id it cannot.
            files.append(SuppliedFile(path, data, 0o644))
    return files


def _file_mounts(
    command: Command, files: tuple[SuppliedFile, ...], place: int
) -> list[tuple[str, int]]:
    """Return (path, detached mount) of files that we supply; ``place`` is used meanwhile."""
    options = {"source": "tmpfs", "mode": "0755"}
    store = kernel.new_mount("tmpfs", options, kernel.MOUNT_ATTR_NOSUID)
    kernel.attach_mount(store, place)  # only what is attached can be cloned
    mounts = []
    for number, supplied in enumerate(files):
        name = str(number)
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC
        handle = os.open(name, flags, supplied.mode, dir_fd=store)
        with open(handle, "wb") as file:
            file.write(supplied.data)
        if command.request.identity.full_ownership:
            os.chown(name, supplied.uid, supplied.gid, dir_fd=store)
            os.chmod(name, supplied.mode, dir_fd=store)  # a new owner clears setuid bits
        mount = kernel.clone_mount(name, directory=store)
        kernel.set_mount_attributes(mount, kernel.MOUNT_ATTR_RDONLY | kernel.MOUNT_ATTR_NODEV)
        mounts.append((supplied.path, mount))
    kernel.umount(f"/proc/self/fd/{store}", kernel.MNT_DETACH)
    return mounts


def _hosts(spec: RunSpec) -> bytes:
    lines = [f"127.0.0.1\tlocalhost {spec.hostname}", "::1\tlocalhost ip6-localhost ip6-loopback"]
    lines += [f"{address}\t{name}" for name, address in spec.hosts]
    return "".join(f"{line}\n" for line in lines).encode()


def _detached(mount: SandboxMount, root: int, *, devices: bool) -> int:
    if mount.source is None:
        options = {"source": "tmpfs"}
        options |= {"size": str(mount.size)} if mount.size else {}
        mode = _covered_mode(mount, root) if mount.mode is None else mount.mode
        options |= {} if mode is None else {"mode": f"{mode:o}"}
        handle = kernel.new_mount(
            "tmpfs", options, kernel.MOUNT_ATTR_NOSUID | kernel.MOUNT_ATTR_NODEV
        )
    elif mount.inside:
        try:
            place = open_inside(mount.source, mount.inside)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise SetupError(f'mount source "/{mount.inside}"', reason) from error
        handle = kernel.clone_mount("", directory=place, recursive=True)
        os.close(place)
    else:
        handle = kernel.clone_mount(str(mount.source), recursive=True, follow=False)
        if stat.S_ISLNK(os.stat(handle).st_mode):
            raise OSError(errno.ELOOP, f'the source "{mount.source}" is a symbolic link')
    attributes = kernel.MOUNT_ATTR_RDONLY if mount.read_only else 0
    attributes |= 0 if devices else kernel.MOUNT_ATTR_NODEV
    if attributes:
        kernel.set_mount_attributes(handle, attributes, recursive=True)
    return handle


def _covered_mode(mount: SandboxMount, root: int) -> int | None:
    """Return the mode of the directory that a mount is going to cover; None if there is none."""
    try:
        place = walk(root, mount.target)
    except FileNotFoundError:
        return None
    try:
        return stat.S_IMODE(os.stat(place).st_mode)
    finally:
        os.close(place)


def _attach(command: Command, root: int, target: str, mount: int, guarded: set[int]) -> None:
    directory = stat.S_ISDIR(os.stat(mount).st_mode)
    place = command.make_mount_point(root, target, directory=directory)
    found = os.stat(place)
    if found.st_dev in guarded:
        raise SetupError(f'mount "{target}"', "it leads into /proc or /sys")
    if stat.S_ISDIR(found.st_mode) is not directory:
        number = errno.ENOTDIR if directory else errno.EISDIR
        raise OSError(number, os.strerror(number))
    kernel.attach_mount(mount, place)


def _find_user(text: str, root: int) -> User:
    try:
        return find_user(text, lambda path: walk(root, path))
    except UserError as error:
        raise SetupError("user", str(error)) from None


def _environment(spec: RunSpec, user: User) -> dict[bytes, bytes]:
    """Return the command's whole environment; an entry without `=` is no variable."""
    environment = {}
    for entry in spec.env:
        name, equals, value = os.fsencode(entry).partition(b"=")
        if name and equals:
            environment[name] = value
    if not environment.get(b"HOME"):
        environment[b"HOME"] = os.fsencode(user.home)
    return environment


def _candidates(name: str, environment: dict[bytes, bytes]) -> list[str]:
    if "/" in name:
        return [name]
    path = os.fsdecode(environment.get(b"PATH", b"")) or DEFAULT_PATH
    return [f"{directory or '.'}/{name}" for directory in path.split(":")]


def _refuse_own_interpreter(path: str) -> None:
    """Refuse a command that is, or is a script for, a link of /proc: it could name our own program.

    Until exec has happened, `/proc/self/exe` is the interpreter that builds, on the host.
    """
    for _ in range(_MAX_INTERPRETERS):
        try:
            handle = kernel.openat2(
                kernel.AT_FDCWD,
                path,
                os.O_RDONLY | os.O_NONBLOCK,
                resolve=kernel.RESOLVE_NO_MAGICLINKS,
            )
        except OSError as error:
            if error.errno == errno.ELOOP:
                _fail(path, "permission denied", _NOT_EXECUTABLE)
            return
        with suppress(OSError), open(handle, "rb", buffering=0) as file:
            head = file.read(_MAX_SHEBANG) or b""
            if head.startswith(b"#!"):
                words = head[2:].split(b"\n")[0].split()
                if words:
                    path = os.fsdecode(words[0])
                    continue
        return


def _drop_privileges(command: Command, user: User) -> None:
    spec, kind = command.request.spec, command.request.identity.kind
    for name, soft, hard in spec.ulimits:
        _set_limit(name, soft, hard)
    for handle in (0, 1, 2):
        _give(handle, user)
    with suppress(OSError):  # over the quota of keys: the filter forbids keyctl anyway
        kernel.join_new_session_keyring(seccomp.keyctl_number())
    if kind is IdentityKind.SINGLE:
        if user.uid != 0:
            _alias(user)
    else:
        try:
            os.setgroups(user.groups)
            os.setresgid(user.gid, user.gid, user.gid)
        except OSError as error:
            raise _unmapped(spec.user, error) from error
    kernel.prctl(kernel.PR_CAP_AMBIENT, kernel.PR_CAP_AMBIENT_CLEAR_ALL)
    kernel.clear_inheritable_capabilities()
    if not spec.insecure:
        for number in range(_LAST_CAPABILITY):
            if number in _KEPT_CAPABILITIES:
                continue
            try:
                kernel.prctl(kernel.PR_CAPBSET_DROP, number)
            except OSError:
                break  # the first number that this kernel does not know
    os.umask(0o022)
    if command.filter:
        # While still privileged, for no_new_privs would disarm su and sudo. What is left of our
        # capabilities above the bounding set goes with exec.
        kernel.install_seccomp_filter(command.filter)
    if kind is not IdentityKind.SINGLE:
        try:
            os.setresuid(user.uid, user.uid, user.uid)
        except OSError as error:
            raise _unmapped(spec.user, error) from error
    # The change of user has cleared it.
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
    kernel.close_on_exec_from(3)


def _unmapped(user: str, error: OSError) -> SetupError:
    hint = "only ids within the ranges of /etc/subuid and /etc/subgid exist here"
    if error.errno != errno.EINVAL:
        hint = ""
    return SetupError(f'become user "{user}"', (error.strerror or str(error)).lower(), hint)


def _set_limit(name: str, soft: int, hard: int) -> None:
    number = getattr(resource, f"RLIMIT_{name.upper()}", None)
    if number is None:
        raise SetupError("ulimit", f"there is no limit named {name}")
    try:
        resource.setrlimit(number, (soft, hard))
    except (OSError, ValueError) as error:
        raise SetupError(f"ulimit {name}={soft}:{hard}", str(error)) from None


def _give(handle: int, user: User) -> None:
    """Let the user reopen its streams by /dev/stdout and the like."""
    mode = os.stat(handle).st_mode
    if stat.S_ISFIFO(mode) or os.isatty(handle):
        with suppress(OSError):
            os.fchown(handle, user.uid, -1)


def _alias(user: User) -> None:
    """With one id there is nobody to become; show ours under the number that was asked for."""
    kernel.unshare(kernel.CLONE_NEWUSER)
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{user.uid} 0 1"),
        ("gid_map", f"{user.gid} 0 1"),
    ):
        handle = os.open(f"/proc/self/{name}", os.O_WRONLY | os.O_CLOEXEC)
        os.write(handle, text.encode())
        os.close(handle)


def _exec(
    args: tuple[str, ...], candidates: list[str], environment: dict[bytes, bytes]
) -> NoReturn:
    """Run the first candidate that may be run, or end with a shell's 126 or 127.

    Raises:
        SetupError: no command can have these arguments and variables.
    """
    forbidden = False
    for path in candidates:
        try:
            os.execve(path, args, environment)  # noqa: S606 - there is no shell in between
        except PermissionError:
            forbidden = True
        except (FileNotFoundError, NotADirectoryError):
            if _exists(path):
                _fail(path, "no such file or directory (its interpreter or loader)", _NOT_FOUND)
        except ValueError:
            reason = "an argument or a variable has a zero byte in it"
            raise SetupError("run the command", reason) from None
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            if error.errno == errno.ENOEXEC:
                reason += (
                    f" (it is not for {os.uname().machine}, and no script that begins with #!)"
                )
            _fail(path, reason, _NOT_EXECUTABLE)
    if forbidden:
        _fail(args[0], "permission denied", _NOT_EXECUTABLE)
    if "/" in args[0]:
        _fail(args[0], "no such file or directory", _NOT_FOUND)
    _fail(args[0], "executable file not found in $PATH", _NOT_FOUND)


def _exists(path: str) -> bool:
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except OSError:
        return False


def _fail(name: str, reason: str, code: int) -> NoReturn:
    with suppress(OSError):
        os.write(2, f'exec: "{name}": {reason}\n'.encode("utf-8", "surrogateescape"))
    os._exit(code)
