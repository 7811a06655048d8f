"""Operations, steps and the graph. All values are frozen; `wcbuild.graph.keys` writes them as JSON.

Paths of an image begin with `/` and have forward slashes and no drive, also those of a Windows image.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from registry.oci.platform import Platform

if TYPE_CHECKING:
    from wcbuild.dockerfile.source import Span


LINUX = "linux"
WINDOWS = "windows"
DEFAULT_HOSTNAME = "buildkitsandbox"
DEFAULT_SHM_SIZE = 64 << 20
"""Bytes."""


class Network(StrEnum):
    """What a RUN can reach."""

    DEFAULT = "default"
    NONE = "none"
    HOST = "host"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageOp:
    """A base image. No inputs."""

    reference: str
    """As written, for labels and errors."""
    digest: str
    """The manifest's; the solver asks the resolver for the image by it."""
    platform: Platform
    """The image's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScratchOp:
    """An empty file system; for Windows one with registry hives and nothing else. No inputs."""

    os: str = LINUX


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextOp:
    """Files offered from outside: the main build context or a named one. No inputs."""

    name: str
    """`context` for the main one."""
    owned: bool = False
    """The files have owners: a tar says whose they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpOp:
    """A file that is fetched by HTTP: offered alone, under ``name``. No inputs."""

    url: str = field(repr=False)
    """May hold a user and a password; `wcbuild.graph.urls` hides them."""
    name: str
    checksum: str = ""
    """A digest that the file must have."""
    unpack: bool = False
    """Offer what is in an archive, if it is one (a named context)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GitOp:
    """The files of one commit of a git repository. No inputs."""

    remote: str = field(repr=False)
    """As `wcbuild.dockerfile.gitref.GitRef.remote`; may hold a user and a password."""
    ref: str = ""
    """A branch, a tag, a full `refs/…` or a full commit; empty is the default branch."""
    checksum: str = ""
    """What the commit, or the tag, must begin with."""
    fetch_by_commit: bool = False
    """The checksum is the commit; nobody asks what ``ref`` is now."""
    subdir: str = ""
    """The folder of the repository that is offered, cleaned; empty is all of it."""
    keep_git_dir: bool = False
    submodules: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class InlineFile:
    """A heredoc: content that stands in the Dockerfile itself."""

    name: str
    data: str
    mode: int = 0o644


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyOp:
    """COPY and ADD of files. Inputs: the file system copied into, then the one copied from.

    With no source paths (heredocs only) there is no second input.
    """

    sources: tuple[str, ...]
    """Paths below the source's root, cleaned, no leading slash; may hold wildcards.

    With ``parents``, what stands before a `/./` is not repeated below ``dest``.
    """
    dest: str
    """Absolute; a trailing slash says that it is a directory."""
    inline: tuple[InlineFile, ...] = ()
    """Written after the sources."""
    chown: str = ""
    """`user[:group]`, names or numbers, looked up in the file system copied into; empty keeps owners."""
    chmod: str = ""
    """Octal or symbolic; empty keeps modes."""
    unpack: bool = False
    """Unpack sources that are tar archives (ADD)."""
    link: bool = False
    parents: bool = False
    exclude: tuple[str, ...] = ()
    keep_owner: bool = False
    """Owners come from the source (a stage or an image); from a build context all is 0:0."""
    os: str = LINUX
    """Of the image that is copied into."""
    origin: str = field(default="", compare=False)
    """What errors call the files copied from: `stage "build"`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinedCopyOp:
    """One ADD of sources that lie in different places.

    Inputs: the file system copied into, then what each part copies from, in their order; a part with no
    source paths has none.
    """

    parts: tuple[CopyOp, ...]
    """Done one after the other, onto what those before left; they differ in sources alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MkdirOp:
    """WORKDIR: a directory and its parents, 0755, owned by ``owner``. Input: the file system."""

    path: str
    owner: str = ""
    """The USER in force; empty is root."""
    os: str = LINUX


class MountKind(StrEnum):
    """Kinds of `RUN --mount`."""

    BIND = "bind"
    CACHE = "cache"
    TMPFS = "tmpfs"
    SECRET = "secret"  # noqa: S105 - the kind's name
    SSH = "ssh"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """One `RUN --mount`."""

    kind: MountKind
    target: str = ""
    """Absolute; empty is a secret that is a variable only."""
    source: str = ""
    """Path below the root of the input, or of a cache that has none; cleaned, no leading slash."""
    input: int | None = None
    """Index into the step's inputs: every bind's, and that of a cache which does not begin empty."""
    id: str = ""
    """Of a cache, a secret or an agent."""
    sharing: str = "shared"
    read_only: bool = False
    required: bool = False
    env: str = ""
    """The variable that holds a secret, or that names an agent's socket."""
    mode: int | None = None
    uid: int = 0
    gid: int = 0
    size: int = 0
    origin: str = field(default="", compare=False)
    """As `CopyOp.origin`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """One `RUN --device`: a name of the Container Device Interface, `vendor.com/class=name`."""

    name: str
    """Without `=name`, any device of the class; with `=*`, all. Or what devices are labelled."""
    required: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOp:
    """RUN. Inputs: the file system, then what mounts refer to."""

    args: tuple[str, ...]
    env: tuple[str, ...]
    """`NAME=value`, image env and ARGs, in order."""
    cwd: str
    user: str = ""
    network: Network = Network.DEFAULT
    insecure: bool = False
    """All capabilities, no filter of system calls, nothing hidden."""
    devices: tuple[Device, ...] = ()
    hostname: str = DEFAULT_HOSTNAME
    mounts: tuple[Mount, ...] = ()
    inline: tuple[InlineFile, ...] = ()
    """Scripts (heredocs with a shebang), read-only below `/dev/pipes`."""
    hosts: tuple[tuple[str, str], ...] = ()
    """`--add-host`: name and address."""
    ulimits: tuple[tuple[str, int, int], ...] = ()
    """Name without `RLIMIT_`, soft and hard limit."""
    shm_size: int = DEFAULT_SHM_SIZE
    """Bytes."""
    os: str = LINUX
    verbatim: bool = False
    """Windows only: the command line is ``args`` with spaces between them, and not quoted."""
    proxy_env: tuple[str, ...] = field(default=(), compare=False)
    """Predefined proxy arguments: given to the command in place of variables of their names, and never part
    of a key or the history."""


OfferedOp = ContextOp | HttpOp | GitOp
"""What offers files that come from outside and are no image."""

Op = ImageOp | ScratchOp | OfferedOp | CopyOp | JoinedCopyOp | MkdirOp | RunOp


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """An operation and the steps whose results it takes."""

    op: Op
    inputs: tuple[int, ...] = ()
    """Indexes into `Graph.steps`; always smaller than the step's own."""
    label: str = ""
    """What a person sees: `[build 2/4] RUN make`."""
    stage: str = ""
    """The stage it belongs to; what several stages may take from belongs to none."""
    spans: tuple[Span, ...] = ()
    no_cache: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """Steps in an order in which they can be executed."""

    steps: tuple[Step, ...]
