"""What steps read: a base that nobody looks into can stay where it is."""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import assert_never

from wcbuild.graph.ops import (
    ContextOp,
    CopyOp,
    GitOp,
    Graph,
    HttpOp,
    ImageOp,
    JoinedCopyOp,
    MkdirOp,
    Op,
    RunOp,
    ScratchOp,
)


def unread_images(graph: Graph) -> frozenset[str]:
    """Return the digests of base images that are only stood upon, by what is copied with --link."""
    read = read_steps(graph)
    images = {
        i: step.op.digest for i, step in enumerate(graph.steps) if isinstance(step.op, ImageOp)
    }
    return frozenset(images.values()) - {digest for i, digest in images.items() if i in read}


def read_steps(
    graph: Graph, done: Container[int] = (), wanted: Iterable[int] = ()
) -> frozenset[int]:
    """Return the steps whose files are read when all but those ``done`` are, and of ``wanted`` steps."""
    read = set(wanted)
    for index in range(len(graph.steps) - 1, -1, -1):
        step = graph.steps[index]
        match step.op:
            case CopyOp() | JoinedCopyOp() | MkdirOp() | RunOp():
                # What is read is the whole stack, so also what a link stands on.
                if index in read or (index not in done and not _is_link(step.op)):
                    read.add(step.inputs[0])
                if index not in done:
                    read.update(step.inputs[1:])
            case ImageOp() | ScratchOp() | ContextOp() | HttpOp() | GitOp():
                pass
            case _:
                assert_never(step.op)
    return frozenset(read)


def base_step(graph: Graph, index: int) -> int:
    """Return the step that gives what a step and those below it only add layers to."""
    while isinstance(graph.steps[index].op, CopyOp | JoinedCopyOp | MkdirOp | RunOp):
        index = graph.steps[index].inputs[0]
    return index


def _is_link(op: Op) -> bool:
    first = op.parts[0] if isinstance(op, JoinedCopyOp) else op
    return isinstance(first, CopyOp) and first.link
