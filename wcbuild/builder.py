"""The composition root: from a BuildRequest to a BuildResult.

Here, and in `wcbuild.cli`, is where the host's platform, the environment and the clock are asked.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from registry.oci.descriptor import Descriptor
from registry.oci.digest import Digest
from registry.oci.platform import Platform
from registry.reference import Reference
from wcbuild.access import RegistryAccess, open_client
from wcbuild.annotations import Annotation, Level, parse_annotations, select
from wcbuild.assemble import image_config, put_image, put_index
from wcbuild.bases import Bases
from wcbuild.buildplan import BuildPlan, make_plan
from wcbuild.context.local import LocalTree
from wcbuild.context.statindex import StatIndex
from wcbuild.dockerfile.lint import CheckResult, check_unreadable, lower_and_check
from wcbuild.dockerfile.lower import MAIN_CONTEXT, Entitlement, Options, declared_args, lower
from wcbuild.dockerfile.rules import LintWarning
from wcbuild.dockerfile.source import SourceFile
from wcbuild.dockerfile.stages import Dockerfile, parse_dockerfile
from wcbuild.dockerfile.suggest import did_you_mean
from wcbuild.errors import DockerfileSyntaxError, UsageError
from wcbuild.export import Exporter, Output
from wcbuild.graph.merge import merge
from wcbuild.graph.ops import ContextOp, Graph, ImageOp, Network
from wcbuild.graph.plan import ImagePlan
from wcbuild.graph.urls import without_secrets
from wcbuild.inputs import Fetcher, MainContext, is_remote, read_folder, read_ignore
from wcbuild.machine import Machine
from wcbuild.snapshot import choose_snapshotter
from wcbuild.solve.cache import LocalCache, timestamp
from wcbuild.solve.cachemounts import CacheMounts
from wcbuild.solve.devices import FOLDERS as DEVICE_FOLDERS
from wcbuild.solve.events import Emit, Event, Notice, Warned
from wcbuild.solve.executor import Limits, StepExecutor
from wcbuild.solve.layers import Layers
from wcbuild.solve.mounts import Mounts, Secrets
from wcbuild.solve.results import FileSystem, Result
from wcbuild.solve.solver import Solver
from wcbuild.store import LocalStore, default_root, open_store, sweep
from wcbuild.tree.base import FileTree

if TYPE_CHECKING:
    from wcbuild.solve.agents import Agent


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRequest:
    """Everything that decides a build; the words are those of the command line."""

    context: str | Path = "."
    """The folder whose files COPY and ADD may see, or a URL, or `-`: what `stdin` holds, which is a tar or
    a Dockerfile."""
    file: str | Path | None = None
    """The Dockerfile; None is `Dockerfile` in the context, `-` is what `stdin` holds."""
    stdin: bytes | int | None = field(default=None, repr=False)
    """Bytes, or a file descriptor to read them from."""
    tags: tuple[str, ...] = ()
    target: str = ""
    build_args: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    """Key to value; a key may begin with the places that `wcbuild.annotations` describes."""
    platform: str = ""
    """`os/architecture[/variant]`, several with commas between them; empty is this machine's, for Linux
    images."""
    build_contexts: Mapping[str, str] = field(default_factory=dict)
    """Name to a folder, a URL, `oci-layout://DIR[:TAG][@DIGEST]`, `docker-image://REF`, or a stage."""
    outputs: tuple[Output, ...] = ()
    push: bool = False
    pull: bool = False
    """Ask the registry for base images even if they are here."""
    no_cache: bool = False
    no_cache_filter: tuple[str, ...] = ()
    """Names of stages whose steps are all done again."""
    allow: tuple[str, ...] = ()
    """What the Dockerfile may have: `network.host`, `security.insecure`, `device`."""
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
    ssh: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)
    """For `RUN --mount=type=ssh`, by id, which is mostly `default`: an agent's socket, or private keys."""
    device_folders: tuple[Path, ...] = DEVICE_FOLDERS
    """Where the devices that a RUN may name are specified, in the format of the Container Device
    Interface."""
    root: Path | None = None
    """Where the store is; None is the usual place."""
    registries: RegistryAccess = field(default_factory=RegistryAccess)


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildResult:
    """What a build gave."""

    image_id: Digest
    """The config's digest; of several platforms, the index's."""
    descriptor: Descriptor
    """The manifest or index in the local store, or, after a push, the one in the registry."""
    names: tuple[str, ...]
    """Canonical references that now point to the image."""
    seconds: float
    warnings: tuple[LintWarning, ...] = ()
    """What the checks found (docs/checks.md), in the order of the file."""


