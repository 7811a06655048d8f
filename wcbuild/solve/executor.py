"""Doing one step: base images, contexts, file steps computed on headers, and RUN in a sandbox."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Lock
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, Protocol, assert_never

from registry.oci import chain
from registry.oci.descriptor import Descriptor
from wcbuild.context.local import LocalTree
from wcbuild.dockerfile.wildcard import escape
from wcbuild.errors import CancelledError, SandboxError, StepFailedError, WcbuildError
from wcbuild.graph.keys import CacheKey, digest, step_key
from wcbuild.graph.ops import (
    WINDOWS,
    ContextOp,
    CopyOp,
    GitOp,
    Graph,
    HttpOp,
    ImageOp,
    InlineFile,
    JoinedCopyOp,
    MkdirOp,
    RunOp,
    ScratchOp,
    Step,
)
from wcbuild.graph.reading import read_steps
from wcbuild.layer.changes import Change, Entry
from wcbuild.sandbox.base import ExitStatus, RootMount, RunSpec, Sandbox, SuppliedFile
from wcbuild.snapshot.base import Snapshot, Snapshotter
from wcbuild.solve.cache import Cache, Record, timestamp
from wcbuild.solve.layers import Layers, uncompressed
from wcbuild.solve.mounts import Mounts, Surroundings
from wcbuild.solve.results import (
    BuiltLayer,
    FileSystem,
    OfferedFiles,
    Result,
    empty,
    ready,
    stacked,
)
from wcbuild.tree.base import FileTree
from wcbuild.tree.layers import EmptyTree
from wcbuild.tree.select import cheap_content_key, content_key

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

    from wcbuild.sandbox.wine.sandbox import WineSandbox

_NO_HIVES: Mapping[str, bytes] = MappingProxyType({})
_TAIL_BYTES = 16 * 1024
_TAIL_LINES = 20

AnyCopyOp = CopyOp | JoinedCopyOp
LayerOp = RunOp | MkdirOp | AnyCopyOp


class BaseImages(Protocol):
    """The base images that lowering resolved."""

    def layers(self, digest: str) -> tuple[BuiltLayer, ...]:
        """Return an image's layers, lowest first, whether their bytes are here or not."""
        ...

    def is_here(self, digest: str) -> bool:
        """Say whether all bytes of the image are in the local store."""
        ...

    def may_stay(self, digest: str) -> bool:
        """Say whether the image is in a registry, where later commands find its bytes."""
        ...

    def fetch(self, digest: str) -> None:
        """Bring the image's bytes into the local store."""
        ...


class RemoteFiles(Protocol):
    """What is fetched by HTTP and git."""

    def find(self, op: HttpOp | GitOp) -> FileTree | None:
        """Return the files if they are here, and nobody has to be asked whether they still are the same."""
        ...

    def fetch(self, op: HttpOp | GitOp, cancel: Event) -> FileTree:
        """Return the files, bringing them here if need be.

        Raises:
            RemoteError: they cannot be had, or are not what the checksum says.
            CancelledError: ``cancel`` was set.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds for each RUN; 0 is none."""

    memory: int = 0
    """Bytes."""
    cpus: float = 0.0
    pids: int = 0


class _Names(NamedTuple):
    """What a result is found by, and what the steps after it take as its key."""

    keys: tuple[CacheKey, ...]
    identity: CacheKey


