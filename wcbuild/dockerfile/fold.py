"""Config instructions, folded: each takes a config and gives a new one and its line of history.

Nothing here touches a file, so a late LABEL invalidates nothing. The lines of history are the ones
BuildKit writes; other tools compare them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from registry.oci.config import ContainerConfig
from wcbuild.dockerfile import gotext
from wcbuild.dockerfile.instructions import (
    Cmd,
    CommandLine,
    Entrypoint,
    Env,
    Expose,
    HealthCheck,
    Label,
    Shell,
    StopSignal,
    User,
    Volume,
)
from wcbuild.dockerfile.ports import MAX_PORTS, expand_ports
from wcbuild.dockerfile.suggest import did_you_mean
from wcbuild.errors import SourceError

Expand = Callable[[str], str]
ExpandWords = Callable[[str], Sequence[str]]
Folded = tuple[ContainerConfig, str]

_DEFAULT_SHELL = ("/bin/sh", "-c")
_WINDOWS_SHELL = ("cmd", "/S", "/C")
_SIGNAL_NAME = re.compile(r"(?:SIG)?(?:RTM(?:IN|AX)(?:[+-]\d{1,2})?|[A-Z]+\d?)", re.ASCII)
_SIGNAL_NUMBER = re.compile(r"[+-]?\d{1,18}", re.ASCII)
"""Any but zero, as BuildKit takes it: which there are is the kernel's to know."""
_SIGNALS = frozenset(
    (
        *("ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT"),
        *("KILL", "PIPE", "POLL", "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM"),
        *("TRAP", "TSTP", "TTIN", "TTOU", "URG", "USR1", "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ"),
    )
)
_MAX_REAL_TIME_OFFSET = 30


def shell_args(
    config: ContainerConfig, command: CommandLine, *, windows: bool = False
) -> tuple[str, ...]:
    """Return what is executed: the list of the exec form, or the text handed to the shell."""
    if not command.shell:
        return command.args
    shell = config.shell or (_WINDOWS_SHELL if windows else _DEFAULT_SHELL)
    return (*shell, *command.args)


def _process_args(
    config: ContainerConfig, command: CommandLine, *, windows: bool
) -> tuple[tuple[str, ...], bool]:
    r"""Return what a config says of CMD or ENTRYPOINT, and whether Windows takes it as it stands.

    A Windows process has one command line. The shell form is one, to be used verbatim; the exec form is
    arguments that somebody has still to quote (ArgsEscaped false). BuildKit says true for both, and
    then `CMD ["c:\\my app\\a.exe"]` starts `c:\my`.
    """
    args = shell_args(config, command, windows=windows)
    if windows and command.shell:
        return (" ".join(args),), True
    return args, not windows


def fold_env(instruction: Env, expand: Expand) -> tuple[list[tuple[str, str]], str]:
    """ENV: every pair of the line is expanded with the environment before the line."""
    pairs = [(expand(name), expand(value)) for name, value in instruction.pairs]
    return pairs, "ENV " + _pairs_text(pairs)


def fold_label(config: ContainerConfig, instruction: Label, expand: Expand) -> Folded:
    """LABEL: names are expanded too."""
    pairs = [(expand(name), expand(value)) for name, value in instruction.pairs]
    return replace(config, labels={**config.labels, **dict(pairs)}), "LABEL " + _pairs_text(pairs)


def _pairs_text(pairs: list[tuple[str, str]]) -> str:
    return " ".join(f"{name}={value}" for name, value in pairs)


def fold_cmd(config: ContainerConfig, instruction: Cmd, *, windows: bool = False) -> Folded:
    """CMD."""
    args, escaped = _process_args(config, instruction.command, windows=windows)
    changed = replace(config, cmd=args, args_escaped=escaped)
    return changed, f"CMD {gotext.quoted_list(args)}"


