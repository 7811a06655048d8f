"""The composition root: from a BuildRequest to a BuildResult.

Here, and in `wcbuild.cli`, is where the host's platform, the environment and the clock are asked.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from registry.oci.descriptor import Descriptor
from registry.oci.digest import Digest
from registry.oci.platform import Platform
from registry.reference import Reference
from wcbuild.access import RegistryAccess, open_client, open_policy
from wcbuild.assemble import image_config, put_image
from wcbuild.bases import Bases
from wcbuild.context.local import LocalTree
from wcbuild.context.statindex import StatIndex
from wcbuild.dockerfile.ignore import IgnoreRules
from wcbuild.dockerfile.lower import MAIN_CONTEXT, Lowered, Options, lower
from wcbuild.dockerfile.stages import MAX_DOCKERFILE_BYTES, Dockerfile, parse_dockerfile
from wcbuild.dockerfile.suggest import did_you_mean
from wcbuild.errors import ContextError, SourceError, UsageError
from wcbuild.export import Exporter, Output
from wcbuild.graph.ops import ContextOp, ImageOp, Network
from wcbuild.machine import Machine
from wcbuild.snapshot import choose_snapshotter
from wcbuild.solve.cache import LocalCache, timestamp
from wcbuild.solve.cachemounts import CacheMounts
from wcbuild.solve.events import Emit, Event, Notice
from wcbuild.solve.executor import Limits, StepExecutor
from wcbuild.solve.layers import Layers
from wcbuild.solve.mounts import Mounts, Secrets
from wcbuild.solve.results import FileSystem, Result
from wcbuild.solve.solver import Solver
from wcbuild.store import LocalStore, default_root, open_store, sweep

if TYPE_CHECKING:
    from registry.sign import SigningKey


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRequest:
    """Everything that decides a build; the words are those of the command line."""

    context: str | Path = "."
    """The folder whose files COPY and ADD may see."""
    file: str | Path | None = None
    """The Dockerfile; None is `Dockerfile` in the context."""
    tags: tuple[str, ...] = ()
    target: str = ""
    build_args: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    platform: str = ""
    """`os/architecture[/variant]`; empty is this machine's, for Linux images."""
    build_contexts: Mapping[str, str] = field(default_factory=dict)
    """Name to a folder, `oci-layout://DIR[:TAG][@DIGEST]` or `docker-image://REF`."""
    outputs: tuple[Output, ...] = ()
    push: bool = False
    pull: bool = False
    """Ask the registry for base images even if they are here."""
    no_cache: bool = False
    network: str = "default"
    add_hosts: tuple[tuple[str, str], ...] = ()
    ulimits: tuple[tuple[str, int, int], ...] = ()
    shm_size: int = 64 * 1024 * 1024
    memory: int = 0
    """Bytes a RUN may use; 0 is no limit."""
    cpus: float = 0.0
    pids_limit: int = 0
    secrets: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    """For `RUN --mount=type=secret`, by id; part of nothing that a build leaves behind."""
    ssh: Mapping[str, Path] = field(default_factory=dict)
    """For `RUN --mount=type=ssh`: sockets of agents, by id, which is mostly `default`."""
    sign_key: SigningKey | None = field(default=None, repr=False)
    """Signs what is pushed."""
    root: Path | None = None
    """Where the store is; None is the usual place."""
    registries: RegistryAccess = field(default_factory=RegistryAccess)


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildResult:
    """What a build gave."""

    image_id: Digest
    """The config's digest."""
    descriptor: Descriptor
    """The manifest in the local store, or, after a push, the one in the registry."""
    names: tuple[str, ...]
    """Canonical references that now point to the image."""
    seconds: float


def host_platform() -> Platform:
    """Return the platform of images that run here; Linux, whatever the host."""
    return Platform(os="linux", architecture=os.uname().machine).normalized()


