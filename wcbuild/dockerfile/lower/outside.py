"""What lowering takes from its caller, and what it gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from registry.oci.config import ImageConfig
from registry.oci.platform import Platform
from wcbuild.errors import SourceError
from wcbuild.graph.ops import Graph, Network, OfferedOp
from wcbuild.graph.plan import ImagePlan

MAIN_CONTEXT = "context"


class BaseImageError(SourceError):
    """A base image cannot be had; its ``__cause__`` says why in full."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedImage:
    """What lowering needs of a base image."""

    digest: str
    """The manifest's."""
    config: ImageConfig


class Outside(Protocol):
    """What stands outside the Dockerfile."""

    def image(self, name: str, platform: Platform) -> ResolvedImage:
        """Return the image that ``name`` means, a named context first.

        Raises:
            RegistryError: there is none, or it cannot be had.
        """
        ...

    def has_context(self, name: str) -> bool:
        """Say whether a named context of this name, of any kind, was given."""
        ...

    def is_folder(self, name: str) -> bool:
        """Say whether the named context is a set of files, not an image."""
        ...

    def files(self, name: str) -> OfferedOp:
        """Return what offers the files of the main context, or of a named one that `is_folder`.

        Raises:
            SourceError: its URL makes no sense.
        """
        ...

    def stage_named(self, name: str) -> str:
        """Return the name of the stage that ``name`` means: mostly itself."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the caller of a build decides about its Dockerfile."""

    platform: Platform
    build_platform: Platform
    target: str = ""
    build_args: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    network: Network = Network.DEFAULT
    hosts: tuple[tuple[str, str], ...] = ()
    ulimits: tuple[tuple[str, int, int], ...] = ()
    shm_size: int = 64 * 1024 * 1024
    no_cache: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Lowered:
    """A graph, and what to make of its last file system."""

    graph: Graph
    plan: ImagePlan
