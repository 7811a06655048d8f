"""What every way to run a command takes and gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import NamedTuple, Protocol

from wcbuild.graph.ops import Network


@dataclass(frozen=True, slots=True, kw_only=True)
class RootMount:
    """How to make a root file system visible.

    With ``lower``: an overlay, topmost lower directory first; ``upper`` and ``work`` empty make it
    read-only (one lower directory alone is then bind-mounted). Without: ``upper`` is a plain directory,
    bind-mounted.
    """

    lower: tuple[Path, ...] = ()
    upper: Path | None = None
    work: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxMount:
    """Something from the host, or a fresh tmpfs, that the command sees at ``target``.

    The mount point is created in the root if it is missing and is gone again afterwards.
    """

    target: str
    """Absolute path in the sandbox; resolved inside its root, symlinks and all."""
    source: Path | None = None
    """A host file or directory; None mounts a fresh tmpfs."""
    inside: str = ""
    """A path in the directory ``source`` to mount instead of it. As others may write there, it is resolved
    when it is mounted, inside the directory, symlinks and all."""
    read_only: bool = False
    device: bool = False
    """``source`` is a device node, which the command may open."""
    size: int = 0
    """Bytes, for tmpfs; 0 is the kernel's default."""
    mode: int | None = None


class SuppliedFile(NamedTuple):
    """A read-only file that appears for the command only: a script, a secret. It is never on a disk."""

    path: str
    """Absolute."""
    data: bytes
    mode: int
    uid: int = 0
    gid: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSpec:
    """One command and its surroundings. Secrets are among them, so not all of it is shown."""

    args: tuple[str, ...]
    verbatim: bool = False
    """Windows only: the command line is ``args`` with spaces between them, and not quoted."""
    env: tuple[str, ...] = field(default=(), repr=False)
    """`NAME=value`; nothing of the caller's environment is added. HOME comes from passwd when absent."""
    cwd: str = "/"
    """Created if it is missing, as a runtime does."""
    user: str = ""
    """`user[:group]`, names or numbers, looked up in the sandbox's own passwd and group files."""
    network: Network = Network.DEFAULT
    hostname: str = "buildkitsandbox"
    insecure: bool = False
    """All capabilities, no seccomp, no masked paths."""
    mounts: tuple[SandboxMount, ...] = ()
    files: tuple[SuppliedFile, ...] = field(default=(), repr=False)
    hosts: tuple[tuple[str, str], ...] = ()
    ulimits: tuple[tuple[str, int, int], ...] = ()
    shm_size: int = 64 * 1024 * 1024
    memory: int = 0
    """Bytes; 0 is no limit."""
    cpus: float = 0.0
    pids: int = 0
    read_only_root: bool = False
    terminal: bool = False
    """stdin is a terminal that becomes the command's controlling one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExitStatus:
    """How a command ended."""

    code: int
    """0 to 255; 128 and the signal's number when a signal ended it."""
    signal: int = 0
    out_of_memory: bool = False


class Sandbox(Protocol):
    """One way to run a command."""

    def run(
        self,
        root: RootMount,
        spec: RunSpec,
        output: Callable[[int, bytes], None],
        *,
        cancel: Event | None = None,
    ) -> ExitStatus:
        """Run the command to its end; everything in the sandbox is dead when this returns.

        ``output`` receives 1 or 2 (stdout, stderr) and bytes as they come. Setting ``cancel`` kills.
        stdin is /dev/null. May be called from several threads at once.

        Raises:
            SandboxError: the sandbox could not be made; the command did not run.
        """
        ...
