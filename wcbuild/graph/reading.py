"""What steps read: a base that nobody looks into can stay where it is."""

from __future__ import annotations

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
    RunOp,
    ScratchOp,
)


def unread_images(graph: Graph) -> frozenset[str]:
    """Return the digests of base images that are only stood upon, by what is copied with --link."""
    read: set[int] = set()
    for index in range(len(graph.steps) - 1, -1, -1):
        step = graph.steps[index]
        match step.op:
            case CopyOp(link=link) | JoinedCopyOp(parts=(CopyOp(link=link), *_)):
                # What is read is the whole stack, so also what a link stands on.
                read.update(step.inputs[1:])
                if not link or index in read:
                    read.add(step.inputs[0])
            case MkdirOp() | RunOp() | JoinedCopyOp():
                read.update(step.inputs)
            case ImageOp() | ScratchOp() | ContextOp() | HttpOp() | GitOp():
                pass
            case _:
                assert_never(step.op)
    images = {
        i: step.op.digest for i, step in enumerate(graph.steps) if isinstance(step.op, ImageOp)
    }
    return frozenset(images.values()) - {digest for i, digest in images.items() if i in read}
