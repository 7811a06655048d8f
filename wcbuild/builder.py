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
from wcbuild import windowsruns
from wcbuild.access import RegistryAccess, open_client
from wcbuild.annotations import Annotation, Level, parse_annotations, select
from wcbuild.assemble import image_config, put_image, put_index
from wcbuild.bases import Bases
from wcbuild.buildplan import BuildPlan, make_plan
from wcbuild.context.local import LocalTree
from wcbuild.context.statindex import StatIndex
from wcbuild.dockerfile.ignore import IgnoreRules
from wcbuild.dockerfile.lint import CheckResult, check_unreadable, lower_and_check
from wcbuild.dockerfile.lower import MAIN_CONTEXT, Entitlement, Options, declared_args, lower
from wcbuild.dockerfile.rules import LintWarning
from wcbuild.dockerfile.source import SourceFile
from wcbuild.dockerfile.stages import MAX_DOCKERFILE_BYTES, Dockerfile, parse_dockerfile
from wcbuild.dockerfile.suggest import did_you_mean
from wcbuild.errors import ContextError, DockerfileSyntaxError, SourceError, UsageError
from wcbuild.export import Exporter, Output
from wcbuild.graph.merge import merge
from wcbuild.graph.ops import ContextOp, Graph, ImageOp, Network
from wcbuild.graph.plan import ImagePlan
from wcbuild.graph.reading import unread_images
from wcbuild.machine import Machine
from wcbuild.sandbox.wine.leftovers import sweep_runs
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

