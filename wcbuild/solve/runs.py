"""RUN: a command in a sandbox, and the layer of what it changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import Event, Lock
from typing import TYPE_CHECKING

from registry.oci import chain
from wcbuild.errors import CancelledError, SandboxError, StepFailedError, blaming
from wcbuild.graph.ops import WINDOWS, InlineFile, RunOp, Step
from wcbuild.sandbox.base import ExitStatus, RootMount, RunSpec, Sandbox, SuppliedFile
from wcbuild.snapshot.base import Snapshot, Snapshotter
from wcbuild.solve.known import Known, Names
from wcbuild.solve.layers import Layers
from wcbuild.solve.mounts import Mounts, Surroundings
from wcbuild.solve.packing import Packer
from wcbuild.solve.results import BuiltLayer, FileSystem, Result, file_system

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

    from wcbuild.sandbox.wine.sandbox import WineSandbox

_TAIL_BYTES = 16 * 1024
_TAIL_LINES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds for each RUN; 0 is none."""

    memory: int = 0
    """Bytes."""
    cpus: float = 0.0
    pids: int = 0


class Runs:
    """Executes RUNs. Safe to use from several threads. ``wine`` runs what is of a Windows image."""

    def __init__(
        self,
        *,
        known: Known,
        layers: Layers,
        packer: Packer,
        snapshotter: Snapshotter,
        sandbox: Sandbox,
        wine: WineSandbox | None,
        limits: Limits,
        mounts: Mounts,
        cancel: Event,
    ) -> None:
        self._known = known
        self._layers = layers
        self._packer = packer
        self._snapshotter = snapshotter
        self._sandbox = sandbox
        self._wine = wine
        self._limits = limits
        self._mounts = mounts
        self._cancel = cancel
        self._pool: ThreadPoolExecutor | None = None
        self._unnamed: set[Snapshot] = set()
        self._lock = Lock()

    def check(self, op: RunOp) -> None:
        """As `Mounts.check`."""
        self._mounts.check(op)

    def run(
        self,
        step: Step,
        op: RunOp,
        inputs: tuple[Result, ...],
        output: Callable[[int, bytes], None],
    ) -> FileSystem:
        """Execute a RUN; its layer is packed while the next step runs.

        Raises:
            StepFailedError: its status is not 0.
            CancelledError, SandboxError
        """
        tail = _Tail()

        def both(stream: int, data: bytes) -> None:
            tail.add(data)
            output(stream, data)

        files = tuple(map(file_system, inputs))
        parent = files[0]
        mounts = self._mounts.presented(op, files, self._cancel, anew=step.no_cache)
        with mounts as given:
            snapshot = self._snapshotter.prepare(self._layers.snapshot(parent))
            self._unnamed.add(snapshot)
            root, spec = self._snapshotter.root(snapshot), self._spec(op, given)
            if op.os == WINDOWS:
                status, hives = self._run_windows(parent, root, spec, both)
            else:
                status, hives = self._sandbox.run(root, spec, both, cancel=self._cancel), {}
        if self._cancel.is_set():
            raise CancelledError
        if status.code:
            self._discard(snapshot)
            raise StepFailedError(
                step.label,
                " ".join(op.args),
                status.code,
                tail.text(),
                step.spans,
                out_of_memory=status.out_of_memory,
            )
        names = self._known.names(op, inputs)
        packed = self._pack_later(step, snapshot, names, parent, hives)
        return FileSystem(
            key=names.identity, parent=parent, layer=packed.result, snapshot=snapshot, os=parent.os
        )

    def _run_windows(
        self,
        parent: FileSystem,
        root: RootMount,
        spec: RunSpec,
        output: Callable[[int, bytes], None],
    ) -> tuple[ExitStatus, dict[str, bytes]]:
        """Run a command of a Windows image; return how it ended, and its layer's hives."""
        from wcbuild.solve import windows  # noqa: PLC0415 - most images are Linux's

        if self._wine is None:
            raise SandboxError("run a command of Windows", "there is nothing to run it with")
        kept = self._wine.keeping.registry
        keys = windows.earlier_keys(self._layers, parent) if kept else ()
        outcome = self._wine.run_step(root, spec, output, keys=keys, cancel=self._cancel)
        if outcome.status.code:
            return outcome.status, {}
        lost = windows.what_is_lost(outcome, registry_kept=kept)
        if lost:
            output(2, lost.encode("utf-8", "backslashreplace"))
        return outcome.status, windows.hives(outcome.registry) if kept else {}

    def _spec(self, op: RunOp, given: Surroundings) -> RunSpec:
        return RunSpec(
            args=op.args,
            verbatim=op.verbatim,
            env=(*op.env, *op.proxy_env, *given.env),
            cwd=op.cwd,
            user=op.user,
            network=op.network,
            hostname=op.hostname,
            insecure=op.insecure,
            mounts=tuple(given.mounts),
            files=(*map(_script, op.inline), *given.files),
            hosts=op.hosts,
            ulimits=op.ulimits,
            shm_size=op.shm_size,
            memory=self._limits.memory,
            cpus=self._limits.cpus,
            pids=self._limits.pids,
        )

    def _pack_later(
        self,
        step: Step,
        snapshot: Snapshot,
        names: Names,
        parent: FileSystem,
        hives: Mapping[str, bytes],
    ) -> Future[BuiltLayer]:
        """Pack what a RUN changed while the next step runs; its tree no longer changes."""
        with self._lock:
            if self._pool is None:
                from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - as in the solver

                # One thread: layers are packed in the order in which they were made, so a layer's
                # parent always has its diff_id by then.
                self._pool = ThreadPoolExecutor(1, "pack")
            return self._pool.submit(self._pack_snapshot, step, snapshot, names, parent, hives)

    def _pack_snapshot(
        self,
        step: Step,
        snapshot: Snapshot,
        names: Names,
        parent: FileSystem,
        hives: Mapping[str, bytes],
    ) -> BuiltLayer:
        changes = self._snapshotter.changes(snapshot)
        if parent.os == WINDOWS:
            from wcbuild.solve import windows  # noqa: PLC0415 - most images are Linux's

            below = self._layers.tree(parent, for_os=WINDOWS)
            changes = windows.with_records(changes, below)
        # A name that no Windows has is a command's doing.
        with blaming(*step.spans):
            layer, _ = self._packer.pack(changes, parent.os, hives)
        chain_id = chain.extend(parent.chain_id(), layer.diff_id)
        self._snapshotter.commit(snapshot, chain_id)
        self._unnamed.discard(snapshot)
        # Last: a key must never lead to a layer that is not there.
        self._known.remember(names, parent, layer)
        return layer

    def _discard(self, snapshot: Snapshot) -> None:
        self._snapshotter.remove(snapshot)
        self._unnamed.discard(snapshot)

    def close(self) -> None:
        """Wait for what is being packed, and remove the trees that no result stands on."""
        if self._pool is not None:
            self._pool.shutdown(wait=True)
        for snapshot in tuple(self._unnamed):
            self._discard(snapshot)


class _Tail:
    """The last lines of a command's output."""

    def __init__(self) -> None:
        self._data = bytearray()

    def add(self, data: bytes) -> None:
        """Append, and forget what is too old."""
        self._data += data[-_TAIL_BYTES:]
        if len(self._data) > 2 * _TAIL_BYTES:
            del self._data[:-_TAIL_BYTES]

    def text(self) -> str:
        """Return the last lines."""
        lines = self._data[-_TAIL_BYTES:].decode("utf-8", "replace").splitlines()
        return "\n".join(lines[-_TAIL_LINES:])


def _script(file: InlineFile) -> SuppliedFile:
    data = file.data.encode("utf-8", "surrogateescape")
    return SuppliedFile(f"/dev/pipes/{file.name}", data, file.mode)
