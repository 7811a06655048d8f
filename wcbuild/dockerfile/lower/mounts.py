"""Lowering `RUN --mount`: from what is written to what a step mounts, and whose files that shows."""

from __future__ import annotations

import posixpath
from collections.abc import Callable
from dataclasses import replace
from typing import assert_never

from wcbuild.dockerfile.instructions import Run
from wcbuild.dockerfile.lower.stage import Offered
from wcbuild.dockerfile.mounts import MountError, MountSpec, MountType, Sharing, parse_mounts
from wcbuild.errors import SourceError
from wcbuild.graph.ops import Mount, MountKind

_SECRET_MODE = 0o400


def lower_mounts(
    instruction: Run,
    absolute: Callable[[str], str],
    expand: Callable[[str], str],
    files: Callable[[str, str], Offered],
    namespace: str,
) -> tuple[tuple[Mount, ...], tuple[int, ...]]:
    """Return the mounts of a RUN, and the steps that they show files of: its inputs from the second on.

    Args:
        instruction: the RUN.
        absolute: joins a path to the working directory, and cleans it.
        expand: replaces variables in a word.
        files: returns what lies at a path (cleaned, no leading slash) in what `from=` names; an empty
            name is the build context.
        namespace: keeps the caches of one project apart from others' that have the same id.

    Raises:
        SourceError: a mount makes no sense.
    """
    mounts: list[Mount] = []
    inputs: list[int] = []
    for text in instruction.mounts:
        try:
            [spec] = parse_mounts((text,), expand)
            agents = sum(mount.kind is MountKind.SSH for mount in mounts)
            mount = _lower(spec, absolute, agents, namespace)
        except MountError as error:
            spans = (instruction.span,)
            word = error.word or text
            raise SourceError(str(error), spans, word=word, hint=error.hint) from error
        if mount.kind in (MountKind.BIND, MountKind.CACHE):
            source = posixpath.normpath(f"/{spec.source}").lstrip("/")
            mount = replace(mount, source=source)
            if mount.kind is MountKind.BIND or spec.from_:
                offered = files(spec.from_, source)
                inputs.append(offered.step)
                mount = replace(mount, input=len(inputs), origin=offered.origin)
            elif source:
                # What is in a cache has its owner and mode.
                mount = replace(mount, mode=None, uid=0, gid=0)
        mounts.append(mount)
    return tuple(mounts), tuple(inputs)


def _lower(spec: MountSpec, absolute: Callable[[str], str], agents: int, namespace: str) -> Mount:
    """Lower one mount; ``agents`` says how many SSH mounts stand before it."""
    if "\0" in spec.target:
        raise MountError("a mount target has no zero byte")
    match spec.type:
        case MountType.SECRET:
            return _secret(spec, absolute)
        case MountType.SSH:
            return _ssh(spec, absolute, agents)
        case MountType.BIND | MountType.CACHE | MountType.TMPFS:
            target = absolute(spec.target)
            if target == "/":
                hint = "target= is to name a directory below the root"
                raise MountError(f'invalid mount target "{spec.target}"', hint)
            return Mount(
                kind=MountKind(spec.type),
                target=target,
                id=_cache_id(spec, namespace),
                sharing=spec.sharing or Sharing.SHARED,
                read_only=spec.read_only,
                mode=spec.mode,
                uid=spec.uid or 0,
                gid=spec.gid or 0,
                size=spec.size,
            )
        case _:
            assert_never(spec.type)


def _cache_id(spec: MountSpec, namespace: str) -> str:
    if spec.type is not MountType.CACHE:
        return ""
    return f"{namespace}/{spec.id or posixpath.normpath(spec.target)}"


def _secret(spec: MountSpec, absolute: Callable[[str], str]) -> Mount:
    name = spec.source or spec.id or posixpath.basename(spec.target)
    target = spec.target
    if not target and not spec.env:
        target = f"/run/secrets/{posixpath.basename(name)}"
    return Mount(
        kind=MountKind.SECRET,
        target=absolute(target) if target else "",
        id=name,
        required=spec.required,
        env=spec.env or "",
        mode=_SECRET_MODE if spec.mode is None else spec.mode,
        uid=spec.uid or 0,
        gid=spec.gid or 0,
    )


def _ssh(spec: MountSpec, absolute: Callable[[str], str], number: int) -> Mount:
    if spec.source:
        raise MountError("ssh mount should not have a source")
    return Mount(
        kind=MountKind.SSH,
        target=absolute(spec.target or f"/run/buildkit/ssh_agent.{number}"),
        id=spec.id or "default",
        required=spec.required,
        env="SSH_AUTH_SOCK",
        mode=spec.mode,
        uid=spec.uid or 0,
        gid=spec.gid or 0,
    )
