from registry.oci.platform import Platform
from wcbuild.graph.merge import merge
from wcbuild.graph.ops import CopyOp, Graph, ImageOp, RunOp, ScratchOp, Step

AMD = Platform(os="linux", architecture="amd64")


def run(word):
    return RunOp(args=(word,), env=(), cwd="/")


def test_what_two_graphs_share_stands_once():
    tools = (
        Step(op=ImageOp(reference="a", digest="d", platform=AMD)),
        Step(op=run("x"), inputs=(0,)),
    )
    one = Graph(steps=(*tools, Step(op=run("amd64"), inputs=(1,))))
    other = Graph(steps=(*tools, Step(op=run("arm64"), inputs=(1,))))
    graph, places = merge([one, other])
    assert [step.op for step in graph.steps] == [*(t.op for t in tools), run("amd64"), run("arm64")]
    assert places == ((0, 1, 2), (0, 1, 3))


def test_inputs_follow_their_steps():
    one = Graph(steps=(Step(op=ScratchOp()),))
    copy = CopyOp(sources=("a",), dest="/")
    other = Graph(steps=(Step(op=run("x")), Step(op=ScratchOp()), Step(op=copy, inputs=(1, 0))))
    graph, places = merge([one, other])
    assert graph.steps[places[1][2]].inputs == (0, 1)


def test_a_step_to_be_done_again_is_not_one_that_may_be_known():
    known, renewed = Step(op=ScratchOp()), Step(op=ScratchOp(), no_cache=True)
    graph, _ = merge([Graph(steps=(known,)), Graph(steps=(renewed,))])
    assert len(graph.steps) == 2
