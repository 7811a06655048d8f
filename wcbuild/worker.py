"""A build in a process of its own, for Python programs.

A build has to be root in its own namespaces, which a process can become only while it has one thread,
and it forks; a caller's process is neither ours to change nor known to have one thread. So `build`
starts a worker, hands it the request, and receives events and the result.
"""

from __future__ import annotations

import dataclasses
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO

from wcbuild.builder import BuildRequest, BuildResult, plan_build, run_build
from wcbuild.buildplan import BuildPlan
from wcbuild.errors import WcbuildError
from wcbuild.interrupts import interrupt_when_told_to_end
from wcbuild.machine import Machine
from wcbuild.solve.events import Emit, Event
from wcbuild.store import default_root

_Result = BuildResult | BuildPlan
_Message = Event | _Result | Exception
_CALLS: Mapping[str, Callable[[BuildRequest, Machine, Emit], _Result]] = {
    "build": run_build,
    "plan": plan_build,
}


class WorkerDiedError(WcbuildError):
    """The worker ended without a result, by itself or because somebody killed it."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status

    def __str__(self) -> str:
        return f"the build's process ended unexpectedly with status {self.status}"


def build(request: BuildRequest, on_event: Emit | None = None) -> BuildResult:
    """Build an image and return what it is.

    Args:
        request: what to build. Relative paths are the caller's.
        on_event: called, in this thread, with each event of `wcbuild.solve.events` as it happens.

    Raises:
        WcbuildError, RegistryError: the build failed; no name was changed.
    """
    result = _call("build", request, on_event or _ignore)
    if not isinstance(result, BuildResult):
        raise TypeError(result)
    return result


def plan(request: BuildRequest) -> BuildPlan:
    """Say what `build` would do, and do nothing. Base images are looked up, not fetched.

    Raises:
        WcbuildError, RegistryError: it would fail before it did anything.
    """
    result = _call("plan", request, _ignore)
    if not isinstance(result, BuildPlan):
        raise TypeError(result)
    return result


def _call(name: str, request: BuildRequest, on_event: Emit) -> _Result:
    # Pickle is safe here: both ends are this program, and the pipes are theirs alone.
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    with subprocess.Popen(
        [sys.executable, "-m", "wcbuild.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        start_new_session=True,
    ) as worker:
        if worker.stdin is None or worker.stdout is None:
            raise AssertionError
        try:
            with worker.stdin as stdin:
                pickle.dump((name, _absolute(request)), stdin)
            return _receive(worker.stdout, on_event, worker.wait)
        except BaseException:
            # A callback that raised, or an interrupt: the build is no longer wanted.
            worker.terminate()
            worker.stdout.close()
            raise


def _absolute(request: BuildRequest) -> BuildRequest:
    root = request.root or default_root(os.environ)
    environment = request.registries.environment or dict(os.environ)
    return dataclasses.replace(
        request,
        root=Path(root).absolute(),
        registries=dataclasses.replace(request.registries, environment=environment),
    )


def _ignore(_: Event) -> None:
    return


def _receive(stream: IO[bytes], on_event: Emit, wait: Callable[[], int]) -> _Result:
    while True:
        try:
            message: _Message = pickle.load(stream)  # noqa: S301 - our own worker's
        except EOFError:
            raise WorkerDiedError(wait()) from None
        if isinstance(message, BuildResult | BuildPlan):
            return message
        if isinstance(message, Exception):
            raise message
        on_event(message)


def main() -> int:
    """Read a request from stdin, build, and write events and the result to stdout."""
    interrupt_when_told_to_end()
    output = os.fdopen(os.dup(1), "wb")
    # Nothing else may write between the messages.
    os.dup2(2, 1)

    def send(message: _Message) -> None:
        pickle.dump(message, output)
        output.flush()

    name, request = pickle.load(sys.stdin.buffer)  # noqa: S301 - from our own `_call`
    try:
        with Machine.start() as machine:
            send(_CALLS[name](request, machine, send))
    except Exception as error:  # noqa: BLE001 - the caller gets it
        send(error)
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
