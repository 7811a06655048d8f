"""A stage while its instructions are being lowered."""

from __future__ import annotations

from dataclasses import dataclass, replace

from registry.oci.config import ContainerConfig, ImageConfig
from registry.oci.platform import Platform
from wcbuild.dockerfile.stages import Stage
from wcbuild.dockerfile.variables import Variables
from wcbuild.graph.ops import WINDOWS
from wcbuild.graph.plan import PlannedHistory

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
NEVER_SET = frozenset(("BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"))
"""Arguments that speak to the builder and never become variables."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offered:
    """Files that an instruction takes from somewhere else."""

    step: int
    """What offers them."""
    has_owners: bool
    """Whether owners are known: those of a folder are nobody's in an image."""
    origin: str
    """As `CopyOp.origin`."""


class StageState:
    """What the instructions of a stage have come to so far."""

    def __init__(self, stage: Stage, platform: Platform) -> None:
        self.stage = stage
        self.platform = platform
        self.parent: StageState | None = None
        """The stage that this one stands on, if it is one."""
        self.base: ImageConfig | None = None
        self.config = ContainerConfig()
        self.author = ""
        self.rootfs = -1
        self.reference = ""
        self.env = Variables()
        """The image's, which `config` gets when the stage is done."""
        self.ports: dict[str, None] = {}
        """As `env`, but of EXPOSE."""
        self.volumes: dict[str, None] = {}
        """As `env`, but of VOLUME."""
        self.scope = Variables()
        """What `$NAME` and a RUN see: ENV and ARG, the later one wins."""
        self.args: list[tuple[str, str | None]] = []
        self.history: list[PlannedHistory] = []
        self.triggers: tuple[str, ...] = ()
        self.cmd_is_set = False
        self.total = 0
        self.position = 0

    @property
    def is_windows(self) -> bool:
        """Whether paths, names and shells are those of Windows."""
        return self.platform.os == WINDOWS

    def inherit(self, parent: StageState) -> None:
        """Start from where another stage ended."""
        self.parent = parent
        self.base = parent.base
        self.config = replace(parent.config, on_build=())
        self.ports = dict(parent.ports)
        self.volumes = dict(parent.volumes)
        self.author = parent.author
        self.rootfs = parent.rootfs
        self.platform = parent.platform
        self.env = parent.env.copy()
        # What the image says counts again, even where an ARG of the parent was the later one.
        self.scope = parent.scope.copy()
        self.scope.renew_all(self.env)
        self.args = list(parent.args)
        self.history = list(parent.history)
        self.triggers = parent.config.on_build

    def set_config(self, config: ContainerConfig) -> None:
        """Start from the config of an image, or from that of none."""
        self.env = Variables(config.env, caseless=self.is_windows)
        if not self.is_windows:
            self.env.setdefault("PATH", DEFAULT_PATH)
        self.config = config
        self.ports = dict.fromkeys(config.exposed_ports)
        self.volumes = dict.fromkeys(config.volumes)
        self.scope = self.env.copy()

    def finish(self) -> None:
        """Complete the config: no instruction comes any more."""
        self.config = replace(
            self.config,
            env=self.env.entries(),
            exposed_ports=tuple(self.ports),
            volumes=tuple(self.volumes),
        )

    def note(self, created_by: str, step: int | None = None) -> None:
        """Add a line of history."""
        self.history.append(PlannedHistory(created_by=created_by, step=step))