def host_platform() -> Platform:
    """Return the platform of images that run here; Linux, whatever the host."""
    return Platform(os="linux", architecture=os.uname().machine).normalized()


def run_build(request: BuildRequest, machine: Machine, emit: Emit) -> BuildResult:
    """Build in this process. ``emit`` is called from several threads, one at a time.

    Raises:
        WcbuildError, RegistryError: the build failed; no name was changed.
    """
    started = time.monotonic()
    with _opened(request, machine, emit) as build:
        descriptor, image_id, names = build.run()
    return BuildResult(
        image_id=image_id,
        descriptor=descriptor,
        names=names,
        seconds=time.monotonic() - started,
        warnings=build.warnings,
    )


def plan_build(request: BuildRequest, machine: Machine, emit: Emit) -> BuildPlan:
    """Say what `run_build` would do, and do nothing. Base images are looked up, not fetched.

    Raises:
        WcbuildError, RegistryError: it would fail before it did anything.
    """
    with _opened(request, machine, emit) as build:
        return build.plan()


@contextlib.contextmanager
def _opened(request: BuildRequest, machine: Machine, emit: Emit) -> Iterator[_Build]:
    emit = _one_at_a_time(emit)
    inputs = _read_inputs(request, emit)
    store = open_store(request.root or default_root(os.environ))
    try:
        with contextlib.closing(_Build(request, inputs, machine, store, emit)) as build:
            yield build
    finally:
        store.close()


def _one_at_a_time(emit: Emit) -> Emit:
    lock = threading.Lock()

    def emit_locked(event: Event) -> None:
        with lock:
            emit(event)

    return emit_locked


@dataclass(frozen=True, slots=True, kw_only=True)
class _Main:
    """What is built."""

    context: MainContext
    dockerfile: Dockerfile


@dataclass(frozen=True, slots=True, kw_only=True)
class _Inputs:
    """What is read before anything is opened or written."""

    main: _Main | None
    """None is yet to be fetched."""
    tags: tuple[Reference, ...]
    platforms: tuple[Platform, ...]
    annotations: tuple[Annotation, ...]
    agents: Mapping[str, Agent]


def _read_inputs(request: BuildRequest, emit: Emit) -> _Inputs:
    platforms = read_platforms(request.platform)
    main = None
    if not is_remote(request.context):
        context = read_folder(Path(request.context), request.file, request.stdin)
        dockerfile = _parse(context.source, request, platforms, emit)
        main = _Main(context=context, dockerfile=dockerfile)
    return _Inputs(
        main=main,
        tags=tuple(Reference.parse(tag).with_default_tag() for tag in request.tags),
        platforms=platforms,
        annotations=parse_annotations(request.annotations),
        agents=_find_agents(request.ssh),
    )


def read_context(request: BuildRequest) -> MainContext:
    """Return the build context with its Dockerfile, for those who do not build; its files are gone again.

    Raises:
        WcbuildError, RegistryError: there is no context, or no Dockerfile.
    """
    if not is_remote(request.context):
        return read_folder(Path(request.context), request.file, request.stdin)
    store = open_store(request.root or default_root(os.environ))
    try:
        fetcher = _fetcher(request, store, _find_agents(request.ssh), threading.Event())
        with contextlib.closing(fetcher):
            return fetcher.read(str(request.context), request.file, request.stdin)
    finally:
        store.close()


def _fetcher(
    request: BuildRequest, store: LocalStore, agents: Mapping[str, Agent], cancel: threading.Event
) -> Fetcher:
    return Fetcher(
        store,
        request.registries,
        secrets=request.secrets,
        agent=agents.get("default"),
        keep_git_dir=_is_set(request.build_args, "BUILDKIT_CONTEXT_KEEP_GIT_DIR"),
        cancel=cancel,
    )


