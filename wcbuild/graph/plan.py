"""What an image will be, before anything runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from registry.oci.config import ContainerConfig, History
from registry.oci.platform import Platform


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedHistory:
    """A line of history; ``step`` is the step whose layer it describes, None for metadata."""

    created_by: str
    comment: str = "buildkit.dockerfile.v0"
    step: int | None = None
    is_squashed: bool = False
    """The step's layer is part of a later line's."""

    @property
    def has_layer(self) -> bool:
        return self.step is not None and not self.is_squashed


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

    def moved(self, places: Sequence[int]) -> ImagePlan:
        """Return the plan for a graph in which step ``n`` is the one at ``places[n]``."""
        history = tuple(
            line if line.step is None else replace(line, step=places[line.step])
            for line in self.history
        )
        return replace(self, rootfs=places[self.rootfs], history=history)