def run_build(request: BuildRequest, machine: Machine, emit: Emit) -> BuildResult:
    """Build in this process. ``emit`` is called from several threads, one at a time.

    Raises:
        WcbuildError, RegistryError: the build failed; no name was changed.
    """
    started = time.monotonic()
    inputs = _read_inputs(request)
    store = open_store(request.root or default_root(os.environ))
    try:
        build = _Build(request, inputs, machine, store, _one_at_a_time(emit))
        descriptor, image_id, names = build.run()
    finally:
        store.close()
    return BuildResult(
        image_id=image_id,
        descriptor=descriptor,
        names=names,
        seconds=time.monotonic() - started,
    )


def _one_at_a_time(emit: Emit) -> Emit:
    lock = threading.Lock()

    def emit_locked(event: Event) -> None:
        with lock:
            emit(event)

    return emit_locked


@dataclass(frozen=True, slots=True, kw_only=True)
class _Inputs:
    """What is read before anything is opened or written."""

    context: Path
    dockerfile: Dockerfile
    ignore: IgnoreRules | None
    tags: tuple[Reference, ...]
    epoch: int | None


def _read_inputs(request: BuildRequest) -> _Inputs:
    context = Path(request.context)
    if not context.exists():
        raise ContextError(str(context), "there is no such folder")
    if not context.is_dir():
        raise ContextError(str(context), "is not a folder")
    path, text = _read_dockerfile(request, context)
    return _Inputs(
        context=context.resolve(),
        dockerfile=parse_dockerfile(text, file=path.name),
        ignore=_read_ignore(context, path),
        tags=tuple(Reference.parse(tag).with_default_tag() for tag in request.tags),
        epoch=_epoch(request.build_args),
    )


def _read_dockerfile(request: BuildRequest, context: Path) -> tuple[Path, bytes]:
    path = Path(request.file) if request.file else context / "Dockerfile"
    if not request.file and not path.exists() and (context / "dockerfile").exists():
        path = context / "dockerfile"
    try:
        if path.is_dir():
            raise SourceError(f'"{path}" is a folder, not a Dockerfile')
        with path.open("rb") as file:
            text = file.read(MAX_DOCKERFILE_BYTES + 1)
    except FileNotFoundError as error:
        near = did_you_mean(path.name, _names(path.parent))
        raise SourceError(
            f'there is no Dockerfile "{path}"', hint=near or "name it with -f"
        ) from error
    except OSError as error:
        raise SourceError(f'cannot read "{path}": {error.strerror}') from error
    # The parser refuses what is longer.
    return path, text


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _read_ignore(context: Path, dockerfile: Path) -> IgnoreRules | None:
    """Read the Dockerfile's own ignore file, or else the context's."""
    own = dockerfile.with_name(f"{dockerfile.name}.dockerignore")
    for path in (own, context / ".dockerignore"):
        try:
            with path.open("rb") as file:
                return IgnoreRules.parse(file.read(MAX_DOCKERFILE_BYTES))
        except FileNotFoundError:
            continue
        except OSError as error:
            raise ContextError(str(path), error.strerror or str(error)) from error
    return None


def _epoch(build_args: Mapping[str, str]) -> int | None:
    text = build_args.get("SOURCE_DATE_EPOCH", "")
    if text and not text.isdecimal():
        raise UsageError(f"invalid SOURCE_DATE_EPOCH: {text}")
    return int(text) if text else None