def _parse(
    source: SourceFile, request: BuildRequest, platforms: tuple[Platform, ...], emit: Emit
) -> Dockerfile:
    """Read the Dockerfile; if that is not possible, say what is wrong before that place."""
    try:
        return parse_dockerfile(source.data, file=source.name)
    except DockerfileSyntaxError as error:
        result = check_unreadable(source, error, make_options(request, platforms[0]))
        _tell(result, emit)
        raise


def _tell(result: CheckResult, emit: Emit) -> None:
    for warning in result.warnings:
        emit(Warned(warning=warning, source=result.source))


def _find_agents(given: Mapping[str, tuple[Path, ...]]) -> Mapping[str, Agent]:
    if not given:
        return {}
    from wcbuild.solve.agents import find_agent  # noqa: PLC0415 - few builds have any

    return {name: find_agent(paths, name) for name, paths in given.items()}


def read_platforms(text: str) -> tuple[Platform, ...]:
    """Return the platforms that `--platform` names, at least one."""
    if not text:
        return (host_platform(),)
    return tuple(dict.fromkeys(Platform.parse(each.strip()) for each in text.split(",")))


def _epoch(text: str, context: int | None) -> int | None:
    """Read SOURCE_DATE_EPOCH; ``context`` is how new the build context is."""
    if text == MAIN_CONTEXT:
        return context
    if text and not (text.isascii() and text.isdecimal()):
        raise UsageError(f"invalid SOURCE_DATE_EPOCH: {text}")
    return int(text) if text else None


def _is_set(build_args: Mapping[str, str], name: str) -> bool:
    return build_args.get(name, "").lower() in ("1", "true")


def _build_args(given: Mapping[str, str], main: MainContext) -> dict[str, str]:
    """Return the build arguments; an epoch that is the context's becomes a number."""
    args = dict(given)
    if args.get("SOURCE_DATE_EPOCH") == MAIN_CONTEXT:
        del args["SOURCE_DATE_EPOCH"]
        if main.moment is not None:
            args["SOURCE_DATE_EPOCH"] = str(main.moment)
    return args