def fold_entrypoint(
    config: ContainerConfig, instruction: Entrypoint, *, cmd_is_set: bool, windows: bool = False
) -> Folded:
    """ENTRYPOINT: a CMD that comes from the base, not from this stage, is dropped."""
    args, escaped = _process_args(config, instruction.command, windows=windows)
    changed = replace(config, entrypoint=args, cmd=config.cmd if cmd_is_set else None)
    if windows:
        # On Linux, BuildKit lets only CMD say this, and nothing reads it.
        changed = replace(changed, args_escaped=escaped)
    return changed, f"ENTRYPOINT {gotext.quoted_list(args)}"


def fold_expose(instruction: Expose, expand: ExpandWords) -> tuple[list[str], str]:
    """EXPOSE: words, sorted as they are written, are expanded and split again; ranges become ports."""
    words = [word for text in instruction.ports for word in expand(text)]
    ports: list[str] = []
    for word in words:
        try:
            ports += expand_ports(word)
        except ValueError as error:
            raise SourceError(str(error), (instruction.span,), word=word) from error
        if len(ports) > MAX_PORTS:
            message = f"more than {MAX_PORTS} ports in one instruction"
            raise SourceError(message, (instruction.span,), word=word)
    return ports, f"EXPOSE {gotext.plain_list(ports)}"


def fold_user(config: ContainerConfig, instruction: User, expand: Expand) -> Folded:
    """USER: stored as it is; a later step that needs it looks it up."""
    user = expand(instruction.user)
    return replace(config, user=user), f"USER {user}"


def fold_volume(instruction: Volume, expand: Expand) -> tuple[list[str], str]:
    """VOLUME: config only; later steps may still write there."""
    volumes = [expand(volume) for volume in instruction.volumes]
    if not all(volumes):
        raise SourceError("VOLUME specified can not be an empty string", (instruction.span,))
    return volumes, f"VOLUME {gotext.plain_list(volumes)}"


def fold_shell(config: ContainerConfig, instruction: Shell) -> Folded:
    """SHELL."""
    changed = replace(config, shell=instruction.args)
    return changed, f"SHELL {gotext.plain_list(instruction.args)}"


def fold_stop_signal(
    config: ContainerConfig, instruction: StopSignal, expand: Expand, *, windows: bool = False
) -> Folded:
    """STOPSIGNAL: checked, then stored as it is."""
    if windows:
        raise SourceError(
            "STOPSIGNAL is not for Windows images",
            (instruction.span,),
            word="STOPSIGNAL",
            hint="Windows has no signals; a container there is told to shut down",
        )
    signal = expand(instruction.signal)
    if not _is_signal(signal):
        hint = did_you_mean(signal, (f"SIG{name}" for name in sorted(_SIGNALS)), ignore_case=True)
        raise SourceError(f"invalid signal: {signal}", (instruction.span,), word=signal, hint=hint)
    return replace(config, stop_signal=signal), f"STOPSIGNAL {signal}"


def _is_signal(text: str) -> bool:
    if _SIGNAL_NUMBER.fullmatch(text):
        return int(text) != 0
    name = text.upper()
    if not _SIGNAL_NAME.fullmatch(name):
        return False
    name = name.removeprefix("SIG")
    if name.startswith("RT"):
        offset = name[5:]
        return not offset or abs(int(offset)) <= _MAX_REAL_TIME_OFFSET
    return name in _SIGNALS


def fold_health_check(config: ContainerConfig, instruction: HealthCheck) -> Folded:
    """HEALTHCHECK."""
    changed = replace(config, healthcheck=instruction.check)
    return changed, f"HEALTHCHECK {gotext.healthcheck(instruction.check)}"


def arguments_text(args: list[tuple[str, str | None]], scope: Mapping[str, str]) -> str:
    """Return the `|2 A=1 B=2 ` that history writes before a RUN's command; empty without ARGs."""
    values = {name: scope.get(name, default or "") for name, default in args}
    if not values:
        return ""
    return f"|{len(values)} " + "".join(f"{name}={value} " for name, value in values.items())
