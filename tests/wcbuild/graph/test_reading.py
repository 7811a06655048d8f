"""A base stays where it is if nobody looks into it."""

import pytest

from registry.oci.platform import Platform
from wcbuild.graph.ops import ContextOp, CopyOp, Graph, ImageOp, JoinedCopyOp, MkdirOp, RunOp, Step
from wcbuild.graph.reading import unread_images

LINKED = CopyOp(sources=("a",), dest="/", link=True)
PLAIN = CopyOp(sources=("a",), dest="/")


def image(digest):
    platform = Platform(os="linux", architecture="amd64")
    return Step(op=ImageOp(reference=digest, digest=digest, platform=platform))


def unread(*steps):
    return unread_images(Graph(steps=(image("base"), Step(op=ContextOp(name="c")), *steps)))


def test_only_linked_copies_leave_it_unread():
    assert unread() == {"base"}
    assert unread(Step(op=LINKED, inputs=(0, 1)), Step(op=LINKED, inputs=(2, 1))) == {"base"}
    joined = JoinedCopyOp(parts=(LINKED, LINKED))
    assert unread(Step(op=joined, inputs=(0, 1, 1))) == {"base"}


@pytest.mark.parametrize(
    "op",
    [
        PLAIN,
        MkdirOp(path="/x"),
        RunOp(args=("a",), env=(), cwd="/"),
        JoinedCopyOp(parts=(PLAIN, PLAIN)),
    ],
    ids=["copy", "mkdir", "run", "joined copy"],
)
def test_whoever_looks_into_it_reads_it_also_through_links(op):
    assert unread(Step(op=op, inputs=(0, 1))) == set()
    assert unread(Step(op=LINKED, inputs=(0, 1)), Step(op=op, inputs=(2, 1))) == set()
    # What comes after does not matter to what came before.
    assert unread(Step(op=op, inputs=(0, 1)), Step(op=LINKED, inputs=(2, 1))) == set()


def test_files_taken_from_it_are_read():
    assert unread(Step(op=LINKED, inputs=(1, 0))) == set()


def test_one_image_is_read_while_another_is_not():
    steps = (image("other"), Step(op=LINKED, inputs=(0, 2)))
    assert unread(*steps) == {"base"}
