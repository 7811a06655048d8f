"""The launcher's side: the loop that takes requests, and the supervisor of one command."""

from __future__ import annotations

import errno
import gc
import os
import pickle
import select
import signal
import socket
import sys
from collections.abc import Iterable
from contextlib import suppress
from typing import NoReturn

from wcbuild import kernel
from wcbuild.sandbox import seccomp
from wcbuild.sandbox.errors import SetupError
from wcbuild.sandbox.identity import IdentityKind
from wcbuild.sandbox.inside import Stub
from wcbuild.sandbox.launcher import Request
from wcbuild.sandbox.limits import Limits
from wcbuild.sandbox.namespaces import Command, Doing, become

_REQUEST_FDS = 5
_REPORT_BYTES = 1 << 14
_FIELD_CHARS = 1000


def serve(server: socket.socket) -> None:
    """Start a supervisor per request until the other end of ``server`` is closed; then end them."""
    _stand_alone(server)
    while True:
        message, handles, _, _ = socket.recv_fds(server, 16, _REQUEST_FDS)
        if not message:
            break
        try:
            pid = os.fork()
        except OSError as error:
            os.write(handles[1], f"error\0start a process\0{error.strerror}".encode())
        else:
            if pid == 0:
                server.close()
                _supervise(*handles)
        for handle in handles:
            os.close(handle)
    os.killpg(0, signal.SIGTERM)
    with suppress(ChildProcessError):
        os.wait()  # as SIGCHLD is ignored, this returns when the last one is gone


def _stand_alone(server: socket.socket) -> None:
    """Share nothing with the process that we were forked from but the socket."""
    os.setsid()  # Ctrl-C is for the main process, which decides what it means
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # supervisors are reaped by the kernel
    # For supervisors it means to kill their command; until there is one it waits.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    keep = server.fileno()
    os.closerange(3, keep)
    os.closerange(keep + 1, os.sysconf("SC_OPEN_MAX"))
    os.chdir("/")
    gc.disable()  # it would touch, and so copy, every page that processes here share
    machine = os.uname().machine
    if seccomp.supported(machine):
        for fake_root in (False, True):
            seccomp.compile_filter(machine, default=True, fake_root=fake_root)
    # Whatever a sandbox's process needs is imported by now. From here on an import could only come
    # from the root file system of an image, so there are no more imports.
    sys.meta_path.clear()


def _supervise(memory: int, control_fd: int, *streams: int) -> NoReturn:
    """Run one command and report how it ended; never returns."""
    control = socket.socket(fileno=control_fd)
    reply: tuple[object, ...] = ()
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGTERM)
        with open(memory, "rb") as file:
            file.seek(0)
            request = pickle.load(file)  # noqa: S301 - our own process wrote it
        reply = _run(request, streams, control)
    except SetupError as error:
        reply = ("error", error.operation, error.reason, error.hint)
    except BaseException as error:  # noqa: BLE001 - the other side must hear of everything
        reply = ("error", "supervise the command", repr(error))
    finally:
        with suppress(OSError):
            control.send(_message(reply))
        os._exit(0)


def _run(request: Request, streams: tuple[int, ...], control: socket.socket) -> tuple[object, ...]:
    limits = Limits(request.spec)
    limits.make()
    try:
        report, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        kernel.unshare(kernel.CLONE_NEWPID)
        pid = os.fork()
        if pid == 0:
            control.close()
            report.close()
            _become(request, streams, theirs, limits)
        signal.signal(signal.SIGTERM, lambda *_: os.kill(pid, signal.SIGKILL))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        theirs.close()
        for stream in streams:
            os.close(stream)
        problem, stubs = _watch(pid, report, control)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        out_of_memory = limits.out_of_memory()
    finally:
        limits.remove()
    # The last first: a stub may lie in a directory that is one.
    for stub in reversed(stubs):
        stub.remove()
    if problem:
        return ("error", *problem.split("\0"))
    if status < 0:
        return ("exit", 128 - status, -status, int(out_of_memory))
    return ("exit", status, 0, int(out_of_memory))


def _watch(pid: int, report: socket.socket, control: socket.socket) -> tuple[str, list[Stub]]:
    """Wait until process ``pid`` has ended; kill it when the other end of ``control`` says so."""
    problem, stubs = "", list[Stub]()
    ended = os.pidfd_open(pid)
    poll = select.poll()
    for handle in (ended, report.fileno(), control.fileno()):
        poll.register(handle, select.POLLIN)
    while True:
        ready = {handle for handle, _ in poll.poll()}
        if report.fileno() in ready:
            message, handles, _, _ = socket.recv_fds(report, _REPORT_BYTES, 1)
            text = message.decode("utf-8", "surrogateescape")
            if handles:
                stubs.append(Stub(handles[0], text))
            elif text:
                problem = text
            else:
                poll.unregister(report)
            continue  # what was reported is read before the end is noticed
        if control.fileno() in ready:
            os.kill(pid, signal.SIGKILL)
            poll.unregister(control)
        if ended in ready:
            return problem, stubs


def _become(
    request: Request, streams: tuple[int, ...], report: socket.socket, limits: Limits
) -> NoReturn:
    """Become the command, or say over ``report`` why not. Exec closes ``report``."""
    doing = Doing()

    def report_stub(stub: Stub) -> None:
        socket.send_fds(report, [os.fsencode(stub.name)], [stub.parent])

    try:
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        command = Command(
            request=request,
            resolv_conf=_resolv_conf(),
            filter=_filter(request),
            join_limits=limits.join,
            report_stub=report_stub,
        )
        become(command, doing)
    except SetupError as error:
        problem = (error.operation, error.reason, error.hint)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        problem = (doing.what, reason, _hint(doing.what, error))
    except BaseException as error:  # noqa: BLE001 - the other side must hear of everything
        problem = (doing.what, repr(error), "")
    finally:
        with suppress(OSError):
            report.send(_message(problem))
        os._exit(1)


def _resolv_conf() -> bytes:
    try:
        with open("/etc/resolv.conf", "rb") as file:
            return file.read(1 << 16)
    except OSError:
        return b""


def _message(fields: Iterable[object]) -> bytes:
    """Return fields with a zero byte between them; one in a field is spelled, and a long field cut."""
    texts = (str(field)[:_FIELD_CHARS].replace("\0", "\\0") for field in fields)
    return "\0".join(texts).encode("utf-8", "surrogateescape")


def _hint(operation: str, error: OSError) -> str:
    """Say what may help where the kernel's answer alone does not."""
    if operation == "mount /proc" and error.errno == errno.EPERM:
        return "an outer container hides parts of /proc; start it with systempaths=unconfined"
    if operation.startswith('mount "') and error.errno == errno.EROFS:
        return "it lies in a read-only mount, which has no such place; give that one rw, or make the place"
    if error.errno == errno.ENOSYS:
        return "sandboxes need Linux 5.12 or newer"
    return ""


def _filter(request: Request) -> bytes:
    default = not request.spec.insecure
    fake_root = request.identity.kind is IdentityKind.SINGLE
    if not (default or fake_root):
        return b""
    machine = os.uname().machine
    if not seccomp.supported(machine):
        raise SetupError("filter system calls", f"there is no table of system calls for {machine}")
    return seccomp.compile_filter(machine, default=default, fake_root=fake_root)