if TYPE_CHECKING:
    from wcbuild.sandbox.wine.sandbox import WineSandbox
    from wcbuild.solve.agents import Agent


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
    """Key to value; a key may begin with the places that `wcbuild.annotations` describes."""
    platform: str = ""
    """`os/architecture[/variant]`, several with commas between them; empty is this machine's, for Linux
    images."""
    build_contexts: Mapping[str, str] = field(default_factory=dict)
    """Name to a folder, `oci-layout://DIR[:TAG][@DIGEST]` or `docker-image://REF`."""
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
    isolation: str = "default"
    """`wine` runs what Windows images RUN; Linux images have the same sandbox either way."""
    wine_registry: bool = False
    """Keep what a RUN under Wine changes in the registry."""
    wine_keep: tuple[str, ...] = ()
    r"""Folders below `C:\Windows` that are the image's own for a RUN under Wine, and so are kept."""
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
    wine: str = ""
    """With which Wine steps of Windows images were run, if they were."""
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
        wine = build.wine_version
    return BuildResult(
        image_id=image_id,
        descriptor=descriptor,
        names=names,
        seconds=time.monotonic() - started,
        wine=wine,
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
    store.fetch_from(lambda reference: open_client(request.registries).repository(reference))
    try:
        yield _Build(request, inputs, machine, store, emit)
    finally:
        store.close()


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
    source: SourceFile
    dockerfile: Dockerfile
    ignore: IgnoreRules | None
    tags: tuple[Reference, ...]
    platforms: tuple[Platform, ...]
    annotations: tuple[Annotation, ...]
    agents: Mapping[str, Agent]


def _read_inputs(request: BuildRequest, emit: Emit) -> _Inputs:
    context, source, ignore = read_source(request)
    platforms = read_platforms(request.platform)
    return _Inputs(
        context=context.resolve(),
        source=source,
        dockerfile=_parse(source, request, platforms, emit),
        ignore=ignore,
        tags=tuple(Reference.parse(tag).with_default_tag() for tag in request.tags),
        platforms=platforms,
        annotations=parse_annotations(request.annotations),
        agents=_find_agents(request.ssh),
    )


def read_source(request: BuildRequest) -> tuple[Path, SourceFile, IgnoreRules | None]:
    """Return the build context, the Dockerfile, and what the context leaves out.

    Raises:
        ContextError: there is no context.
        SourceError: there is no Dockerfile, or a pattern that cannot be read.
    """
    context = Path(request.context)
    if not context.exists():
        raise ContextError(str(context), "there is no such folder")
    if not context.is_dir():
        raise ContextError(str(context), "is not a folder")
    path, text = _read_dockerfile(request, context)
    return context, SourceFile(name=path.name, data=text), _read_ignore(context, path)


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


def _epoch(text: str) -> int | None:
    if text and not (text.isascii() and text.isdecimal()):
        raise UsageError(f"invalid SOURCE_DATE_EPOCH: {text}")
    return int(text) if text else None


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
        self._wine: WineSandbox | None = None
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
        graph, plans, epoch = self._lower()
        layers = self._layers()
        with self._executor(graph, epoch, layers) as executor:
            results = Solver(executor, self._emit, self._cancel).solve(graph)
            # The base's bytes may still be elsewhere: a build of known steps asked for none of them.
            for step in graph.steps:
                if isinstance(step.op, ImageOp):
                    self._bases.keep(step.op.digest, fetch=step.op.digest not in self._left(graph))
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
        graph, plans, epoch = self._lower()
        with self._executor(graph, epoch, self._layers(), thorough=True) as executor:
            known = Solver(executor, self._emit, self._cancel).known(graph)
        return make_plan(self._inputs.dockerfile, graph, plans, frozenset(known))

    def _lower(self) -> tuple[Graph, list[ImagePlan], int | None]:
        """Return one graph for all platforms, a plan for each, and the latest time anything may have."""
        inputs = self._inputs
        first, *others = [self._options(platform) for platform in inputs.platforms]
        checked, result = lower_and_check(
            inputs.dockerfile, inputs.source, first, self._bases, inputs.ignore
        )
        self.warnings = result.warnings
        _tell(result, self._emit)
        if checked is None:
            raise result.error or AssertionError
        # The checks speak once, for the first platform.
        others_lowered = (lower(inputs.dockerfile, each, self._bases) for each in others)
        lowered = [checked, *others_lowered]
        self._warn_of_unused(lowered[0].unused_build_args)
        graph, places = merge([each.graph for each in lowered])
        plans = [each.plan.moved(moved) for each, moved in zip(lowered, places, strict=True)]
        if windowsruns.steps(graph):
            self._wine = windowsruns.open_wine(
                graph,
                isolation=self._request.isolation,
                keep_registry=self._request.wine_registry,
                keep_folders=self._request.wine_keep,
                inner=self._machine.sandbox,
                directory=self._store.root / "wine",
                overlay=self._overlays(),
            )
            plans = [windowsruns.told(plan, graph, self._wine) for plan in plans]
        return graph, plans, _epoch(lowered[0].source_date_epoch)

    def _warn_of_unused(self, names: tuple[str, ...]) -> None:
        """Say which build arguments changed nothing: mostly they are misspelt."""
        for name in names:
            hint = did_you_mean(name, sorted(declared_args(self._inputs.dockerfile)))
            text = f'build argument "{name}" is declared by no ARG' + (f" ({hint})" if hint else "")
            self._emit(Notice(level="warning", text=text))

    def _options(self, platform: Platform) -> Options:
        several = len(self._inputs.platforms) > 1
        return replace(make_options(self._request, platform), show_platform=several)

    @property
    def wine_version(self) -> str:
        """The Wine that runs steps of Windows images; empty if there are none."""
        return "" if self._wine is None else self._wine.version

    def _overlays(self) -> bool:
        """Whether overlays can be mounted."""
        return choose_snapshotter(self._store.root, self._machine.identity).name == "overlay"

    def _left(self, graph: Graph) -> frozenset[str]:
        """Return the base images that may stay in their registry.

        Nobody reads them, and the image goes to a registry alone, which may have them, too.
        """
        outputs = [output.kind for output in self._request.outputs]
        only_pushed = (self._request.push or outputs) and set(outputs) <= {"registry"}
        return unread_images(graph) if only_pushed else frozenset()

    def _layers(self) -> Layers:
        identity = self._machine.identity
        snapshotter = choose_snapshotter(self._store.root, identity)

        def clean() -> None:
            snapshotter.sweep()
            sweep_runs(self._store.root / "wine")

        sweep(self._store, clean)
        return Layers(
            self._store,
            snapshotter,
            ownership=identity.full_ownership,
            devices=not identity.userns,
        )

    @contextlib.contextmanager
    def _executor(
        self, graph: Graph, epoch: int | None, layers: Layers, *, thorough: bool = False
    ) -> Iterator[StepExecutor]:
        """Make what executes the graph's steps, and end it after the `with` block."""
        request, identity = self._request, self._machine.identity
        contexts = self._contexts(graph, self._bases.folders())
        executor = StepExecutor(
            layers=layers,
            cache=LocalCache(self._store.root / "cache", self._store.has),
            images=self._bases,
            contexts=contexts,
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
            wine=self._wine,
            unread=self._left(graph),
            thorough=thorough,
        )
        try:
            yield executor
        finally:
            executor.close()
            for tree in contexts.values():
                tree.save()

    def _contexts(self, graph: Graph, folders: Mapping[str, Path]) -> dict[str, LocalTree]:
        """Open the contexts that the graph refers to."""
        contexts = {}
        for step in graph.steps:
            if not isinstance(step.op, ContextOp):
                continue
            name = step.op.name
            main = name == MAIN_CONTEXT and name not in folders
            root = self._inputs.context if main else folders[name].resolve()
            rules = self._inputs.ignore if main else _read_ignore(root, root / "Dockerfile")
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
        wanted = self._request.build_args.get("BUILDKIT_MULTI_PLATFORM", "").lower()
        return len(self._inputs.platforms) > 1 or wanted in ("1", "true")


def make_options(request: BuildRequest, platform: Platform) -> Options:
    """Return what a request says of its Dockerfile, for one platform."""
    return Options(
        platform=platform,
        build_platform=host_platform(),
        platform_given=bool(request.platform),
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
