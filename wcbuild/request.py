"""What a build is asked for and what it gives, and how the one is read.

Here, in `wcbuild.builder` and in `wcbuild.cli`, is where the host's platform and the environment are asked.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from registry.oci.descriptor import Descriptor
from registry.oci.digest import Digest
from registry.oci.platform import Platform
from wcbuild.access import RegistryAccess
from wcbuild.dockerfile.lower import Entitlement, Options
from wcbuild.dockerfile.rules import LintWarning
from wcbuild.dockerfile.suggest import did_you_mean
from wcbuild.dockerfile.truth import parse_truth
from wcbuild.errors import UsageError
from wcbuild.graph.ops import Network
from wcbuild.inputs import MainContext
from wcbuild.outputs import Output

if TYPE_CHECKING:
    from registry.sign import SigningKey
    from wcbuild.remotecache.spec import CacheFrom, CacheTo


SHM_BYTES = 64 * 1024 * 1024
"""Of /dev/shm in a RUN, as docker has it."""

DEVICE_FOLDERS = (Path("/etc/cdi"), Path("/var/run/cdi"), Path("/etc/buildkit/cdi"))
"""Where specifications of devices usually are."""


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
    squash: bool = False
    """Make one layer of those that the build adds to its base image, whose own stay."""
    no_cache: bool = False
    no_cache_filter: tuple[str, ...] = ()
    """Names of stages whose steps are all done again."""
    cache_from: tuple[CacheFrom, ...] = ()
    """Where else to look for what was built before, in this order. One that cannot be had is a warning."""
    cache_to: tuple[CacheTo, ...] = ()
    """Where to leave what was built."""
    allow: tuple[str, ...] = ()
    """What the Dockerfile may have: `network.host`, `security.insecure`, `device`, which is all devices, or
    `device=NAME[,alias=NAME]`, with which a RUN may call it another name."""
    compat: str = ""
    r"""`2015` reads a Dockerfile without an escape directive as the first ones for Windows were meant: a
    backslash is part of a path, and a backtick escapes."""
    network: str = "default"
    add_hosts: tuple[tuple[str, str], ...] = ()
    ulimits: tuple[tuple[str, int, int], ...] = ()
    shm_size: int = SHM_BYTES
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
    sign_key: SigningKey | None = field(default=None, repr=False)
    """Signs what is pushed."""
    root: Path | None = None
    """Where the store is; None is the usual place."""
    registries: RegistryAccess = field(default_factory=RegistryAccess)


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildResult:
    """What a build gave."""

    image_id: Digest
    """The config's digest; of several platforms, the index's."""
    descriptor: Descriptor
    """In the local store, or what the last archive, layout or registry has that it went to."""
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


_COMPAT_2015 = "2015"
_MULTI_PLATFORM = "BUILDKIT_MULTI_PLATFORM"
_DEVICE = f"{Entitlement.DEVICE}="


def escape_of(request: BuildRequest) -> str:
    """Return the escape character of a Dockerfile that names none.

    Raises:
        UsageError: there is no such way to read it.
    """
    if request.compat not in ("", _COMPAT_2015):
        raise UsageError(f'--compat "{request.compat}": there is only {_COMPAT_2015}')
    return "`" if request.compat == _COMPAT_2015 else "\\"


def read_platforms(text: str) -> tuple[Platform, ...]:
    """Return the platforms that `--platform` names, at least one; `local` is this machine's."""
    if not text:
        return (host_platform(),)
    names = (each.strip() for each in text.split(","))
    return tuple(
        dict.fromkeys(
            host_platform() if name.lower() == "local" else Platform.parse(name) for name in names
        )
    )


def make_options(request: BuildRequest, platform: Platform, main: MainContext) -> Options:
    """Return what a request says of its Dockerfile, for one platform.

    Raises:
        UsageError: an entitlement, or a way to read the Dockerfile, that there is not.
    """
    return Options(
        platform=platform,
        build_platform=host_platform(),
        platform_given=bool(request.platform),
        show_platform="," in request.platform,
        target=request.target,
        escape=escape_of(request),
        build_args=request.build_args,
        labels=request.labels,
        owned_context=main.owned,
        network=Network(request.network),
        allow=_entitlements(request),
        hosts=request.add_hosts,
        ulimits=request.ulimits,
        shm_size=request.shm_size,
        no_cache=request.no_cache,
        no_cache_stages=frozenset(name.lower() for name in request.no_cache_filter),
    )


def is_set(build_args: Mapping[str, str], name: str) -> bool:
    """Say whether a build argument that is a switch is on."""
    return parse_truth(build_args.get(name, "")) is True


def makes_index(request: BuildRequest, platforms: Collection[Platform]) -> bool:
    """Say whether the build makes an index, and not an image alone.

    Raises:
        UsageError: the build argument that decides it says neither yes nor no, or no to several.
    """
    text = request.build_args.get(_MULTI_PLATFORM, "")
    several = len(platforms) > 1
    wanted = parse_truth(text) if text else several
    if wanted is None:
        raise UsageError(f'{_MULTI_PLATFORM} is true or false, not "{text}"')
    if several and not wanted:
        raise UsageError(f"{_MULTI_PLATFORM}={text}: several platforms need an index")
    return wanted


def _entitlements(request: BuildRequest) -> frozenset[Entitlement]:
    """Return what is allowed; whoever gives every RUN the host's network allows it to one."""
    found = {_entitlement(text) for text in request.allow}
    if request.network == Network.HOST:
        found.add(Entitlement.NETWORK_HOST)
    return frozenset(found)


def allowed_devices(request: BuildRequest) -> Mapping[str, str] | None:
    """Return the names that RUN may use for devices, each with the one it stands for; None is all.

    Raises:
        UsageError: nobody can tell which device is meant.
    """
    if Entitlement.DEVICE in request.allow:
        return None
    return dict(_device(text) for text in request.allow if text.startswith(_DEVICE))


def _device(text: str) -> tuple[str, str]:
    name, *more = text.removeprefix(_DEVICE).split(",")
    alias = more[0].removeprefix("alias=") if more else name
    if not (name and alias) or len(more) > 1 or more == [alias]:
        raise UsageError(f'--allow "{text}": expected device=NAME[,alias=NAME]')
    return alias, name


def _entitlement(text: str) -> Entitlement:
    if text.startswith(_DEVICE):
        _device(text)
        return Entitlement.DEVICE
    try:
        return Entitlement(text)
    except ValueError:
        near = did_you_mean(text, tuple(Entitlement))
        hint = near or f"there are {', '.join(Entitlement)}"
        raise UsageError(f'--allow "{text}": unknown entitlement ({hint})') from None
