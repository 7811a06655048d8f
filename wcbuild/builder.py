"""The composition root: from a BuildRequest to a BuildResult.

Here, in `wcbuild.request` and in `wcbuild.cli`, is where the environment and the clock are asked.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from registry.oci.descriptor import Descriptor
from registry.oci.digest import Digest
from registry.oci.platform import Platform
from registry.reference import Reference
from wcbuild import windowsruns
from wcbuild.access import meant_by, open_client, open_policy
from wcbuild.annotations import Annotation, Level, parse_annotations
from wcbuild.bases import Bases
from wcbuild.context.local import LocalTree
from wcbuild.context.statindex import StatIndex
from wcbuild.definition import Definition, FrontEnd
from wcbuild.dockerfile.lower import MAIN_CONTEXT
from wcbuild.dockerfile.rules import LintWarning
from wcbuild.errors import UsageError, WcbuildError, blaming
from wcbuild.export import Exporter
from wcbuild.graph.ops import ContextOp, Graph, ImageOp, RunOp
from wcbuild.graph.plan import ImagePlan
from wcbuild.graph.reading import unread_images
from wcbuild.graph.urls import without_secrets
from wcbuild.images import put_built, put_built_index
from wcbuild.inputs import (
    STDIN,
    Fetcher,
    MainContext,
    find_agents,
    is_fetched,
    read_folder,
    read_ignore,
)
from wcbuild.machine import Machine
from wcbuild.outputs import Output
from wcbuild.remotecache.caches import BuildCaches
from wcbuild.request import (
    BuildRequest,
    BuildResult,
    allowed_devices,
    is_set,
    makes_index,
    read_platforms,
)
from wcbuild.sandbox.base import RunSpec
from wcbuild.sandbox.wine.leftovers import sweep_runs
from wcbuild.snapshot import choose_snapshotter
from wcbuild.solve.cache import timestamp
from wcbuild.solve.cachemounts import CacheMounts
from wcbuild.solve.devices import Devices
from wcbuild.solve.events import Emit, Event, Notice
from wcbuild.solve.executor import StepExecutor
from wcbuild.solve.known import Known
from wcbuild.solve.layers import Layers
from wcbuild.solve.mounts import Mounts, Secrets
from wcbuild.solve.packing import Packer
from wcbuild.solve.results import Result, file_system
from wcbuild.solve.runs import Limits, Runs
from wcbuild.solve.solver import Solver
from wcbuild.store import LocalStore, default_root, open_store, sweep
from wcbuild.tree.base import FileTree

if TYPE_CHECKING:
    from wcbuild.buildplan import BuildPlan
    from wcbuild.sandbox.wine.sandbox import WineSandbox
    from wcbuild.solve.agents import Agent


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
    inputs = _read_inputs(request)
    store = open_store(request.root or default_root(os.environ))
    store.fetch_from(lambda reference: open_client(request.registries).repository(reference))
    try:
        build = _Build(request, inputs, machine, store, _one_at_a_time(emit))
        with contextlib.closing(build), build.explaining():
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
class _Inputs:
    """What is read before anything is opened or written."""

    context: MainContext | None
    """None is yet to be fetched."""
    tags: tuple[Reference, ...]
    platforms: tuple[Platform, ...]
    makes_index: bool
    annotations: tuple[Annotation, ...]
    agents: Mapping[str, Agent]


def _read_inputs(request: BuildRequest) -> _Inputs:
    for source in request.cache_from:
        source.check()
    for target in request.cache_to:
        target.check()
    if request.squash:
        from wcbuild import squash  # noqa: PLC0415 - most builds do without

        squash.check(request.cache_to, wine_registry=request.wine_registry)
    context = None
    if not str(request.context):
        raise UsageError('the build context is empty text; "." is this folder')
    if not is_fetched(request.context, request.file):
        context = read_folder(Path(request.context), request.file, request.stdin)
    platforms = read_platforms(request.platform)
    names = request.tags or [name for output in request.outputs for name in output.names]
    return _Inputs(
        context=context,
        tags=tuple(Reference.parse(name).with_default_tag() for name in names),
        platforms=platforms,
        makes_index=makes_index(request, platforms),
        annotations=parse_annotations(request.annotations),
        agents=find_agents(request.ssh),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Planned:
    """What is known when the Dockerfile has been read, and before anything is done."""

    definition: Definition
    main: MainContext
    layers: Layers
    plans: tuple[ImagePlan, ...]
    """The definition's, and what Wine adds to them."""

    @property
    def graph(self) -> Graph:
        """What is to be solved."""
        return self.definition.graph

    @property
    def epoch(self) -> int | None:
        """The time of all that the build makes (seconds since 1970); None is that of the build."""
        return self.definition.epoch


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
        self._fetched_text: str | None = None
        self._devices = Devices(request.device_folders, allowed_devices(request))
        policy = cache(partial(open_policy, request.registries))
        self._fetcher = Fetcher(
            store,
            request.registries,
            secrets=request.secrets,
            agent=inputs.agents.get("default"),
            keep_git_dir=is_set(request.build_args, "BUILDKIT_CONTEXT_KEEP_GIT_DIR"),
            cancel=self._cancel,
        )
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
            meant_by=partial(meant_by, request.registries),
            fetch=self._exporter.fetch,
            pull=request.pull,
        )
        self._caches = BuildCaches(
            store,
            emit,
            sources=() if request.no_cache else request.cache_from,
            targets=request.cache_to,
            registries=request.registries,
            policy=policy,
            staying=frozenset(tag.registry for tag in inputs.tags if self._only_pushed()),
            cancel=self._cancel,
        )
        self._front_end = FrontEnd(
            request,
            inputs.platforms,
            self._bases,
            lambda op: self._fetcher.remotes().moment(op, self._cancel),
            emit,
        )

    def run(self) -> tuple[Descriptor, Digest, tuple[str, ...]]:
        """Build, put the image into the store, give it its names, and send it where it is wanted."""
        request, caches = self._request, self._caches
        self._exporter.check(
            request.outputs,
            self._inputs.tags,
            push=request.push,
            index=self._inputs.makes_index,
            platforms=len(self._inputs.platforms),
        )
        if not self._inputs.makes_index and any(
            each.level in (Level.INDEX, Level.INDEX_DESCRIPTOR) for each in self._inputs.annotations
        ):
            raise UsageError("--annotation index: there is no index; several platforms make one")
        planned = self._plan()
        graph, epoch, layers = planned.graph, planned.epoch, planned.layers
        plans: Sequence[ImagePlan] = planned.plans
        self._bases.remember()
        with self._executor(planned) as executor:
            results = Solver(executor, self._emit, self._cancel).solve(graph)
            # The base's bytes may still be elsewhere: a build of known steps asked for none of them.
            left = self._left(graph)
            for step in graph.steps:
                if isinstance(step.op, ImageOp):
                    self._bases.keep(step.op.digest, fetch=step.op.digest not in left)
            into, annotations = self._store, self._inputs.annotations
            unsquashed = [file_system(results[plan.rootfs]) for plan in plans]
            if request.squash:
                plans, results = self._squash(planned, results)
            make = partial(put_built, epoch="" if epoch is None else timestamp(epoch))
            more = caches.inline(executor.noted, results)
            images = [
                make(plan, results, into, annotations, located=caches.located, more=more)
                for plan in plans
            ]
            descriptor, image_id = images[0].descriptor, images[0].image_id
            if self._inputs.makes_index:
                descriptor = put_built_index(images, into, annotations)
                image_id = descriptor.digest
        for reference in self._inputs.tags or (None,):
            self._store.name_image(descriptor, reference)
        names = " ".join(tag.familiar for tag in self._inputs.tags) or "without a name"
        self._emit(Notice(level="info", text=f"image {image_id} {names}"))
        trees = {image.platform: partial(layers.tree, image.files) for image in images}
        sent = descriptor
        pushes = (Output(kind="registry"),) if request.push else ()
        for output in (*request.outputs, *pushes):
            tags = self._inputs.tags
            sent = self._exporter.write(output, descriptor, tags, trees, epoch=epoch) or sent
        caches.write(executor.noted, results, unsquashed, self._exporter.progress("export"))
        return sent, image_id, tuple(str(tag) for tag in self._inputs.tags)

    def plan(self) -> BuildPlan:
        """Say what would be built, and what of it is there already. Files are read, and no more."""
        from wcbuild.buildplan import make_plan  # noqa: PLC0415 - a build makes none

        planned = self._plan()
        with self._executor(planned, thorough=True) as executor:
            known = frozenset(Solver(executor, self._emit, self._cancel).known(planned.graph))
        return make_plan(
            planned.definition.dockerfile,
            planned.definition.stages,
            planned.graph,
            planned.plans,
            known,
            squash=self._request.squash,
        )

    def _plan(self) -> _Planned:
        """Read the context and the Dockerfile, and refuse what this machine cannot do or nobody allowed.

        Raises:
            SourceError, SandboxError, DeviceError: with the lines of the first RUN that it is about.
        """
        # Before there is anything of our own that it could take for that of somebody who died.
        layers = self._layers()
        main = self._main_context()
        definition = self._front_end.read(main)
        plans = self._with_wine(definition, layers)
        self._check_limits(definition.graph)
        self._check_devices(definition.graph)
        return _Planned(definition=definition, main=main, layers=layers, plans=tuple(plans))

    def close(self) -> None:
        """Remove the files that were only for this build."""
        self._fetcher.close()

    @contextlib.contextmanager
    def explaining(self) -> Iterator[None]:
        """Give an error the text of the Dockerfile if that is nowhere on this machine."""
        try:
            yield
        except WcbuildError as error:
            error.dockerfile = self._fetched_text
            raise

    def _main_context(self) -> MainContext:
        """Return the main context, fetched now if it is not a folder."""
        request, main = self._request, self._inputs.context
        if main is None:
            shown = without_secrets(str(request.context))
            self._emit(Notice(level="info", text=f"load build context {shown}"))
            main = self._fetcher.read(str(request.context), request.file, request.stdin)
        if is_fetched(request.context, request.file) or request.file == STDIN:
            self._fetched_text = main.source.text
        return main

    def _with_wine(self, definition: Definition, layers: Layers) -> Sequence[ImagePlan]:
        """Have Wine ready if there are RUNs of Windows images, and let the plans say so.

        Raises:
            SourceError, WcbuildError: such a RUN cannot be run, with the lines of the first.
        """
        graph, plans = definition.graph, definition.plans
        if not windowsruns.steps(graph):
            return plans
        self._wine = wine = windowsruns.open_wine(
            graph,
            isolation=self._request.isolation,
            keep_registry=self._request.wine_registry,
            keep_folders=self._request.wine_keep,
            inner=self._machine.sandbox,
            directory=self._store.root / "wine",
            overlay=layers.snapshotter.name == "overlay",
        )
        return [windowsruns.told(plan, graph, wine) for plan in plans]

    def _check_devices(self, graph: Graph) -> None:
        """Refuse devices that the machine has and nobody allowed, before anything runs.

        Raises:
            DeviceError: with the lines of the RUN.
        """
        for step in graph.steps:
            if isinstance(step.op, RunOp) and step.op.devices:
                with blaming(*step.spans):
                    self._devices.check(step.op.devices)

    def _check_limits(self, graph: Graph) -> None:
        """Refuse limits that this machine cannot hold RUNs to.

        Raises:
            SandboxError: with the lines of the first RUN.
        """
        request = self._request
        first = next((step for step in graph.steps if isinstance(step.op, RunOp)), None)
        if first is None or not (request.memory or request.cpus or request.pids_limit):
            return
        from wcbuild.sandbox import limits  # noqa: PLC0415 - few builds have any

        wanted = RunSpec(args=(), memory=request.memory, cpus=request.cpus, pids=request.pids_limit)
        with blaming(*first.spans):
            limits.check(wanted)

    @property
    def warnings(self) -> tuple[LintWarning, ...]:
        """What the checks found."""
        return self._front_end.warnings

    @property
    def wine_version(self) -> str:
        """The Wine that runs steps of Windows images; empty if there are none."""
        return "" if self._wine is None else self._wine.version

    def _left(self, graph: Graph) -> frozenset[str]:
        """Return the base images that may stay in their registry.

        Nobody reads them, and the image goes to a registry alone, which may have them, too.
        """
        if self._caches.imported is not None:
            # What is read of them has been fetched, because somebody read it.
            return frozenset(step.op.digest for step in graph.steps if isinstance(step.op, ImageOp))
        unread = unread_images(graph) if self._only_pushed() else ()
        return frozenset(filter(self._bases.may_stay, unread))

    def _only_pushed(self) -> bool:
        outputs = [output.kind for output in self._request.outputs]
        return bool(self._request.push or outputs) and set(outputs) <= {"registry"}

    def _squash(
        self, planned: _Planned, results: Sequence[Result]
    ) -> tuple[list[ImagePlan], list[Result]]:
        """Return plans and results with one layer for all that the steps added to their base."""
        from wcbuild.squash import Squasher  # noqa: PLC0415 - most builds do without

        squasher = Squasher(
            planned.layers, self._caches.local, self._emit, anew=self._request.no_cache
        )
        return squasher.squash(planned.plans, planned.graph, results)

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
    def _executor(self, planned: _Planned, *, thorough: bool = False) -> Iterator[StepExecutor]:
        """Make what executes the graph's steps, and end it after the `with` block."""
        request, layers, epoch = self._request, planned.layers, planned.epoch
        contexts = self._contexts(planned.graph, planned.main)
        owners = self._machine.identity.full_ownership
        cache, remotes = self._caches.all, self._fetcher.remotes
        packer = Packer(layers, epoch=epoch, cancel=self._cancel)
        known = Known(
            layers=layers,
            cache=cache,
            images=self._bases,
            contexts=contexts,
            remotes=remotes,
            salt=f"owners={owners} epoch={epoch}",
            wine_salt=f" {self._wine.key}" if self._wine else "",
            unread=self._left(planned.graph),
            # What is looked up late has to be brought here, so as little as possible is.
            thorough=thorough or self._caches.imported is not None,
        )
        runs = Runs(
            known=known,
            layers=layers,
            packer=packer,
            snapshotter=layers.snapshotter,
            sandbox=self._machine.sandbox,
            wine=self._wine,
            limits=Limits(memory=request.memory, cpus=request.cpus, pids=request.pids_limit),
            mounts=Mounts(
                layers=layers,
                snapshotter=layers.snapshotter,
                caches=CacheMounts(self._store.root / "mounts"),
                secrets=Secrets(values=request.secrets, agents=self._inputs.agents),
                scratch=self._store.scratch_folder,
                devices=self._devices,
                ownership=owners,
            ),
            cancel=self._cancel,
        )
        executor = StepExecutor(
            known=known,
            runs=runs,
            packer=packer,
            layers=layers,
            cache=cache,
            images=self._bases,
            remotes=remotes,
            scratch=self._store.scratch_file,
            cancel=self._cancel,
            results=frozenset(plan.rootfs for plan in planned.plans),
            pushed=self._only_pushed(),
            squash=request.squash,
        )
        try:
            yield executor
        finally:
            runs.close()
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
                rules = read_ignore(root)
            index = StatIndex(self._store.context_index_path(str(root)))
            contexts[name] = LocalTree(root, rules, index)
        return contexts
