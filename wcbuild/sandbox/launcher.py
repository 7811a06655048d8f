"""The launcher: a small process, forked before the first thread, that starts sandboxes for this one.

    this process, any thread      Launcher.request()    one message: a memfd holding the request, a control
      |                                                 socket, and the command's three streams
    launcher (one thread)         forks per request
      |
    supervisor (one per command)  watches the control socket; reports how the command ended
      |
    process 1 of the sandbox      becomes the command

Whoever dies takes everything below along: the launcher and each supervisor see their sockets close, and
a sandbox whose process 1 is killed has no other process left. `wcbuild.sandbox.supervisor` is the other
end.
"""

from __future__ import annotations

import os
import pickle
import select
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from threading import Event
from typing import Self

from wcbuild.errors import SandboxError
from wcbuild.sandbox.base import ExitStatus, RootMount, RunSpec
from wcbuild.sandbox.identity import Identity, IdentityKind

_CHUNK = 1 << 16
_REPLY_BYTES = 1 << 16
_CANCEL_POLL_MS = 30


@dataclass(frozen=True, slots=True)
class Request:
    """What a supervisor is asked to run."""

    root: RootMount
    spec: RunSpec
    identity: Identity


class Launcher:
    """The handle of the launcher process. Its methods may be called from any thread."""

    def __init__(self, server: socket.socket, pid: int) -> None:
        self._server = server
        self._pid = pid
        self._used = False

    @classmethod
    def start(cls) -> Self:
        """Fork the launcher; only while this process has a single thread."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        pid = os.fork()
        if pid == 0:
            try:
                ours.close()
                # Here and not above: the caller goes on while the launcher imports what it needs.
                from wcbuild.sandbox.supervisor import serve  # noqa: PLC0415

                serve(theirs)
            finally:
                os._exit(0)
        theirs.close()
        return cls(ours, pid)

    def request(self, payload: bytes, streams: tuple[int, int, int]) -> socket.socket:
        """Have a command started; return its control socket.

        Shutting the socket down for writing, or closing it, kills the command. It yields one reply.
        """
        self._used = True
        memory = os.memfd_create("request", os.MFD_CLOEXEC)
        control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with open(memory, "wb", closefd=False) as file:
                file.write(payload)
            socket.send_fds(self._server, [b"run"], [memory, theirs.fileno(), *streams])
        except OSError as error:
            control.close()
            raise SandboxError("ask the launcher", str(error)) from error
        finally:
            os.close(memory)
            theirs.close()
        return control

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the launcher and everything that it started."""
        self._server.close()
        if not self._used:
            # It has started nothing, and may still be busy getting ready to: nobody waits for that.
            os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)


class NamespaceSandbox:
    """Runs commands in namespaces of their own. See `wcbuild.sandbox.base.Sandbox`."""

    def __init__(self, launcher: Launcher, identity: Identity) -> None:
        self._launcher = launcher
        self._identity = identity

    def run(
        self,
        root: RootMount,
        spec: RunSpec,
        output: Callable[[int, bytes], None],
        *,
        cancel: Event | None = None,
    ) -> ExitStatus:
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        pipes = {1: os.pipe(), 2: os.pipe()}
        try:
            control = self._start(root, spec, (null, pipes[1][1], pipes[2][1]))
        except BaseException:
            for reader, _ in pipes.values():
                os.close(reader)
            raise
        finally:
            os.close(null)
            for _, writer in pipes.values():
                os.close(writer)
        with control:
            readers = {reader: stream for stream, (reader, _) in pipes.items()}
            try:
                _forward(control, readers, output, cancel)
            except BaseException:
                # Whatever the caller's output raised: the command must be dead before we return.
                _kill(control)
                _reply(control)
                raise
            finally:
                for reader in readers:
                    os.close(reader)
            return _status(_reply(control))

    def attach(
        self, root: RootMount, spec: RunSpec, stdin: int, stdout: int, stderr: int
    ) -> ExitStatus:
        """Run the command with these descriptors as its streams.

        With `RunSpec.terminal`, ``stdin`` is a terminal made for it: the command's session takes it over.
        """
        with self._start(root, spec, (stdin, stdout, stderr)) as control:
            try:
                return _status(control.recv(_REPLY_BYTES))
            except BaseException:
                _kill(control)
                _reply(control)
                raise

    def _start(
        self, root: RootMount, spec: RunSpec, streams: tuple[int, int, int]
    ) -> socket.socket:
        if self._identity.kind is IdentityKind.NONE:
            raise SandboxError("start", self._identity.reason, self._identity.hint)
        return self._launcher.request(pickle.dumps(Request(root, spec, self._identity)), streams)


def _forward(
    control: socket.socket,
    readers: dict[int, int],
    output: Callable[[int, bytes], None],
    cancel: Event | None,
) -> None:
    """Pass the command's output on until all who could write are gone."""
    poll = select.poll()
    for reader in readers:
        poll.register(reader, select.POLLIN)
    left = len(readers)
    timeout = None if cancel is None else _CANCEL_POLL_MS
    while left:
        for reader, _ in poll.poll(timeout):
            data = os.read(reader, _CHUNK)
            if data:
                output(readers[reader], data)
            else:
                poll.unregister(reader)
                left -= 1
        if cancel is not None and cancel.is_set():
            _kill(control)
            cancel = timeout = None


def _kill(control: socket.socket) -> None:
    control.shutdown(socket.SHUT_WR)


def _reply(control: socket.socket) -> bytes:
    return control.recv(_REPLY_BYTES)


def _status(reply: bytes) -> ExitStatus:
    """Understand a supervisor's reply."""
    kind, *fields = reply.decode("utf-8", "surrogateescape").split("\0")
    if kind == "exit":
        code, signal, out_of_memory = map(int, fields)
        return ExitStatus(code=code, signal=signal, out_of_memory=bool(out_of_memory))
    if kind == "error":
        raise SandboxError(*fields)
    raise SandboxError("wait for the command", "the launcher is gone")
