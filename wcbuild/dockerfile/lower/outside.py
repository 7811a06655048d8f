"""What lowering takes from its caller, and what it gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from registry.oci.config import ImageConfig
from registry.oci.platform import Platform
from wcbuild.dockerfile.directives import ESCAPES
from wcbuild.errors import SourceError
from wcbuild.graph.ops import DEFAULT_SHM_SIZE, Graph, Network, OfferedOp
from wcbuild.graph.plan import ImagePlan

MAIN_CONTEXT = "context"
SCRATCH = "scratch"
"""What stands for no image; no named context has this name."""


class BaseImageError(SourceError):
    """A base image cannot be had; its ``__cause__`` says why in full."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedImage:
    """What lowering needs of a base image."""

    digest: str
    """The manifest's."""
    config: ImageConfig


class Entitlement(StrEnum):
    """What a Dockerfile gets only from somebody who trusts it."""

    NETWORK_HOST = "network.host"
    SECURITY_INSECURE = "security.insecure"
    DEVICE = "device"
    """All devices. Whether a RUN may have one is known once the machine's are, so lowering takes any."""


class ContextKind(StrEnum):
    """What a named context holds."""

    FILES = "files"
    IMAGE = "image"
    SCRATCH = "scratch"
    STAGE = "stage"
    """The same as another stage of the Dockerfile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedContext:
    """What `--build-context` gave a name to."""

    name: str
    """The one it is known by, however the Dockerfile spells it."""
    kind: ContextKind
    files: OfferedOp | None = None
    """What offers the files, if that is not the `ContextOp` of this name."""
    stage: str = ""
    """The stage's name, if it is one."""


class Outside(Protocol):
    """What stands outside the Dockerfile."""

    def image(self, name: str, platform: Platform) -> ResolvedImage:
        """Return the image that ``name`` means, a named context first.

        Raises:
            RegistryError: there is none, or it cannot be had.
        """
        ...

    def context(self, name: str, platform: Platform) -> NamedContext | None:
        """Return the named context that ``name`` means for a platform, None if none was given."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the caller of a build decides about its Dockerfile."""

    platform: Platform
    build_platform: Platform
    platform_given: bool = False
    """Somebody asked for ``platform``; else it is the machine's, and any base will do."""
    target: str = ""
    escape: str = ESCAPES[0]
    """Of a Dockerfile that names none."""
    every_stage: bool = False
    """Lower the stages that the target does not need, too."""
    without_images: bool = False
    """Take an image that cannot be had for an empty one. Nothing can be built from what comes out."""
    build_args: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    network: Network = Network.DEFAULT
    allow: frozenset[Entitlement] = frozenset()
    """What the person who builds lets a RUN have, should it ask."""
    owned_context: bool = False
    """The files of the main context have owners: it is a tar."""
    hosts: tuple[tuple[str, str], ...] = ()
    ulimits: tuple[tuple[str, int, int], ...] = ()
    shm_size: int = DEFAULT_SHM_SIZE
    no_cache: bool = False
    show_platform: bool = False
    """Say in labels which platform a step is for: there are several."""
    no_cache_stages: frozenset[str] = frozenset()
    """Names of stages of which every step is done again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lowered:
    """A graph, and what to make of its last file system."""

    graph: Graph
    plan: ImagePlan
    unused_build_args: tuple[str, ...]
    """Names of build arguments that no ARG declares, and that mean nothing of themselves."""
    source_date_epoch: str
    """SOURCE_DATE_EPOCH as a build argument or a global ARG gives it; empty is none."""
    stages: frozenset[int]
    """Indexes of the stages that the target needs."""
