"""Devices of the machine that `RUN --device` names, as the Container Device Interface describes them.

Specification: https://github.com/cncf-tags/container-device-interface/blob/main/SPEC.md. A file in one of
a few folders says what a name such as `vendor.com/class=name` adds to a container.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from registry.errors import RegistryError
from registry.files import read_limited
from wcbuild.dockerfile.suggest import did_you_mean
from wcbuild.dockerfile.truth import parse_truth
from wcbuild.errors import WcbuildError
from wcbuild.graph.ops import Device
from wcbuild.sandbox.base import SandboxMount

MAX_SPECIFICATION_BYTES = 4 << 20
"""The largest that vendors' tools write have a few hundred KiB."""
_DONE = frozenset(("env", "deviceNodes", "mounts"))
_ALL = "*"
_LABEL = "org.mobyproject.buildkit.device.class"
_ALLOWED = "org.mobyproject.buildkit.device.autoallow"
"""Annotations that BuildKit gave a meaning."""
_SUFFIXES = (".json", ".yaml", ".yml")


class DeviceError(WcbuildError):
    """A device that a step requires and cannot have."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(name, reason)
        self.name = name
        self.reason = reason
        self.word = name

    def __str__(self) -> str:
        return f'device "{self.name}": {self.reason}'


@dataclass(frozen=True, slots=True, kw_only=True)
class Additions:
    """What devices add to what a command sees."""

    env: tuple[str, ...] = ()
    mounts: tuple[SandboxMount, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Specified:
    """What a specification says of one device."""

    edits: tuple[Mapping[str, Any], ...]
    label: str
    """A name of its own that several devices may share."""
    allowed: bool
    """Whoever wrote the specification lets every build have it."""


class Devices:
    """The machine's devices, and which of them a build may have.

    ``folders`` hold specifications; what a later one says goes before what an earlier one does.
    ``allowed`` are names that a RUN may use, each with the one that it stands for; None is all.
    """

    def __init__(self, folders: Iterable[Path], allowed: Mapping[str, str] | None) -> None:
        self._folders = tuple(folders)
        self._allowed = allowed

    @cached_property
    def _known(self) -> dict[str, _Specified]:
        return _read_all(self._folders)

    def check(self, wanted: Iterable[Device]) -> None:
        """Refuse devices that are there and not allowed.

        Raises:
            DeviceError: one is, or a specification cannot be read.
        """
        for device in wanted:
            self._names(device.name, self._known)

    def find(self, wanted: Iterable[Device]) -> Additions:
        """Return what the devices add. One that is neither there nor required adds nothing.

        Raises:
            DeviceError: a required one is not there, one is not allowed, a specification cannot be
                read, or it asks for something that is not done here.
        """
        known = self._known
        env: list[str] = []
        mounts: dict[str, SandboxMount] = {}
        for device in wanted:
            names = self._names(device.name, known)
            if not names:
                _refuse_if_required(device, known)
            for edits in (edits for name in names for edits in known[name].edits):
                added = _additions(edits, device.name)
                env += added.env
                # A specification's common part comes with each of its devices.
                mounts |= {mount.target: mount for mount in added.mounts}
        return Additions(env=tuple(dict.fromkeys(env)), mounts=tuple(mounts.values()))

    def _names(self, wanted: str, known: Mapping[str, _Specified]) -> list[str]:
        """Return the full names of the devices that ``wanted`` means, all of which are allowed."""
        if self._allowed is None or wanted in self._allowed:
            return _meant(wanted if self._allowed is None else self._allowed[wanted], known)
        allowed = {name for each in self._allowed.values() for name in _meant(each, known)}
        names = _meant(wanted, known)
        for name in names:
            if name not in allowed and not known[name].allowed:
                way = f"if you trust this Dockerfile, build with --allow device={name}"
                raise DeviceError(wanted, f"is not allowed; {way}")
        return names


def _meant(wanted: str, known: Mapping[str, _Specified]) -> list[str]:
    """Return what a name means: one device, the first or (`=*`) all of a class, or all of a label."""
    if wanted in known:
        return [wanted]
    kind, equals, name = wanted.partition("=")
    names = [each for each in sorted(known) if each.partition("=")[0] == kind]
    if names and (name == _ALL or not equals):
        return names if equals else names[:1]
    return [name for name, device in sorted(known.items()) if device.label == wanted]


def _refuse_if_required(device: Device, known: Mapping[str, object]) -> None:
    if device.required:
        hint = did_you_mean(device.name, known)
        suffix = f"; {hint}" if hint else ""
        raise DeviceError(device.name, f"is required, and this machine has none{suffix}")


def _read_all(folders: Iterable[Path]) -> dict[str, _Specified]:
    """Return the devices by their full names."""
    known: dict[str, _Specified] = {}
    for folder in folders:
        for path in sorted(folder.glob("*")) if folder.is_dir() else ():
            if path.suffix in _SUFFIXES:
                known.update(_read(path))
    return known


def _read(path: Path) -> Iterator[tuple[str, _Specified]]:
    try:
        raw = read_limited(path, MAX_SPECIFICATION_BYTES, str(path))
        data = json.loads(raw) if path.suffix == ".json" else _yaml(raw)
        common = data.get("containerEdits") or {}
        for device in data.get("devices") or ():
            notes = {**(data.get("annotations") or {}), **(device.get("annotations") or {})}
            yield (
                f"{data['kind']}={device['name']}",
                _Specified(
                    edits=(common, device.get("containerEdits") or {}),
                    label=str(notes.get(_LABEL, "")),
                    allowed=parse_truth(str(notes.get(_ALLOWED))) is True,
                ),
            )
    except (OSError, RegistryError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DeviceError(str(path), f"is not a specification of devices ({error})") from error


def _yaml(raw: bytes) -> Any:
    import yaml  # noqa: PLC0415 - only a few machines have such files

    try:
        return yaml.safe_load(raw)
    except yaml.YAMLError as error:
        raise ValueError(error) from error


def _additions(edits: Mapping[str, Any], name: str) -> Additions:
    undone = sorted(key for key, value in edits.items() if value and key not in _DONE)
    if undone:
        raise DeviceError(name, f'its specification asks for "{undone[0]}", which is not done here')
    try:
        nodes = tuple(
            SandboxMount(
                target=node["path"],
                source=Path(node.get("hostPath") or node["path"]),
                read_only="w" not in node.get("permissions", "rw"),
                device=True,
            )
            for node in edits.get("deviceNodes") or ()
        )
        mounts = tuple(
            SandboxMount(
                target=mount["containerPath"],
                source=Path(mount["hostPath"]),
                read_only="ro" in (mount.get("options") or ()),
            )
            for mount in edits.get("mounts") or ()
        )
        return Additions(env=tuple(map(str, edits.get("env") or ())), mounts=(*nodes, *mounts))
    except (KeyError, TypeError, AttributeError) as error:
        raise DeviceError(name, f"its specification cannot be read ({error})") from error
