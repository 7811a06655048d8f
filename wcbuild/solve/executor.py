"""Doing one step: base images, what is fetched, file steps computed on headers, and RUN."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from threading import Event
from typing import assert_never

from registry.oci.descriptor import Descriptor
from wcbuild.errors import CancelledError, blaming
from wcbuild.graph.ops import (
    WINDOWS,
    ContextOp,
    CopyOp,
    GitOp,
    Graph,
    HttpOp,
    ImageOp,
    JoinedCopyOp,
    MkdirOp,
    RunOp,
    ScratchOp,
    Step,
)
from wcbuild.graph.reading import read_steps
from wcbuild.solve.cache import Cache
from wcbuild.solve.known import AnyCopyOp, BaseImages, Known, LayerOp, RemoteFiles
from wcbuild.solve.layers import Layers
from wcbuild.solve.packing import Packer
from wcbuild.solve.results import (
    BuiltLayer,
    FileSystem,
    OfferedFiles,
    Result,
    file_system,
    stacked,
)
from wcbuild.solve.runs import Runs
from wcbuild.tree.layers import EmptyTree


class StepExecutor:
    """Executes steps; what they give lies in the local store. Safe to use from several threads.

    ``remotes`` is asked when something has to be fetched. ``results`` are the steps whose files are
    wanted at the end; with ``pushed`` they are in a registry alone, and what it has may stay there, but
    with ``squash`` only of base images.
    """

    def __init__(
        self,
        *,
        known: Known,
        runs: Runs,
        packer: Packer,
        layers: Layers,
        cache: Cache,
        images: BaseImages,
        remotes: Callable[[], RemoteFiles],
        scratch: Callable[[], Path],
        cancel: Event,
        results: frozenset[int],
        pushed: bool,
        squash: bool,
    ) -> None:
        self._known = known
        self._runs = runs
        self._packer = packer
        self._layers = layers
        self._cache = cache
        self._images = images
        self._remotes = remotes
        self._scratch = scratch
        self._cancel = cancel
        self._results = results
        self._pushed = pushed
        self._squash = squash
        self.noted = known.noted
        """As `Known.noted`."""

    def find(self, step: Step, inputs: tuple[Result, ...]) -> Result | None:
        """Return the step's result if it can be had without doing it."""
        with blaming(*step.spans):
            return self._known.find(step, inputs)

    def settle(self, graph: Graph, known: Mapping[int, Result], *, dry: bool) -> Collection[int]:
        """Bring here what the steps that are not known will read, and what is wanted at the end.

        Return the steps whose results turn out to be lost. With ``dry`` nothing is brought here.
        """
        read = read_steps(graph, known)
        wanted = read_steps(graph, range(len(graph.steps)), self._results) - read
        for index in () if dry else sorted(read | wanted):
            step = graph.steps[index]
            if not isinstance(step.op, ImageOp) or index not in known:
                continue
            stays = self._pushed and index in wanted and self._images.may_stay(step.op.digest)
            with blaming(*step.spans):
                if not stays and not self._images.is_here(step.op.digest):
                    self._images.fetch(step.op.digest)

        def layers(indexes: Iterable[int]) -> list[Descriptor]:
            own = (_own_layer(graph.steps[each], known.get(each)) for each in indexes)
            return [layer.descriptor for layer in own if layer is not None]

        lost = self._cache.obtain(layers(read), dry=dry) | self._cache.obtain(
            layers(wanted), dry=dry, may_stay=self._pushed and not self._squash
        )
        if not lost:
            return ()
        own = {index: _own_layer(graph.steps[index], known[index]) for index in known}
        return [index for index, layer in own.items() if layer and layer.diff_id in lost]

    def check(self, step: Step, inputs: tuple[Result | None, ...]) -> None:
        """Refuse a RUN that requires what the build was not given, or a copy of what its context has not.

        Raises:
            MissingSecretError, PlaceError
        """
        with blaming(*step.spans):
            if isinstance(step.op, RunOp):
                self._runs.check(step.op)
            elif isinstance(step.op, AnyCopyOp):
                self._known.check(step.op, inputs[1:])

    def execute(
        self, step: Step, inputs: tuple[Result, ...], output: Callable[[int, bytes], None]
    ) -> tuple[Result, bool]:
        """Return the step's result, and whether it turned out to be known after all."""
        if self._cancel.is_set():
            raise CancelledError
        with blaming(*step.spans):
            return self._execute(step, inputs, output)

    def _execute(
        self, step: Step, inputs: tuple[Result, ...], output: Callable[[int, bytes], None]
    ) -> tuple[Result, bool]:
        op = step.op
        match op:
            case ScratchOp() | ContextOp():
                raise AssertionError(op)  # always found
            case ImageOp():
                self._images.fetch(op.digest)
                return stacked(self._images.layers(op.digest), op.platform.os), False
            case HttpOp() | GitOp():
                return OfferedFiles(tree=self._remotes().fetch(op, self._cancel)), False
            case RunOp() | MkdirOp() | CopyOp() | JoinedCopyOp():
                found = self._known.find(step, inputs, late=True)
                if found is not None:
                    return found, True
                return self._make(step, op, inputs, output)
            case _:
                assert_never(op)

    def _make(
        self,
        step: Step,
        op: LayerOp,
        inputs: tuple[Result, ...],
        output: Callable[[int, bytes], None],
    ) -> tuple[FileSystem, bool]:
        parent = file_system(inputs[0])
        match op:
            case RunOp():
                return self._runs.run(step, op, inputs, output), False
            case MkdirOp():
                from wcbuild.tree import place  # noqa: PLC0415 - a cached build places nothing

                tree = self._layers.tree(parent, for_os=op.os)
                layer, _ = self._packer.pack(place.mkdir(op, tree, mtime=self._packer.now()), op.os)
                return self._known.remember(self._known.names(op, inputs), parent, layer), False
            case CopyOp() | JoinedCopyOp():
                return self._copy(step, op, parent, inputs)
            case _:
                assert_never(op)

    def _copy(
        self, step: Step, op: AnyCopyOp, parent: FileSystem, inputs: tuple[Result, ...]
    ) -> tuple[FileSystem, bool]:
        from wcbuild.tree import place  # noqa: PLC0415 - a cached build places nothing

        first = op.parts[0] if isinstance(op, JoinedCopyOp) else op
        tree = EmptyTree() if first.link else self._layers.tree(parent, for_os=first.os)
        spools: list[Path] = []

        def scratch() -> Path:
            spools.append(self._scratch())
            return spools[-1]

        try:
            changes = place.copy(
                op,
                tree,
                *(self._known.source_tree(source, first.os) for source in inputs[1:]),
                mtime=self._packer.now(),
                scratch=scratch,
            )
            if not first.link and first.os != WINDOWS:
                # Of files of Windows, records say times of their own, and streams belong to them.
                changes = self._packer.without_unchanged(changes, tree)
            layer, entries = self._packer.pack(changes, first.os)
        finally:
            for spool in spools:
                spool.unlink()
        if any(isinstance(source, OfferedFiles) for source in inputs):
            self._known.learn(op, inputs[1:], changes, entries)
            if not step.no_cache:
                found = self._known.find_layer(op, inputs, late=True)
                if found is not None:
                    return found, True
        return self._known.remember(self._known.names(op, inputs), parent, layer), False


def _own_layer(step: Step, result: Result | None) -> BuiltLayer | None:
    """Return the layer that a step made on what it stands on; None if it is of another kind."""
    if not isinstance(step.op, LayerOp) or not isinstance(result, FileSystem):
        return None
    return None if result.layer is None else result.layer()