class _Build:
    """One build, put together."""

    def __init__(
        self,
        request: BuildRequest,
        inputs: _Inputs,
        machine: Machine,
        store: LocalStore,
        emit: Emit,
    ) -> None:
        self._request = request
        self._inputs = inputs
        self._machine = machine
        self._store = store
        self._emit = emit
        self._cancel = threading.Event()
        policy = cache(partial(open_policy, request.registries))
        self._exporter = Exporter(
            store,
            emit,
            partial(open_client, request.registries),
            policy,
            cancel=self._cancel,
            sign_key=request.sign_key,
        )
        self._bases = Bases(
            store=store,
            named=request.build_contexts,
            client=partial(open_client, request.registries),
            policy=policy,
            fetch=self._exporter.fetch,
            pull=request.pull,
        )

    def run(self) -> tuple[Descriptor, Digest, tuple[str, ...]]:
        """Build, put the image into the store, give it its names, and send it where it is wanted."""
        request, identity = self._request, self._machine.identity
        self._exporter.check(request.outputs, self._inputs.tags, push=request.push)
        folders = self._bases.folders()
        lowered = lower(self._inputs.dockerfile, self._options(), self._bases)
        snapshotter = choose_snapshotter(self._store.root, identity)
        sweep(self._store, snapshotter.sweep)
        layers = Layers(
            self._store,
            snapshotter,
            ownership=identity.full_ownership,
            devices=not identity.userns,
        )
        contexts = self._contexts(lowered, folders)
        executor = StepExecutor(
            layers=layers,
            cache=LocalCache(self._store.root / "cache", self._store.has),
            images=self._bases,
            contexts=contexts,
            snapshotter=snapshotter,
            sandbox=self._machine.sandbox,
            scratch=self._store.scratch_file,
            cancel=self._cancel,
            epoch=self._inputs.epoch,
            salt=f"owners={identity.full_ownership} epoch={self._inputs.epoch}",
            limits=Limits(memory=request.memory, cpus=request.cpus, pids=request.pids_limit),
            mounts=Mounts(
                layers=layers,
                snapshotter=snapshotter,
                caches=CacheMounts(self._store.root / "mounts"),
                secrets=Secrets(
                    values=request.secrets,
                    agents={name: path.absolute() for name, path in request.ssh.items()},
                ),
                ownership=identity.full_ownership,
            ),
        )
        try:
            results = Solver(executor, self._emit, self._cancel).solve(lowered.graph)
            descriptor, image_id, files = self._assemble(lowered, results)
        finally:
            executor.close()
            for tree in contexts.values():
                tree.save()
        for reference in self._inputs.tags or (None,):
            self._store.name_image(descriptor, reference)
        names = " ".join(tag.familiar for tag in self._inputs.tags) or "without a name"
        self._emit(Notice(level="info", text=f"image {image_id} {names}"))
        for output in request.outputs:
            self._exporter.write(output, descriptor, self._inputs.tags, partial(layers.tree, files))
        if request.push:
            descriptor = self._exporter.push(descriptor, self._inputs.tags, Output(kind="registry"))
        return descriptor, image_id, tuple(str(tag) for tag in self._inputs.tags)

    def _options(self) -> Options:
        request = self._request
        platform = Platform.parse(request.platform) if request.platform else host_platform()
        return Options(
            platform=platform,
            build_platform=host_platform(),
            target=request.target,
            build_args=request.build_args,
            labels=request.labels,
            network=Network(request.network),
            hosts=request.add_hosts,
            ulimits=request.ulimits,
            shm_size=request.shm_size,
            no_cache=request.no_cache,
        )

    def _contexts(self, lowered: Lowered, folders: Mapping[str, Path]) -> dict[str, LocalTree]:
        """Open the contexts that the graph refers to."""
        contexts = {}
        for step in lowered.graph.steps:
            if not isinstance(step.op, ContextOp):
                continue
            name = step.op.name
            main = name == MAIN_CONTEXT and name not in folders
            root = self._inputs.context if main else folders[name].resolve()
            rules = self._inputs.ignore if main else _read_ignore(root, root / "Dockerfile")
            index = StatIndex(self._store.context_index_path(str(root)))
            contexts[name] = LocalTree(root, rules, index)
        return contexts

    def _assemble(
        self, lowered: Lowered, results: list[Result]
    ) -> tuple[Descriptor, Digest, FileSystem]:
        plan = lowered.plan
        files = results[plan.rootfs]
        if not isinstance(files, FileSystem):
            raise TypeError(files)
        layers = files.layers()
        created = {}
        for line in plan.history:
            made = results[line.step] if line.step is not None else None
            if line.step is not None and isinstance(made, FileSystem) and made.layer is not None:
                created[line.step] = made.layer().created
        config = image_config(
            plan,
            [layer.diff_id for layer in layers],
            created,
            now=timestamp(self._inputs.epoch),
        )
        # The base's bytes may still be elsewhere: a build of known steps asked for none of them.
        for step in lowered.graph.steps:
            if isinstance(step.op, ImageOp):
                self._bases.keep(step.op.digest)
        descriptor, image_id = put_image(
            config, [layer.descriptor for layer in layers], self._store, self._request.annotations
        )
        return descriptor, image_id, files
