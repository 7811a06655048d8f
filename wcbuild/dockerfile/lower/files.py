"""Lowering the instructions that make files: COPY, ADD and WORKDIR."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from wcbuild.dockerfile.instructions import Copy, Workdir
from wcbuild.dockerfile.lower import paths
from wcbuild.dockerfile.lower.stage import Offered, StageState
from wcbuild.dockerfile.wildcard import escape
from wcbuild.errors import SourceError
from wcbuild.graph.ops import CopyOp, GitOp, HttpOp, InlineFile, JoinedCopyOp, MkdirOp
from wcbuild.graph.urls import without_secrets

if TYPE_CHECKING:
    from wcbuild.dockerfile.lower.lowering import Lowering


def lower_workdir(lowering: Lowering, state: StageState, instruction: Workdir) -> None:
    """WORKDIR."""
    span = instruction.span
    text = lowering.arguments.expand(instruction.path, state.scope, span)
    windows = state.is_windows
    path = paths.absolute(state.config.working_dir, text, windows=windows)
    # An absolute one is not cleaned in the config, as BuildKit does not.
    shown = text if text.startswith("/") and not windows else path
    state.config = replace(state.config, working_dir=paths.in_config(shown, windows=windows))
    step = None
    if path != "/":
        op = MkdirOp(path=path, owner=state.config.user, os=state.platform.os)
        step = lowering.steps.step(state, op, (state.rootfs,), f"WORKDIR {shown}", span)
    state.note(f"WORKDIR {shown}", step)


def lower_copy(lowering: Lowering, state: StageState, instruction: Copy) -> None:
    """COPY and ADD."""

    def expand(word: str) -> str:
        return lowering.arguments.expand(word, state.scope, instruction.span)

    verb = "ADD" if instruction.add else "COPY"
    sources = tuple(expand(source) for source in instruction.sources)
    dest = expand(instruction.dest)
    chown, mode = expand(instruction.chown), expand(instruction.chmod)
    _check_flags(instruction, mode, chown, windows=state.is_windows)
    origins = _origins(lowering, state, instruction, sources, expand(instruction.checksum))
    flags = CopyOp(
        sources=(),
        dest=paths.destination(state.config.working_dir, dest, windows=state.is_windows),
        chown=chown,
        chmod=mode,
        # BuildKit, too, forgets --link where a mode is to be set.
        link=instruction.link and not mode,
        parents=instruction.parents,
        exclude=tuple(
            paths.pattern(each, windows=state.is_windows) for each in instruction.exclude
        ),
        os=state.platform.os,
    )
    inline = tuple(
        InlineFile(
            name=paths.heredoc_file(each.name),
            data=lowering.arguments.expand_heredoc(each, state.scope, instruction.span),
        )
        for each in instruction.heredocs
    )
    parts = [
        replace(
            flags,
            sources=each.sources,
            unpack=each.unpack,
            keep_owner=each.offered.has_owners,
            origin=each.offered.origin,
        )
        for each in origins
    ]
    if not parts or inline:
        last = parts.pop() if parts else replace(flags, unpack=_unpacks(instruction))
        parts.append(replace(last, inline=inline))
    op = parts[0] if len(parts) == 1 else JoinedCopyOp(parts=tuple(parts))
    inputs = (state.rootfs, *(each.offered.step for each in origins))
    shown_flags = (
        (" --parents" if instruction.parents else "")
        + (f" --chown={chown}" if chown else "")
        + (f" --chmod={mode}" if mode else "")
    )
    names = "".join(f" {without_secrets(source)}" for source in sources)
    names += "".join(f" <<{heredoc.name}" for heredoc in instruction.heredocs)
    text = f"{verb}{shown_flags}{names} {dest}"
    shown = f"{verb} --from={instruction.from_}{text[len(verb) :]}" if instruction.from_ else text
    step = lowering.steps.step(state, op, inputs, shown, instruction.span)
    state.note(f"{text} # buildkit", step)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Origin:
    """Sources of one instruction that stand beside each other and lie in one place."""

    offered: Offered
    sources: tuple[str, ...]
    """As `CopyOp.sources`."""
    unpack: bool


def _origins(
    lowering: Lowering,
    state: StageState,
    instruction: Copy,
    sources: tuple[str, ...],
    checksum: str,
) -> tuple[_Origin, ...]:
    """Find out where the sources lie; their order stays."""
    span = instruction.span
    if checksum and len(sources) != 1:
        message = "checksum can't be specified for multiple sources"
        raise SourceError(message, (span,), word="--checksum")
    origins: list[_Origin] = []
    here: list[str] = []

    def add_here() -> None:
        if here:
            offered = lowering.files(state, instruction.from_, span)
            origins.append(
                _Origin(offered=offered, sources=tuple(here), unpack=_unpacks(instruction))
            )
            here.clear()

    for source in sources:
        remote = _remote(source, instruction, checksum)
        if remote is not None:
            add_here()
            step = lowering.steps.source(remote, f"fetch {without_secrets(source)}", span)
            # A file's name is no pattern; of a repository everything is meant.
            what = escape(remote.name) if isinstance(remote, HttpOp) else ""
            unpack = isinstance(remote, HttpOp) and instruction.unpack is True
            offered = Offered(step=step, has_owners=False, origin="")
            origins.append(_Origin(offered=offered, sources=(what,), unpack=unpack))
            continue
        if checksum:
            message = "checksum requires HTTP(S) or Git sources"
            raise SourceError(message, (span,), word="--checksum")
        here.append(
            paths.clean_source(source, parents=instruction.parents, windows=state.is_windows)
        )
    add_here()
    return tuple(origins)


def _unpacks(instruction: Copy) -> bool:
    """Say whether archives of a context are unpacked: unless ADD is told otherwise."""
    return instruction.add and instruction.unpack is not False


def _remote(source: str, instruction: Copy, checksum: str) -> HttpOp | GitOp | None:
    """Return what offers a source that has to be fetched; None is a path."""
    if "://" not in source and "@" not in source:
        return None
    from wcbuild.dockerfile.lower import remote  # noqa: PLC0415 - only few Dockerfiles have one

    op = remote.added(source, checksum=checksum, keep_git_dir=instruction.keep_git_dir)
    if op is not None and not instruction.add:
        kind = "a URL" if isinstance(op, HttpOp) else "a git ref"
        raise SourceError(f"source can't be {kind} for COPY", (instruction.span,), word=source)
    return op


def _check_flags(instruction: Copy, mode: str, chown: str, *, windows: bool) -> None:
    """Refuse before anything is built what would be refused when it is.

    Linux's owners stand in files of the image, which --link does not look at; for Windows they are known
    beforehand.
    """
    if mode:
        from wcbuild.tree import chmod  # noqa: PLC0415 - only few Dockerfiles have one
        from wcbuild.tree.errors import InvalidModeError  # noqa: PLC0415

        try:
            chmod.change(mode, 0, is_directory=False)
        except InvalidModeError as error:
            raise SourceError(str(error), (instruction.span,), word=mode) from error
    if chown and (windows or instruction.link):
        from wcbuild.tree.owners import find_account, has_name  # noqa: PLC0415 - as above

        if windows:
            find_account(chown)
        elif has_name(chown):
            message = (
                f"--chown={chown}: user and group names can't be resolved when used with --link, "
                "use numeric uid[:gid] instead"
            )
            raise SourceError(message, (instruction.span,), word=chown)
