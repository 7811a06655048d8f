"""Lowering the instructions that make files: COPY, ADD and WORKDIR."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from wcbuild.dockerfile.instructions import Copy, Workdir
from wcbuild.dockerfile.lower import paths
from wcbuild.dockerfile.lower.stage import StageState
from wcbuild.errors import SourceError
from wcbuild.graph.ops import CopyOp, InlineFile, MkdirOp

if TYPE_CHECKING:
    from wcbuild.dockerfile.lower.lowering import Lowering


def lower_workdir(lowering: Lowering, state: StageState, instruction: Workdir) -> None:
    """WORKDIR."""
    span = instruction.span
    text = lowering.expand(instruction.path, state.scope, span)
    windows = state.is_windows
    path = paths.absolute(state.config.working_dir, text, windows=windows)
    state.config = replace(state.config, working_dir=paths.in_config(path, windows=windows))
    step = None
    if path != "/":
        op = MkdirOp(path=path, owner=state.config.user, os=state.platform.os)
        step = lowering.step(state, op, (state.rootfs,), f"WORKDIR {path}", span)
    state.note(f"WORKDIR {path}", step)


def lower_copy(lowering: Lowering, state: StageState, instruction: Copy) -> None:
    """COPY and ADD."""

    def expand(word: str) -> str:
        return lowering.expand(word, state.scope, instruction.span)

    verb = "ADD" if instruction.add else "COPY"
    sources = tuple(expand(source) for source in instruction.sources)
    dest = expand(instruction.dest)
    chown, mode = expand(instruction.chown), expand(instruction.chmod)
    for source in sources:
        _refuse_remote(source, instruction, verb)
    _check_flags(mode, chown if state.is_windows else "", instruction)
    inputs: tuple[int, ...] = (state.rootfs,)
    from_stage = False
    if sources:
        source_step, from_stage = lowering.files(state, instruction.from_, instruction.span)
        inputs += (source_step,)
    windows = state.is_windows
    op = CopyOp(
        sources=tuple(
            paths.clean_source(source, parents=instruction.parents, windows=windows)
            for source in sources
        ),
        dest=paths.destination(state.config.working_dir, dest, windows=windows),
        inline=tuple(
            InlineFile(
                name=each.name, data=lowering.expand_heredoc(each, state.scope, instruction.span)
            )
            for each in instruction.heredocs
        ),
        chown=chown,
        chmod=mode,
        unpack=instruction.add and instruction.unpack is not False,
        # BuildKit, too, forgets --link where a mode is to be set.
        link=instruction.link and not mode,
        parents=instruction.parents,
        exclude=instruction.exclude,
        keep_owner=from_stage,
        os=state.platform.os,
    )
    flags = (
        (" --parents" if instruction.parents else "")
        + (f" --chown={chown}" if chown else "")
        + (f" --chmod={mode}" if mode else "")
    )
    names = "".join(f" {source}" for source in sources)
    names += "".join(f" <<{heredoc.name}" for heredoc in instruction.heredocs)
    text = f"{verb}{flags}{names} {dest}"
    shown = f"{verb} --from={instruction.from_}{text[len(verb) :]}" if instruction.from_ else text
    step = lowering.step(state, op, inputs, shown, instruction.span)
    state.note(f"{text} # buildkit", step)


def _refuse_remote(source: str, instruction: Copy, verb: str) -> None:
    """Refuse what would have to be fetched."""
    if not source.startswith(("http://", "https://", "git://", "git@", "ssh://")):
        return
    if not instruction.add:
        kind = "a URL" if source.startswith("http") else "a git ref"
        raise SourceError(f"source can't be {kind} for {verb}", (instruction.span,), word=source)
    raise SourceError(
        "ADD from a URL or a git repository is not supported yet",
        (instruction.span,),
        word=source,
        hint="fetch it before the build, or in a RUN",
    )


def _check_flags(mode: str, windows_owner: str, instruction: Copy) -> None:
    """Refuse before anything is built what would be refused when it is.

    Linux's owners stand in files of the image; for Windows they are known beforehand.
    """
    spans = (instruction.span,)
    if mode:
        from wcbuild.tree import chmod  # noqa: PLC0415 - only few Dockerfiles have one
        from wcbuild.tree.errors import InvalidModeError  # noqa: PLC0415

        try:
            chmod.change(mode, 0, is_directory=False)
        except InvalidModeError as error:
            raise SourceError(str(error), spans, word=mode) from error
    if windows_owner:
        from wcbuild.tree.owners import find_account  # noqa: PLC0415 - as above

        find_account(windows_owner)
    if instruction.checksum:
        raise SourceError("checksum requires HTTP(S) or Git sources", spans, word="--checksum")
