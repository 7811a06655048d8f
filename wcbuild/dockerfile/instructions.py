"""Typed instructions: what a line says, before anything is expanded or looked up."""

from __future__ import annotations

import re
from dataclasses import dataclass

from registry.oci.config import Healthcheck
from wcbuild.dockerfile.source import Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Heredoc:
    """A here-document of COPY, ADD or RUN."""

    name: str
    """What ends it, without quotes."""
    raw: str
    """The lines exactly as they stand, for a shell that reads the heredoc itself."""
    expand: bool = True
    """Variables in the content are expanded (the name was not quoted)."""
    chomp: bool = False
    """`<<-`: leading tabs do not count."""
    fd: int = 0
    """The digits before `<<`."""

    @property
    def content(self) -> str:
        """The lines, without their leading tabs where `<<-` asks for it."""
        if not self.chomp:
            return self.raw
        return re.sub(r"(?m)^\t+", "", self.raw)


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandLine:
    """A command of RUN, CMD, ENTRYPOINT or HEALTHCHECK: text for the shell, or a list as it stands."""

    shell: bool
    args: tuple[str, ...]
    """Exec form: the list. Shell form: one element, the text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Instruction:
    span: Span
    original: str
    """The instruction's text as it was written, continuations joined."""


@dataclass(frozen=True, slots=True, kw_only=True)
class From(_Instruction):
    """FROM. Nothing is expanded yet; the stage name is lower-cased."""

    base: str
    platform: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arg(_Instruction):
    """ARG: names and defaults; None is no default."""

    pairs: tuple[tuple[str, str | None], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Env(_Instruction):
    """ENV: pairs, not expanded, quotes still in place."""

    pairs: tuple[tuple[str, str], ...]
    legacy: bool = False
    """One pair, with a blank in place of `=`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Label(_Instruction):
    """LABEL: pairs, not expanded, quotes still in place."""

    pairs: tuple[tuple[str, str], ...]
    legacy: bool = False
    """One pair, with a blank in place of `=`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workdir(_Instruction):
    """WORKDIR."""

    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy(_Instruction):
    """COPY (``add`` False) and ADD of what lies in a context, stage or image, or stands in heredocs."""

    add: bool
    sources: tuple[str, ...]
    """Words, not expanded; heredocs are not among them."""
    dest: str
    heredocs: tuple[Heredoc, ...] = ()
    from_: str = ""
    chown: str = ""
    chmod: str = ""
    link: bool = False
    parents: bool = False
    exclude: tuple[str, ...] = ()
    keep_git_dir: bool | None = None
    checksum: str = ""
    unpack: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Run(_Instruction):
    """RUN."""

    command: CommandLine
    heredocs: tuple[Heredoc, ...] = ()
    heredoc_only: bool = False
    """The command is a heredoc and nothing else: its content is the script."""
    mounts: tuple[str, ...] = ()
    """Values of `--mount`, as written."""
    network: str = "default"
    security: str = "sandbox"
    devices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Cmd(_Instruction):
    """CMD."""

    command: CommandLine


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrypoint(_Instruction):
    """ENTRYPOINT."""

    command: CommandLine


@dataclass(frozen=True, slots=True, kw_only=True)
class Expose(_Instruction):
    """EXPOSE: words, not expanded."""

    ports: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class User(_Instruction):
    """USER."""

    user: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume(_Instruction):
    """VOLUME: words, not expanded."""

    volumes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shell(_Instruction):
    """SHELL."""

    args: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StopSignal(_Instruction):
    """STOPSIGNAL."""

    signal: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthCheck(_Instruction):
    """HEALTHCHECK."""

    check: Healthcheck


@dataclass(frozen=True, slots=True, kw_only=True)
class OnBuild(_Instruction):
    """ONBUILD: the trigger's text, verbatim."""

    expression: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Maintainer(_Instruction):
    """MAINTAINER (deprecated)."""

    name: str


Instruction = (
    From
    | Arg
    | Env
    | Label
    | Workdir
    | Copy
    | Run
    | Cmd
    | Entrypoint
    | Expose
    | User
    | Volume
    | Shell
    | StopSignal
    | HealthCheck
    | OnBuild
    | Maintainer
)
