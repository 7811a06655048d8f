"""What an image will be, before anything runs."""

from __future__ import annotations

from dataclasses import dataclass

from registry.oci.config import ContainerConfig, History
from registry.oci.platform import Platform


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedHistory:
    """A line of history; ``step`` is the step whose layer it describes, None for metadata."""

    created_by: str
    comment: str = "buildkit.dockerfile.v0"
    step: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePlan:
    """The folded config instructions beside the step that gives the file system."""

    rootfs: int
    """Index of a step in the graph."""
    platform: Platform
    config: ContainerConfig
    author: str = ""
    base_history: tuple[History, ...] = ()
    """The base image's, kept as it is."""
    history: tuple[PlannedHistory, ...] = ()