class StepExecutor:
    """Executes steps; what they give lies in the local store. Safe to use from several threads.

    ``remotes`` is asked when something has to be fetched. ``unread`` are base images (digests) whose files
    no step looks into: they are not fetched. With ``thorough``, `find` reads a context's files rather
    than leave open whether a COPY is known. ``results`` are the steps whose files are wanted at the end;
    with ``pushed`` they are in a registry alone, and what it has may stay there.
    ``wine`` runs what is of a Windows image. ``salt`` is what
    else decides results, such as whether owners can be kept. ``epoch`` (seconds since 1970) is the latest
    time that anything may carry.
    """

    def __init__(
        self,
        *,
        layers: Layers,
        cache: Cache,
        images: BaseImages,
        contexts: Mapping[str, FileTree],
        remotes: Callable[[], RemoteFiles],
        snapshotter: Snapshotter,
        sandbox: Sandbox,
        scratch: Callable[[], Path],
        cancel: Event,
        epoch: int | None,
        salt: str,
        limits: Limits,
        mounts: Mounts,
        wine: WineSandbox | None = None,
        unread: frozenset[str] = frozenset(),
        thorough: bool = False,
        results: frozenset[int] = frozenset(),
        pushed: bool = False,
    ) -> None:
        self._layers = layers
        self._cache = cache
        self._images = images
        self._contexts = contexts
        self._remotes = remotes
        self._snapshotter = snapshotter
        self._sandbox = sandbox
        self._scratch = scratch
        self._cancel = cancel
        self._epoch = epoch
        self._salt = salt
        self._limits = limits
        self._mounts = mounts
        self._wine = wine
        self._unread_images = unread
        self._thorough = thorough
        self._results = results
        self._pushed = pushed
        self._contents: dict[tuple[CopyOp, Result], str] = {}
        self._unread: set[tuple[CopyOp, Result]] = set()
        self.noted: dict[CacheKey, Record] = {}
        """What was found and what was made in this build."""
        self._packer: ThreadPoolExecutor | None = None
        self._unnamed: set[Snapshot] = set()
        self._lock = Lock()

    # -- what is known

    def find(self, step: Step, inputs: tuple[Result, ...]) -> Result | None:
        """Return the step's result if it can be had without doing it."""
        with _blaming(step):
            return self._find(step, inputs)

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
            with _blaming(step):
                if not stays and not self._images.is_here(step.op.digest):
                    self._images.fetch(step.op.digest)

        def layers(indexes: Iterable[int]) -> list[Descriptor]:
            own = (_own_layer(graph.steps[each], known.get(each)) for each in indexes)
            return [layer.descriptor for layer in own if layer is not None]

        lost = self._cache.obtain(layers(read), dry=dry) | self._cache.obtain(
            layers(wanted), dry=dry, may_stay=self._pushed
        )
        if not lost:
            return ()
        own = {index: _own_layer(graph.steps[index], known[index]) for index in known}
        return [index for index, layer in own.items() if layer and layer.diff_id in lost]

    def _find(self, step: Step, inputs: tuple[Result, ...], *, late: bool = False) -> Result | None:
        op = step.op
        match op:
            case ScratchOp():
                if op.os == WINDOWS:
                    return stacked((self._layers.windows_scratch(),), WINDOWS)
                return empty()
            case ContextOp():
                return OfferedFiles(tree=self._contexts[op.name])
            case HttpOp() | GitOp():
                tree = self._remotes().find(op)
                return None if tree is None else OfferedFiles(tree=tree)
            case ImageOp():
                if op.digest not in self._unread_images and not self._images.is_here(op.digest):
                    return None
                return stacked(self._images.layers(op.digest), op.platform.os)
            case RunOp() | MkdirOp() | CopyOp() | JoinedCopyOp():
                return None if step.no_cache else self._find_layer(op, inputs, late=late)
            case _:
                assert_never(op)

    def _find_layer(
        self, op: LayerOp, inputs: tuple[Result, ...], *, late: bool
    ) -> FileSystem | None:
        """Return what is known of a step; ``late``, when others run already, only with its layer here."""
        for key in self._keys(op, inputs):
            record = self._cache.find(key)
            if record is None or (late and self._cache.obtain((record.layer,))):
                continue
            self.noted[key] = record
            return self._from_record(record, _file_system(inputs[0]))
        return None

    def _keys(self, op: LayerOp, inputs: tuple[Result, ...]) -> Iterator[CacheKey]:
        """Yield the keys under which the result may be known, the cheapest to compute first."""
        if not isinstance(op, AnyCopyOp) or len(inputs) == 1:
            salt = self._salt
            if isinstance(op, RunOp) and op.os == WINDOWS and self._wine is not None:
                salt += f" {self._wine.key}"
            yield step_key(op, [_file_system(each).key for each in inputs], salt)
            if isinstance(op, RunOp) and len(inputs) > 1:
                below = step_key(op, [_file_system(inputs[0]).key], salt)
                if all(map(self._is_here, inputs[1:])):
                    yield digest("content", below, self._mounted_content(op, inputs))
            return
        parent, *sources = inputs
        below = _file_system(parent).key
        if all(isinstance(source, FileSystem) for source in sources):
            keys = [_file_system(source).key for source in sources]
            yield step_key(op, [below, *keys], self._salt)
        contents = [self._copied_content(part, source) for part, source in _sources(op, sources)]
        if None not in contents:
            content = contents if isinstance(op, JoinedCopyOp) else contents[0]
            yield digest("content", step_key(op, [below], self._salt), content)

    def _copied_content(self, op: CopyOp, source: Result) -> str | None:
        """Return a key of what is copied; None if most of it would have to be read for that."""
        memo = (op, source)
        if memo not in self._contents and memo not in self._unread:
            if not self._is_here(source):
                return None
            key_of = content_key if self._thorough else cheap_content_key
            content = key_of(op, self._source_tree(source, op.os))
            if content is None:
                # Most files are unknown: `_copy` packs them first, so that each is read once.
                self._unread.add(memo)
            else:
                self._contents[memo] = content
        return self._contents.get(memo)

    def _mounted_content(self, op: RunOp, inputs: tuple[Result, ...]) -> list[str]:
        """Return keys of what a RUN's mounts show, whatever lies beside it."""
        keys = []
        for mount in op.mounts:
            if mount.input is not None:
                files = inputs[mount.input]
                selection = CopyOp(sources=(escape(mount.source),), dest="/", keep_owner=True)
                memo = (selection, files)
                if memo not in self._contents:
                    self._contents[memo] = content_key(selection, self._source_tree(files, op.os))
                keys.append(self._contents[memo])
        return keys

    def _from_record(self, record: Record, parent: FileSystem) -> FileSystem:
        layer = uncompressed(record.diff_id, record.size, record.created)
        return FileSystem(key=record.identity, parent=parent, layer=ready(layer), os=parent.os)

    def _is_here(self, source: Result) -> bool:
        """Say whether files can be looked at without being fetched first."""
        return isinstance(source, OfferedFiles) or self._layers.are_here(source)

    def _source_tree(self, source: Result, for_os: str) -> FileTree:
        if isinstance(source, OfferedFiles):
            return source.tree
        return self._layers.tree(source, for_os=for_os)

    # -- doing it

    def execute(
        self, step: Step, inputs: tuple[Result, ...], output: Callable[[int, bytes], None]
    ) -> tuple[Result, bool]:
        """Return the step's result, and whether it turned out to be known after all."""
        if self._cancel.is_set():
            raise CancelledError
        with _blaming(step):
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
                found = self._find(step, inputs, late=True)
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
        parent = _file_system(inputs[0])
        match op:
            case RunOp():
                return self._run(step, op, inputs, output), False
            case MkdirOp():
                from wcbuild.tree import place  # noqa: PLC0415 - a cached build places nothing

                tree = self._layers.tree(parent, for_os=op.os)
                layer, _ = self._pack(place.mkdir(op, tree, mtime=self._now()), op.os)
                keys = tuple(self._keys(op, inputs))
                return self._remember(_Names(keys, keys[-1]), parent, layer), False
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
                *(self._source_tree(source, first.os) for source in inputs[1:]),
                mtime=self._now(),
                scratch=scratch,
            )
            layer, entries = self._pack(changes, first.os)
        finally:
            for spool in spools:
                spool.unlink()
        if any(isinstance(source, OfferedFiles) for source in inputs):
            # Packing read every file, so now their digests are known and the key costs nothing.
            for part, source in _sources(op, inputs[1:]):
                tree = self._source_tree(source, first.os)
                if isinstance(tree, LocalTree):
                    tree.learn(changes, entries)
                    self._contents[part, source] = content_key(part, tree)
            if not step.no_cache:
                found = self._find_layer(op, inputs, late=True)
                if found is not None:
                    return found, True
        keys = tuple(self._keys(op, inputs))
        return self._remember(_Names(keys, keys[-1]), parent, layer), False

    def _pack(
        self, changes: Iterable[Change], for_os: str, hives: Mapping[str, bytes] = _NO_HIVES
    ) -> tuple[BuiltLayer, tuple[Entry, ...]]:
        return self._layers.pack(
            self._until_cancelled(changes),
            created=timestamp(self._epoch),
            epoch=self._epoch,
            for_os=for_os,
            hives=hives,
        )

    def _until_cancelled(self, changes: Iterable[Change]) -> Iterator[Change]:
        for change in changes:
            if self._cancel.is_set():
                raise CancelledError
            yield change

    def _remember(self, names: _Names, parent: FileSystem, layer: BuiltLayer) -> FileSystem:
        """Keep a result under all its keys."""
        record = Record(
            diff_id=layer.diff_id,
            size=layer.descriptor.size,
            identity=names.identity,
            created=layer.created,
        )
        for key in names.keys:
            self._cache.remember(key, record)
            self.noted[key] = record
        return FileSystem(key=names.identity, parent=parent, layer=ready(layer), os=parent.os)

    def _run(
        self,
        step: Step,
        op: RunOp,
        inputs: tuple[Result, ...],
        output: Callable[[int, bytes], None],
    ) -> FileSystem:
        tail = _Tail()

        def both(stream: int, data: bytes) -> None:
            tail.add(data)
            output(stream, data)

        keys = tuple(self._keys(op, inputs))
        files = tuple(map(_file_system, inputs))
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
        names = self._names_of_run(keys)
        packed = self._pack_later(step, snapshot, names, parent, hives)
        return FileSystem(
            key=names.identity, parent=parent, layer=packed.result, snapshot=snapshot, os=parent.os
        )

    def _names_of_run(self, keys: tuple[CacheKey, ...]) -> _Names:
        """Name what a command has given.

        One that ran again may give something else, so what was built on its result of before is not to
        be found on this one.
        """
        if any(map(self._cache.knew, keys)):
            return _Names(keys, digest("again", keys[-1], os.urandom(16).hex()))
        return _Names(keys, keys[-1])

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
        names: _Names,
        parent: FileSystem,
        hives: Mapping[str, bytes],
    ) -> Future[BuiltLayer]:
        """Pack what a RUN changed while the next step runs; its tree no longer changes."""
        with self._lock:
            if self._packer is None:
                from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - as in the solver

                # One thread: layers are packed in the order in which they were made, so a layer's
                # parent always has its diff_id by then.
                self._packer = ThreadPoolExecutor(1, "pack")
            return self._packer.submit(self._pack_snapshot, step, snapshot, names, parent, hives)

    def _pack_snapshot(
        self,
        step: Step,
        snapshot: Snapshot,
        names: _Names,
        parent: FileSystem,
        hives: Mapping[str, bytes],
    ) -> BuiltLayer:
        changes = self._snapshotter.changes(snapshot)
        if parent.os == WINDOWS:
            from wcbuild.solve import windows  # noqa: PLC0415 - most images are Linux's

            below = self._layers.tree(parent, for_os=WINDOWS)
            changes = windows.with_records(changes, below)
        # A name that no Windows has is a command's doing.
        with _blaming(step):
            layer, _ = self._pack(changes, parent.os, hives)
        chain_id = chain.extend(parent.chain_id(), layer.diff_id)
        self._snapshotter.commit(snapshot, chain_id)
        self._unnamed.discard(snapshot)
        # Last: a key must never lead to a layer that is not there.
        self._remember(names, parent, layer)
        return layer

    def _discard(self, snapshot: Snapshot) -> None:
        self._snapshotter.remove(snapshot)
        self._unnamed.discard(snapshot)

    def _now(self) -> int:
        return int(time.time()) if self._epoch is None else self._epoch

    def close(self) -> None:
        """Wait for what is being packed, and remove the trees that no result stands on."""
        if self._packer is not None:
            self._packer.shutdown(wait=True)
        for snapshot in tuple(self._unnamed):
            self._discard(snapshot)


@contextmanager
def _blaming(step: Step) -> Iterator[None]:
    """Give an error the step's lines as its place, unless it knows a better one."""
    try:
        yield
    except WcbuildError as error:
        error.spans = error.spans or step.spans
        raise


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


def _own_layer(step: Step, result: Result | None) -> BuiltLayer | None:
    """Return the layer that a step made on what it stands on; None if it is of another kind."""
    if not isinstance(step.op, LayerOp) or not isinstance(result, FileSystem):
        return None
    return None if result.layer is None else result.layer()


def _sources(op: AnyCopyOp, sources: Iterable[Result]) -> Iterator[tuple[CopyOp, Result]]:
    """Yield each part of a copy that has sources, and what it copies from."""
    parts = op.parts if isinstance(op, JoinedCopyOp) else (op,)
    return zip((part for part in parts if part.sources), sources, strict=True)


def _script(file: InlineFile) -> SuppliedFile:
    data = file.data.encode("utf-8", "surrogateescape")
    return SuppliedFile(f"/dev/pipes/{file.name}", data, file.mode)


def _file_system(result: Result) -> FileSystem:
    if not isinstance(result, FileSystem):
        raise TypeError(result)
    return result
