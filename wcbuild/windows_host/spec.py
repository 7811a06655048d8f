"""Documents that start a container on a Windows host, as pure functions of what shall run.

They are an OCI runtime spec, for containerd, and those of the Host Compute Service itself.

Spec: https://github.com/opencontainers/runtime-spec/blob/main/config-windows.md and
https://learn.microsoft.com/virtualization/api/hcs/schemareference
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from wcbuild.graph.ops import Network
from wcbuild.sandbox.base import RunSpec, SandboxMount

OCI_VERSION = "1.1.0"
SCHEMA = {"Major": 2, "Minor": 1}
OWNER = "wcbuild"
MAX_CPU_SHARE = 10_000
"""All of the processors that a container sees, in the unit of both documents."""
_MIB = 1 << 20

_CMD = re.compile(r'(?:"?(?:[^"\s]*[\\/])?cmd(?:\.exe)?"?)', re.IGNORECASE)
_TAKES_THE_REST = ("/c", "/k")


class HostLayer(NamedTuple):
    """A layer's folder on the host."""

    id: str
    """A GUID: what the host's `NameToGuid` makes of the folder's last name."""
    folder: str


def command_line(args: Sequence[str]) -> str:
    """Return the one line that a Windows process starts with.

    `cmd /C` takes what follows as it stands, so that is what it gets; other programs take the line apart as
    the C runtime does, and arguments are quoted for them.
    """
    import subprocess  # noqa: PLC0415 - it is heavy, and all that is wanted is its quoting

    switches = [arg.lower() for arg in args]
    for place, switch in enumerate(switches):
        if switch in _TAKES_THE_REST and _CMD.fullmatch(args[0]):
            return " ".join(args)
        if place and not switch.startswith("/"):
            break
    return subprocess.list2cmdline(args)


def runtime_spec(
    spec: RunSpec, layers: Sequence[str], *, hyperv: bool = False, processors: int = 0
) -> dict[str, Any]:
    """Return the OCI runtime spec for a command in a container.

    Args:
        spec: the command; its paths have forward slashes and no drive, as steps do.
        layers: folders on the host, the uppermost first and the scratch folder last.
        hyperv: isolate by a virtual machine.
        processors: how many the host has, of which ``spec.cpus`` are a share; 0 is unknown.
    """
    process: dict[str, Any] = {
        "commandLine": _line(spec),
        "cwd": on_drive(spec.cwd),
        "env": list(spec.env),
        "user": {"username": spec.user} if spec.user else {},
    }
    windows: dict[str, Any] = {"layerFolders": list(layers)}
    resources: dict[str, Any] = {}
    if spec.memory:
        resources["memory"] = {"limit": spec.memory}
    if spec.cpus:
        resources["cpu"] = {"maximum": _share(spec.cpus, processors)}
    if resources:
        windows["resources"] = resources
    if hyperv:
        windows["hyperv"] = {}
    if spec.network is Network.NONE:
        windows["network"] = {"allowUnqualifiedDNSQuery": False}
    return {
        "ociVersion": OCI_VERSION,
        "hostname": spec.hostname,
        "process": process,
        "root": {},
        "mounts": [_mount(mount) for mount in spec.mounts],
        "windows": windows,
    }


def hcs_document(
    spec: RunSpec,
    layers: Sequence[HostLayer],
    volume: str,
    *,
    namespace: str = "",
    processors: int = 0,
) -> dict[str, Any]:
    r"""Return the document of `HcsCreateComputeSystem` for a container isolated by process.

    Args:
        spec: the command and its limits.
        layers: the read-only layers, the uppermost first.
        volume: where the scratch layer is mounted, `\\?\Volume{…}\`.
        namespace: id of a network namespace of the Host Network Service.
        processors: as in `runtime_spec`.
    """
    container: dict[str, Any] = {
        "GuestOs": {"HostName": spec.hostname},
        "Storage": {
            "Path": volume,
            "Layers": [{"Id": layer.id, "Path": layer.folder} for layer in layers],
        },
        "MappedDirectories": [
            {
                "HostPath": str(mount.source),
                "ContainerPath": on_drive(mount.target),
                "ReadOnly": mount.read_only,
            }
            for mount in spec.mounts
        ],
    }
    if spec.memory:
        container["Memory"] = {"SizeInMB": -(-spec.memory // _MIB)}
    if spec.cpus:
        container["Processor"] = {"Maximum": _share(spec.cpus, processors)}
    if namespace and spec.network is not Network.NONE:
        container["Networking"] = {"Namespace": namespace}
    return {
        "SchemaVersion": SCHEMA,
        "Owner": OWNER,
        "ShouldTerminateOnLastHandleClosed": True,
        "Container": container,
    }


def process_document(spec: RunSpec) -> dict[str, Any]:
    """Return the document of `HcsCreateProcess` for the command of a container."""
    return {
        "CommandLine": _line(spec),
        "WorkingDirectory": on_drive(spec.cwd),
        "User": spec.user,
        "Environment": dict(entry.partition("=")[::2] for entry in spec.env),
        "CreateStdInPipe": False,
        "CreateStdOutPipe": True,
        "CreateStdErrPipe": True,
    }


def _line(spec: RunSpec) -> str:
    return " ".join(spec.args) if spec.verbatim else command_line(spec.args)


def on_drive(path: str) -> str:
    r"""Return a path of a step as Windows has it: `C:\app`."""
    return "C:" + path.replace("/", "\\")


def _mount(mount: SandboxMount) -> dict[str, Any]:
    return {
        "source": str(mount.source),
        "destination": on_drive(mount.target),
        "options": ["ro" if mount.read_only else "rw"],
    }


def _share(cpus: float, processors: int) -> int:
    """Return so many processors as a share of all, at least the smallest there is."""
    whole = max(processors, 1)
    return min(MAX_CPU_SHARE, max(1, round(MAX_CPU_SHARE * cpus / whole)))