@dataclass(frozen=True, slots=True, kw_only=True)
class _BuiltImage:
    """One platform's image in the local store."""

    platform: Platform
    descriptor: Descriptor
    image_id: Digest
    files: FileSystem


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
        self._fetcher = _fetcher(request, store, inputs.agents, self._cancel)
        self.warnings: tuple[LintWarning, ...] = ()
        self._exporter = Exporter(
            store, emit, partial(open_client, request.registries), self._cancel
        )
        self._bases = Bases(
            store=store,
            named=request.build_contexts,
            client=partial(open_client, request.registries),
            fetch=self._exporter.fetch,
            pull=request.pull,
        )

    def run(self) -> tuple[Descriptor, Digest, tuple[str, ...]]:
        """Build, put the image into the store, give it its names, and send it where it is wanted."""
        request = self._request
        self._exporter.check(
            request.outputs,
            self._inputs.tags,
            push=request.push,
            index=self._makes_index(),
        )
        if not self._makes_index() and any(
            each.level in (Level.INDEX, Level.INDEX_DESCRIPTOR) for each in self._inputs.annotations
        ):
            raise UsageError("--annotation index: there is no index; several platforms make one")
        layers = self._layers()
        main = self._main()
        graph, plans, epoch = self._lower(main)
        with self._executor(graph, main.context, epoch, layers) as executor:
            results = Solver(executor, self._emit, self._cancel).solve(graph)
            # The base's bytes may still be elsewhere: a build of known steps asked for none of them.
            for step in graph.steps:
                if isinstance(step.op, ImageOp):
                    self._bases.keep(step.op.digest)
            images = [self._assemble(plan, results, timestamp(epoch)) for plan in plans]
            descriptor, image_id = self._joined(images)
        for reference in self._inputs.tags or (None,):
            self._store.name_image(descriptor, reference)
        names = " ".join(tag.familiar for tag in self._inputs.tags) or "without a name"
        self._emit(Notice(level="info", text=f"image {image_id} {names}"))
        trees = {image.platform: partial(layers.tree, image.files) for image in images}
        for output in request.outputs:
            self._exporter.write(output, descriptor, self._inputs.tags, trees)
        if request.push:
            descriptor = self._exporter.push(descriptor, self._inputs.tags, Output(kind="registry"))
        return descriptor, image_id, tuple(str(tag) for tag in self._inputs.tags)

    def plan(self) -> BuildPlan:
        """Say what would be built, and what of it is there already. Files are read, and no more."""
        layers = self._layers()
        main = self._main()
        graph, plans, epoch = self._lower(main)
        with self._executor(graph, main.context, epoch, layers, thorough=True) as executor:
            known = Solver(executor, self._emit, self._cancel).known(graph)
        return make_plan(main.dockerfile, graph, plans, frozenset(known))

    def _main(self) -> _Main:
        """Return what is built, fetched now if it is not in a folder."""
        inputs, request = self._inputs, self._request
        if inputs.main is not None:
            return inputs.main
        shown = without_secrets(str(request.context))
        self._emit(Notice(level="info", text=f"load build context {shown}"))
        context = self._fetcher.read(str(request.context), request.file, request.stdin)
        dockerfile = _parse(context.source, request, inputs.platforms, self._emit)
        return _Main(context=context, dockerfile=dockerfile)

    def close(self) -> None:
        """Remove the files that were only for this build."""
        self._fetcher.close()

    def _lower(self, main: _Main) -> tuple[Graph, list[ImagePlan], int | None]:
        """Return one graph for all platforms, a plan for each, and the latest time anything may have."""
        dockerfile, context = main.dockerfile, main.context
        first, *others = [self._options(each, context) for each in self._inputs.platforms]
        checked, result = lower_and_check(
            dockerfile, context.source, first, self._bases, context.ignore
        )
        self.warnings = result.warnings
        _tell(result, self._emit)
        if checked is None:
            raise result.error or AssertionError
        # The checks speak once, for the first platform.
        others_lowered = (lower(dockerfile, each, self._bases) for each in others)
        lowered = [checked, *others_lowered]
        self._warn_of_unused(lowered[0].unused_build_args, dockerfile)
        graph, places = merge([each.graph for each in lowered])
        plans = [each.plan.moved(moved) for each, moved in zip(lowered, places, strict=True)]
        return graph, plans, _epoch(lowered[0].source_date_epoch, context.moment)

    def _warn_of_unused(self, names: tuple[str, ...], dockerfile: Dockerfile) -> None:
        """Say which build arguments changed nothing: mostly they are misspelt."""
        for name in names:
            hint = did_you_mean(name, sorted(declared_args(dockerfile)))
            text = f'build argument "{name}" is declared by no ARG' + (f" ({hint})" if hint else "")
            self._emit(Notice(level="warning", text=text))

    def _options(self, platform: Platform, main: MainContext) -> Options:
        return replace(
            make_options(self._request, platform),
            build_args=_build_args(self._request.build_args, main),
            owned_context=main.owned,
            show_platform=len(self._inputs.platforms) > 1,
        )

    def _layers(self) -> Layers:
        identity = self._machine.identity
        snapshotter = choose_snapshotter(self._store.root, identity)
        # Before there is anything of our own that it could take for that of somebody who died.
        sweep(self._store, snapshotter.sweep)
        return Layers(
            self._store,
            snapshotter,
            ownership=identity.full_ownership,
            devices=not identity.userns,
        )

    @contextlib.contextmanager
    def _executor(
        self,
        graph: Graph,
        main: MainContext,
        epoch: int | None,
        layers: Layers,
        *,
        thorough: bool = False,
    ) -> Iterator[StepExecutor]:
        """Make what executes the graph's steps, and end it after the `with` block."""
        request, identity = self._request, self._machine.identity
        contexts = self._contexts(graph, main)
        executor = StepExecutor(
            layers=layers,
            cache=LocalCache(self._store.root / "cache", self._store.has),
            images=self._bases,
            contexts=contexts,
            remotes=self._fetcher.remotes,
            snapshotter=layers.snapshotter,
            sandbox=self._machine.sandbox,
            scratch=self._store.scratch_file,
            cancel=self._cancel,
            epoch=epoch,
            salt=f"owners={identity.full_ownership} epoch={epoch}",
            limits=Limits(memory=request.memory, cpus=request.cpus, pids=request.pids_limit),
            mounts=Mounts(
                layers=layers,
                snapshotter=layers.snapshotter,
                caches=CacheMounts(self._store.root / "mounts"),
                secrets=Secrets(
                    values=request.secrets,
                    agents=self._inputs.agents,
                ),
                scratch=self._store.scratch_folder,
                device_folders=request.device_folders,
                ownership=identity.full_ownership,
            ),
            thorough=thorough,
        )
        try:
            yield executor
        finally:
            executor.close()
            for tree in contexts.values():
                if isinstance(tree, LocalTree):
                    tree.save()

    def _contexts(self, graph: Graph, main: MainContext) -> dict[str, FileTree]:
        """Open the contexts that the graph refers to."""
        contexts: dict[str, FileTree] = {}
        for step in graph.steps:
            if not isinstance(step.op, ContextOp):
                continue
            name = step.op.name
            if name == MAIN_CONTEXT and main.tree is not None:
                contexts[name] = main.tree
                continue
            if name == MAIN_CONTEXT and main.folder is not None:
                root, rules = main.folder, main.ignore
            else:
                root = self._bases.folder(name).resolve()
                rules = read_ignore(root, root / "Dockerfile")
            index = StatIndex(self._store.context_index_path(str(root)))
            contexts[name] = LocalTree(root, rules, index)
        return contexts

    def _assemble(self, plan: ImagePlan, results: list[Result], now: str) -> _BuiltImage:
        files = results[plan.rootfs]
        if not isinstance(files, FileSystem):
            raise TypeError(files)
        layers = files.layers()
        created = {}
        for line in plan.history:
            made = results[line.step] if line.step is not None else None
            if line.step is not None and isinstance(made, FileSystem) and made.layer is not None:
                created[line.step] = made.layer().created
        config = image_config(plan, [layer.diff_id for layer in layers], created, now=now)
        descriptor, image_id = put_image(
            config,
            [layer.descriptor for layer in layers],
            self._store,
            select(self._inputs.annotations, Level.MANIFEST, plan.platform),
        )
        return _BuiltImage(
            platform=plan.platform, descriptor=descriptor, image_id=image_id, files=files
        )

    def _joined(self, images: list[_BuiltImage]) -> tuple[Descriptor, Digest]:
        """Return what the build gives: its only image, or an index of them."""
        annotations = self._inputs.annotations
        if not self._makes_index():
            [image] = images
            own = select(annotations, Level.MANIFEST_DESCRIPTOR, image.platform)
            return replace(image.descriptor, annotations=own), image.image_id
        manifests = [
            replace(
                image.descriptor,
                platform=image.platform,
                annotations=select(annotations, Level.MANIFEST_DESCRIPTOR, image.platform),
            )
            for image in images
        ]
        index = put_index(manifests, self._store, select(annotations, Level.INDEX))
        own = select(annotations, Level.INDEX_DESCRIPTOR)
        return replace(index, annotations=own), index.digest

    def _makes_index(self) -> bool:
        wanted = _is_set(self._request.build_args, "BUILDKIT_MULTI_PLATFORM")
        return len(self._inputs.platforms) > 1 or wanted


def make_options(request: BuildRequest, platform: Platform) -> Options:
    """Return what a request says of its Dockerfile, for one platform."""
    return Options(
        platform=platform,
        build_platform=host_platform(),
        target=request.target,
        build_args=request.build_args,
        labels=request.labels,
        network=Network(request.network),
        allow=_entitlements(request),
        hosts=request.add_hosts,
        ulimits=request.ulimits,
        shm_size=request.shm_size,
        no_cache=request.no_cache,
        no_cache_stages=frozenset(name.lower() for name in request.no_cache_filter),
    )


def _entitlements(request: BuildRequest) -> frozenset[Entitlement]:
    """Return what is allowed; whoever gives every RUN the host's network allows it to one."""
    found = {_entitlement(text) for text in request.allow}
    if request.network == Network.HOST:
        found.add(Entitlement.NETWORK_HOST)
    return frozenset(found)


def _entitlement(text: str) -> Entitlement:
    try:
        return Entitlement(text.partition("=")[0])
    except ValueError:
        near = did_you_mean(text, tuple(Entitlement))
        hint = near or f"there are {', '.join(Entitlement)}"
        raise UsageError(f'--allow "{text}": unknown entitlement ({hint})') from None
