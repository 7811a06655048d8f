"""A base stays where it is if nobody looks into it."""

import pytest

from registry.oci.platform import Platform
from wcbuild.graph.ops import ContextOp, CopyOp, Graph, ImageOp, JoinedCopyOp, MkdirOp, RunOp, Step
from wcbuild.graph.reading import read_steps, unread_images

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


RUN = RunOp(args=("a",), env=(), cwd="/")
STACK = Graph(
    steps=(
        image("base"),
        Step(op=ContextOp(name="c")),
        Step(op=RUN, inputs=(0,)),
        Step(op=PLAIN, inputs=(2, 1)),
        Step(op=LINKED, inputs=(3, 1)),
        Step(op=RUN, inputs=(4,)),
    )
)


def test_what_is_done_reads_nothing():
    assert read_steps(STACK, done=range(6)) == set()


def test_a_step_reads_all_that_its_input_stands_on():
    assert read_steps(STACK, done=range(5)) == {4, 3, 2, 0}
    assert read_steps(STACK, done=range(3)) == {4, 3, 2, 1, 0}


def test_a_linked_copy_reads_only_what_it_copies():
    alone = Graph(steps=STACK.steps[:5])
    assert read_steps(alone, done=range(4)) == {1}


def test_a_wanted_result_is_the_whole_stack():
    assert read_steps(STACK, done=range(6), wanted=[5]) == {5, 4, 3, 2, 0}
