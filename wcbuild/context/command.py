"""Running a command that can be cancelled, and that cannot say more than we want to hear."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from registry.threads import uninterrupted
from wcbuild.errors import CancelledError, WcbuildError

MAX_OUTPUT_BYTES = 256 * 1024 * 1024
"""What is read of a command's output: more than the list of all files of any repository."""

_MAX_REASON = 500
_ERRORS = ("fatal:", "error:", "ERROR:")
_TAIL_BYTES = 8192
_POLL_S = 0.1
_SHORT_S = 0.001
_END_S = 2.0


class CommandError(WcbuildError):
    """A command failed, or is not installed; ``reason`` is the last that it said."""

    def __init__(self, command: str, reason: str) -> None:
        super().__init__(command, reason)
        self.command = command
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.command}: {self.reason}"


def run(
    words: Sequence[str],
    environment: Mapping[str, str],
    folder: Path,
    stdin: bytes,
    cancel: threading.Event,
    *,
    inherited: Sequence[int] = (),
) -> bytes:
    """Run a command in ``folder`` with these variables and no others, and return its standard output.

    It has ended when this returns or raises, and whatever it started is killed. It gets descriptors that
    are ``inherited``, and the standard ones. An interrupt sets ``cancel``.

    Raises:
        CommandError: it ended with a status that is not 0, said too much, or is not installed.
        CancelledError: ``cancel`` was set.
    """
    return uninterrupted(
        lambda: _run(words, environment, folder, stdin, cancel, inherited=inherited),
        stop=cancel.set,
    )


def _run(
    words: Sequence[str],
    environment: Mapping[str, str],
    folder: Path,
    stdin: bytes,
    cancel: threading.Event,
    *,
    inherited: Sequence[int],
) -> bytes:
    import selectors  # noqa: PLC0415 - most builds run nothing
    import subprocess  # noqa: PLC0415 - see above

    source = os.memfd_create("stdin", os.MFD_CLOEXEC)
    with open(source, "r+b") as file:
        file.write(stdin)
        file.seek(0)
        try:
            process = subprocess.Popen(
                words,
                stdin=file,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=dict(environment),
                cwd=folder,
                pass_fds=inherited,
                # A group of its own: with it end the helpers that it starts.
                start_new_session=True,
            )
        except FileNotFoundError as error:
            reason = f'there is no "{words[0]}" on this machine; install it'
            raise CommandError(words[0], reason) from error
    output, tail = bytearray(), bytearray()
    with process, selectors.DefaultSelector() as selector:
        for stream, kept in ((process.stdout, output), (process.stderr, tail)):
            if stream is not None:
                selector.register(stream, selectors.EVENT_READ, kept)
        try:
            while selector.get_map():
                for key, _ in selector.select(_POLL_S):
                    _take(selector.unregister, key.fileobj, key.data)
                del tail[:-_TAIL_BYTES]
                if cancel.is_set():
                    raise CancelledError
                if len(output) > MAX_OUTPUT_BYTES:
                    raise CommandError(words[0], f"said more than {MAX_OUTPUT_BYTES} bytes")
            # It has closed both, so it is about to end.
            if not _has_ended(process.pid):
                raise CommandError(words[0], "closed its output and did not end")
        finally:
            # The group has its name until `wait`, even when nobody is in it any more.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            status = process.wait()
    if status:
        raise CommandError(words[0], _reason(bytes(tail), status))
    return bytes(output)


def _take(unregister: Callable[[Any], object], stream: Any, kept: bytearray) -> None:
    """Take what is there to be read."""
    data = os.read(stream.fileno(), 65536)
    if data:
        kept += data
    else:
        unregister(stream)


def _has_ended(pid: int) -> bool:
    """Say whether a process ends soon; it stays for somebody to wait for."""
    deadline = time.monotonic() + _END_S
    flags = os.WEXITED | os.WNOWAIT | os.WNOHANG
    while os.waitid(os.P_PID, pid, flags) is None:
        if time.monotonic() > deadline:
            return False
        time.sleep(_SHORT_S)
    return True


def _reason(tail: bytes, status: int) -> str:
    """Return what a command said of its failure, fit for one line.

    That is its last error, and the line before: what git says of ssh, or of a server, explains little
    without what these have said themselves.
    """
    said = (line.strip() for line in tail.decode("utf-8", "replace").splitlines())
    lines = [line for line in said if line and not line.startswith("hint:")]
    ends = [number for number, line in enumerate(lines) if line.startswith(_ERRORS)]
    end = ends[-1] if ends else len(lines) - 1
    # Some go on in the next line.
    found = lines[max(0, end - 1) : end + (2 if lines and lines[end].endswith(":") else 1)]
    words = [line.removeprefix("fatal: ").removeprefix("error: ") for line in found]
    text = "; ".join(words) or f"ended with status {status}"
    return "".join(letter if letter.isprintable() else " " for letter in text)[:_MAX_REASON]
