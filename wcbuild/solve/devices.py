"""Devices of the machine that `RUN --device` names, as the Container Device Interface describes them.

Specification: https://github.com/cncf-tags/container-device-interface/blob/main/SPEC.md. A file in one of
a few folders says what a name such as `vendor.com/class=name` adds to a container.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from registry.errors import RegistryError
from registry.files import read_limited
from wcbuild.dockerfile.suggest import did_you_mean
from wcbuild.errors import WcbuildError
from wcbuild.graph.ops import Device
from wcbuild.sandbox.base import SandboxMount

MAX_SPECIFICATION_BYTES = 4 << 20
"""The largest that vendors' tools write have a few hundred KiB."""
_DONE = frozenset(("env", "deviceNodes", "mounts"))
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


def find_devices(wanted: Sequence[Device], folders: Iterable[Path]) -> Additions:
    """Return what the devices add. One that is neither there nor required adds nothing.

    What a later one of the ``folders`` says goes before what an earlier one does.

    Raises:
        DeviceError: a required one is not there, a specification cannot be read, or it asks for
            something that is not done here.
    """
    if not wanted:
        return Additions()
    known = _read_all(folders)
    env: list[str] = []
    mounts: dict[str, SandboxMount] = {}
    for device in wanted:
        # A class alone is any of its devices.
        names = [name for name in known if device.name in (name, name.partition("=")[0])]
        if not names:
            _refuse_if_required(device, known)
            continue
        for edits in known[names[0]]:
            added = _additions(edits, device.name)
            env += added.env
            # A specification's common part comes with each of its devices.
            mounts |= {mount.target: mount for mount in added.mounts}
    return Additions(env=tuple(dict.fromkeys(env)), mounts=tuple(mounts.values()))


def _refuse_if_required(device: Device, known: Mapping[str, object]) -> None:
    if device.required:
        hint = did_you_mean(device.name, known)
        suffix = f"; {hint}" if hint else ""
        raise DeviceError(device.name, f"is required, and this machine has none{suffix}")


def _read_all(folders: Iterable[Path]) -> dict[str, tuple[Mapping[str, Any], ...]]:
    """Return the edits for each device by its full name."""
    known: dict[str, tuple[Mapping[str, Any], ...]] = {}
    for folder in folders:
        for path in sorted(folder.glob("*")) if folder.is_dir() else ():
            if path.suffix in _SUFFIXES:
                known.update(_read(path))
    return known


def _read(path: Path) -> Iterator[tuple[str, tuple[Mapping[str, Any], ...]]]:
    try:
        raw = read_limited(path, MAX_SPECIFICATION_BYTES, str(path))
        data = json.loads(raw) if path.suffix == ".json" else _yaml(raw)
        common = data.get("containerEdits") or {}
        for device in data.get("devices") or ():
            yield f"{data['kind']}={device['name']}", (common, device.get("containerEdits") or {})
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
