"""Lowering RUN: the command that heredocs make, what it sees, and what it mounts."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from wcbuild.dockerfile import fold
from wcbuild.dockerfile.instructions import CommandLine, Run
from wcbuild.dockerfile.lower import paths
from wcbuild.dockerfile.lower.arguments import PROXIES
from wcbuild.dockerfile.lower.outside import Entitlement
from wcbuild.dockerfile.lower.stage import Offered, StageState
from wcbuild.dockerfile.wildcard import escape
from wcbuild.errors import SourceError, UsageError
from wcbuild.graph.ops import (
    DEFAULT_HOSTNAME,
    CopyOp,
    Device,
    InlineFile,
    Mount,
    Network,
    OfferedOp,
    RunOp,
)

if TYPE_CHECKING:
    from wcbuild.dockerfile.lower.lowering import Lowering

_INSECURE = "insecure"
_MAX_HOSTNAME_BYTES = 64
"""Linux keeps no more."""


def lower_run(lowering: Lowering, state: StageState, instruction: Run) -> None:
    """RUN."""
    _check_options(lowering, instruction)
    command, inline, summary = _heredoc_command(instruction, windows=state.is_windows)
    windows = state.is_windows
    args = fold.shell_args(state.config, command, windows=windows)
    if not args:
        raise SourceError("arguments are required", (instruction.span,))
    options = lowering.options
    network = Network(instruction.network)
    mounts, mounted = _mounts(lowering, state, instruction)
    op = RunOp(
        args=args,
        env=state.scope.entries(),
        cwd=paths.absolute(state.config.working_dir, "", windows=windows),
        user=state.config.user,
        network=options.network if network is Network.DEFAULT else network,
        insecure=instruction.security == _INSECURE,
        devices=_devices(instruction),
        hostname=_hostname(options.build_args),
        mounts=mounts,
        inline=inline,
        hosts=options.hosts,
        ulimits=options.ulimits,
        shm_size=options.shm_size,
        os=state.platform.os,
        verbatim=windows and command.shell,
        proxy_env=tuple(_proxies(options.build_args)),
    )
    text = f"RUN{_flags(instruction)} {' '.join(instruction.command.args)}{summary}"
    step = lowering.steps.step(state, op, (state.rootfs, *mounted), text, instruction.span)
    arguments = fold.arguments_text(state.args, state.scope)
    state.note(f"RUN {arguments}{' '.join(args)} # buildkit", step)


def _hostname(build_args: Mapping[str, str]) -> str:
    name = build_args.get("BUILDKIT_SANDBOX_HOSTNAME") or DEFAULT_HOSTNAME
    if len(name.encode()) > _MAX_HOSTNAME_BYTES:
        raise UsageError(
            f'BUILDKIT_SANDBOX_HOSTNAME "{name}": a host name has at most {_MAX_HOSTNAME_BYTES} bytes'
        )
    return name


def _flags(instruction: Run) -> str:
    """Return the flags that make a difference."""
    flags = [f"--mount={mount}" for mount in instruction.mounts]
    if instruction.network != Network.DEFAULT:
        flags.append(f"--network={instruction.network}")
    if instruction.security == _INSECURE:
        flags.append(f"--security={instruction.security}")
    flags += [f"--device={device}" for device in instruction.devices]
    return "".join(f" {flag}" for flag in flags)


def _proxies(build_args: Mapping[str, str]) -> Iterator[str]:
    """Yield `NAME=value` in both spellings, as programs read one or the other; the small one counts."""
    given = {name.lower(): build_args[name] for name in sorted(build_args)}
    for name in PROXIES:
        if value := given.get(name.lower()):
            yield f"{name}={value}"
            yield f"{name.lower()}={value}"


def _check_options(lowering: Lowering, instruction: Run) -> None:
    """Refuse what a RUN asks for and nobody has allowed."""
    for asked, flag, entitlement in (
        (instruction.network == Network.HOST, "--network=host", Entitlement.NETWORK_HOST),
        (instruction.security == _INSECURE, "--security=insecure", Entitlement.SECURITY_INSECURE),
    ):
        if asked and entitlement not in lowering.options.allow:
            raise SourceError(
                f"RUN {flag} is not allowed",
                (instruction.span,),
                word=flag,
                hint=f"if you trust this Dockerfile, build with --allow {entitlement}",
            )


def _heredoc_command(
    instruction: Run, *, windows: bool
) -> tuple[CommandLine, tuple[InlineFile, ...], str]:
    """Return what RUN executes once its heredocs are in place, script files, and a summary to show."""
    command, heredocs = instruction.command, instruction.heredocs
    if not heredocs:
        return command, (), ""
    first = heredocs[0]
    summary = f" ({_first_line(first.content)}...)"
    if not instruction.heredoc_only:
        # The shell reads the heredocs itself.
        text = "".join(f"\n{heredoc.raw}{heredoc.name}" for heredoc in heredocs)
        return replace(command, args=(command.args[0] + text,)), (), summary
    if first.content.startswith("#!") and not windows:
        name = paths.heredoc_file(first.name)
        script = InlineFile(name=name, data=first.content, mode=0o755)
        return replace(command, args=(f"/dev/pipes/{name}",)), (script,), summary
    return replace(command, args=(first.content,)), (), summary


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "")[:32]


def _devices(instruction: Run) -> tuple[Device, ...]:
    if not instruction.devices:
        return ()
    from wcbuild.dockerfile.mounts import parse_device  # noqa: PLC0415 - only few have any

    specs = map(parse_device, instruction.devices)
    return tuple(Device(name=spec.name, required=spec.required) for spec in specs)


def _mounts(
    lowering: Lowering, state: StageState, instruction: Run
) -> tuple[tuple[Mount, ...], tuple[int, ...]]:
    """Return what RUN mounts, and the steps whose files that shows: its inputs from the second on."""
    if not instruction.mounts:
        return (), ()
    from wcbuild.dockerfile.lower.mounts import (  # noqa: PLC0415 - only few have any
        lower_mounts,
    )

    span = instruction.span

    def expand(word: str) -> str:
        return lowering.arguments.expand(word, state.scope, span)

    def files(name: str, source: str) -> Offered:
        offered = lowering.files(state, name, span)
        if not isinstance(lowering.steps.all[offered.step].op, OfferedOp):
            return offered
        # Packed like a COPY, so that whatever is mounted is a path in a file system, and is known
        # by its content.
        op = CopyOp(
            sources=(escape(source),),
            dest=f"/{source}",
            keep_owner=offered.has_owners,
            origin=offered.origin,
        )
        where = f"{name}: {source or '.'}" if name else source or "."
        inputs = (lowering.steps.scratch(span), offered.step)
        return replace(offered, step=lowering.steps.source(op, f"load {where}", span, inputs))

    absolute = functools.partial(paths.absolute, state.config.working_dir, windows=state.is_windows)
    namespace = lowering.options.build_args.get("BUILDKIT_CACHE_MOUNT_NS", "")
    return lower_mounts(instruction, absolute, expand, files, namespace)
