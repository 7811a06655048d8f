"""What `RUN --mount` names, made visible to a sandbox for as long as the command runs."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Event, Lock
from typing import TYPE_CHECKING, assert_never

from wcbuild.errors import SandboxError, WcbuildError
from wcbuild.graph.keys import CacheKey, digest
from wcbuild.graph.ops import Mount, MountKind, RunOp
from wcbuild.sandbox.base import SandboxMount, SuppliedFile
from wcbuild.sandbox.inside import open_inside
from wcbuild.snapshot.base import Snapshotter
from wcbuild.solve.cachemounts import CacheMounts
from wcbuild.solve.devices import Devices
from wcbuild.solve.layers import Layers
from wcbuild.solve.results import FileSystem

if TYPE_CHECKING:
    from wcbuild.solve.agents import Agent

_AGENT_MODE = 0o600
_CACHE_MODE = 0o755
_FLAGS = {MountKind.SECRET: "--secret id=", MountKind.SSH: "--ssh "}


class MissingSecretError(WcbuildError):
    """A step requires a secret, or an agent, that the build was not given."""

    def __init__(self, kind: MountKind, name: str) -> None:
        super().__init__(kind, name)
        self.kind = kind
        self.name = self.word = name

    def __str__(self) -> str:
        flag = f"{_FLAGS[self.kind]}{self.name}"
        return f'{self.kind} "{self.name}" is required; give it with {flag}'


@dataclass(frozen=True, slots=True, kw_only=True)
class Secrets:
    """What only commands may see, by id. None of it is part of a key, a result or a message."""

    values: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    agents: Mapping[str, Agent] = field(default_factory=dict)


@dataclass(slots=True)
class Surroundings:
    """What the mounts of a RUN add to what its command sees."""

    mounts: list[SandboxMount] = field(default_factory=list)
    files: list[SuppliedFile] = field(default_factory=list, repr=False)
    env: list[str] = field(default_factory=list, repr=False)


class Mounts:
    """Presents mounts to sandboxes; safe to use from several threads.

    With ``ownership``, files can get any owner.
    """

    def __init__(
        self,
        *,
        layers: Layers,
        snapshotter: Snapshotter,
        caches: CacheMounts,
        secrets: Secrets,
        scratch: Callable[[], Path],
        devices: Devices,
        ownership: bool,
    ) -> None:
        self._layers = layers
        self._snapshotter = snapshotter
        self._caches = caches
        self._secrets = secrets
        self._scratch = scratch
        self._devices = devices
        self._ownership = ownership
        self._renewed: set[CacheKey] = set()
        self._lock = Lock()

    def check(self, op: RunOp) -> None:
        """Refuse to mount what is required and was not given.

        Raises:
            MissingSecretError
        """
        for mount in op.mounts:
            given = self._secrets.values if mount.kind is MountKind.SECRET else self._secrets.agents
            if mount.required and mount.id not in given:
                raise MissingSecretError(mount.kind, mount.id)

    @contextlib.contextmanager
    def presented(
        self, op: RunOp, inputs: tuple[FileSystem, ...], cancel: Event, *, anew: bool = False
    ) -> Iterator[Surroundings]:
        """Make what ``op`` mounts visible to this process, for the `with` block.

        With ``anew`` its caches hold nothing of earlier builds.

        Raises:
            MissingSecretError: a required secret was not given.
            DeviceError: a required device is not there, or cannot be had.
            SandboxError: the source of a mount is not there.
            CancelledError: ``cancel`` was set while a cache was waited for.
        """
        given = self._with_devices(op)
        with ExitStack() as stack:
            names = self._cache_names(op, inputs)
            if anew:
                self._renew(names.values(), cancel)
            caches = self._hold_caches(names, inputs, cancel, stack)
            # What lies in another mount comes after it.
            for mount in sorted(op.mounts, key=_target):
                match mount.kind:
                    case MountKind.BIND:
                        files = inputs[mount.input or 0]
                        shown = self._shown(files, mount.source, writable=not mount.read_only)
                        given.mounts.append(_from_host(mount, stack.enter_context(shown)))
                    case MountKind.CACHE:
                        # Others may write to a cache that they share, so the sandbox finds the place.
                        inside = mount.source if mount.input is None else ""
                        given.mounts.append(_from_host(mount, caches[mount], inside))
                    case MountKind.TMPFS:
                        given.mounts.append(_from_host(mount, None))
                    case MountKind.SECRET:
                        self._add_secret(mount, given)
                    case MountKind.SSH:
                        self._add_agent(mount, given, stack)
                    case _:
                        assert_never(mount.kind)
            yield given

    def _with_devices(self, op: RunOp) -> Surroundings:
        if not op.devices:
            return Surroundings()
        added = self._devices.find(op.devices)
        return Surroundings(mounts=list(added.mounts), env=list(added.env))

    @contextlib.contextmanager
    def _shown(self, files: FileSystem, source: str, *, writable: bool) -> Iterator[Path]:
        """Show a file system to this process, and give the place of a path in it.

        Nobody else writes there, so what the path means cannot change any more.
        """
        snapshot = below = self._layers.snapshot(files)
        if below is None or writable:
            # What is written goes to a snapshot of this mount alone, and with it.
            snapshot = self._snapshotter.prepare(below)
        try:
            with self._snapshotter.mounted(snapshot, read_only=not writable) as root:
                yield _place(root, source)
        finally:
            if snapshot is not None and snapshot is not below:
                self._snapshotter.remove(snapshot)

    # -- caches

    def _cache_names(self, op: RunOp, inputs: tuple[FileSystem, ...]) -> dict[Mount, CacheKey]:
        return {
            mount: self._cache_name(mount, inputs)
            for mount in op.mounts
            if mount.kind is MountKind.CACHE
        }

    def _renew(self, names: Iterable[CacheKey], cancel: Event) -> None:
        """Empty caches, but not what this build has put into them since it did that."""
        # One step at a time, and before it holds any cache, so that no two wait for each other.
        for name in sorted(names):
            if name not in self._renewed:
                with self._lock:
                    if name not in self._renewed:
                        self._caches.empty(name, cancel)
                        self._renewed.add(name)

    def _hold_caches(
        self,
        names: Mapping[Mount, CacheKey],
        inputs: tuple[FileSystem, ...],
        cancel: Event,
        stack: ExitStack,
    ) -> dict[Mount, Path]:
        """Return where the caches are, which are held until ``stack`` is closed."""
        held: dict[CacheKey, Path] = {}
        # Everybody takes them in this order, so that no two steps wait for each other. Whoever mounts
        # one twice takes it once, locked if either wants that.
        for mount in sorted(names, key=lambda mount: (names[mount], mount.sharing)):
            name = names[mount]
            if name not in held:
                fill = partial(self._fill, mount, inputs)
                cache = self._caches.held(name, mount.sharing, fill, cancel)
                held[name] = stack.enter_context(cache)
        return {mount: held[name] for mount, name in names.items()}

    def _cache_name(self, mount: Mount, inputs: tuple[FileSystem, ...]) -> CacheKey:
        """Name a cache by its id, and by what it is when it is new."""
        begin = source = ""
        if mount.input is not None:
            begin, source = inputs[mount.input].key, mount.source
        attributes = (mount.mode, mount.uid, mount.gid)
        return digest("mount", mount.id, begin, source, attributes, self._ownership)

    def _fill(self, mount: Mount, inputs: tuple[FileSystem, ...], path: Path) -> None:
        """Make a new cache."""
        mode = mount.mode
        if mount.input is None:
            path.mkdir()
            mode = _CACHE_MODE if mode is None else mode
        else:
            from wcbuild.snapshot.copying import copy_tree  # noqa: PLC0415 - rarely needed

            with self._shown(inputs[mount.input], mount.source, writable=False) as begin:
                if not begin.is_dir():
                    raise SandboxError(f'mount "{mount.target}"', "its source is not a directory")
                copy_tree(str(begin), str(path))
        if self._ownership and (mount.input is None or (mount.uid, mount.gid) != (0, 0)):
            os.chown(path, mount.uid, mount.gid)
        if mode is not None:
            path.chmod(mode)

    # -- secrets

    def _add_secret(self, mount: Mount, given: Surroundings) -> None:
        value = self._secrets.values.get(mount.id)
        if value is None:
            _refuse_if_required(mount)
            return
        if mount.env:
            given.env.append(f"{mount.env}={os.fsdecode(value)}")
        if mount.target:
            file = SuppliedFile(mount.target, value, mount.mode or 0, mount.uid, mount.gid)
            given.files.append(file)

    def _add_agent(self, mount: Mount, given: Surroundings, stack: ExitStack) -> None:
        agent = self._secrets.agents.get(mount.id)
        if agent is None:
            _refuse_if_required(mount)
            return
        from wcbuild.solve.agents import listening  # noqa: PLC0415 - rarely needed

        folder = self._scratch()
        stack.callback(folder.rmdir)
        mode = _AGENT_MODE if mount.mode is None else mount.mode
        owner = (mount.uid, mount.gid) if self._ownership else None
        socket = stack.enter_context(listening(agent, folder, mode=mode, owner=owner))
        given.mounts.append(SandboxMount(target=mount.target, source=socket, read_only=True))
        given.env.append(f"{mount.env}={mount.target}")


def _refuse_if_required(mount: Mount) -> None:
    if mount.required:
        raise MissingSecretError(mount.kind, mount.id)


def _target(mount: Mount) -> str:
    return mount.target


def _from_host(mount: Mount, source: Path | None, inside: str = "") -> SandboxMount:
    return SandboxMount(
        target=mount.target,
        source=source,
        inside=inside,
        read_only=mount.read_only,
        size=mount.size,
    )


def _place(root: Path, source: str) -> Path:
    """Return where ``source`` lies, symlinks resolved inside ``root``."""
    try:
        found = open_inside(root, source)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise SandboxError(f'mount source "/{source}"', reason) from error
    try:
        return Path(os.readlink(f"/proc/self/fd/{found}"))
    finally:
        os.close(found)
