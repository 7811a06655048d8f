"""A layer without what is there already makes the same image."""

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from memorytree import OLD, MemoryTree, fifo, file, folder, link
from tree_suite import walk
from treemakers import changes, write_layer

from wcbuild.graph.ops import CopyOp
from wcbuild.layer.changes import DIRECTORY, HARDLINK
from wcbuild.tree.errors import PlaceError
from wcbuild.tree.layers import LayerTree
from wcbuild.tree.place import copy
from wcbuild.tree.unchanged import without_unchanged

PATHS = st.lists(st.sampled_from("ab"), min_size=1, max_size=3).map("/".join)


@st.composite
def files(draw):
    """Draw nodes by path; the same node twice is a hard link."""
    nodes, made = {}, [file("one"), file("one"), file("two"), file("", mtime=OLD + 1)]
    for path in sorted(draw(st.sets(PATHS, max_size=8))):
        parents = [path[:end] for end, letter in enumerate(path) if letter == "/"]
        if all(nodes.get(each, folder()).meta.kind == DIRECTORY for each in parents):
            nodes |= {each: folder() for each in parents if each not in nodes}
            nodes[path] = draw(st.sampled_from([*made, folder(), folder(0o700), link("a"), fifo()]))
    return nodes


def shown(tree):
    """Return what a tree has; of directories without their times."""
    return {
        path: (
            node.meta._replace(mtime=0) if node.meta.kind == DIRECTORY else node.meta,
            tree.digest(path, node) if node.content else "",
        )
        for path, node in walk(tree)
    }


@settings(max_examples=200)
@given(files(), files(), st.sampled_from(["/", "/a/", "/b/a/"]))
def test_a_copy_without_what_is_there_gives_the_same_files(below, source, dest):
    with tempfile.TemporaryDirectory() as place:
        base = write_layer(Path(place) / "base", changes(below))
        try:
            new = copy(
                CopyOp(sources=("",), dest=dest), LayerTree([base]), MemoryTree(source), mtime=OLD
            )
        except PlaceError:
            return
        left = without_unchanged(new, LayerTree([base]), latest=None)
        whole = LayerTree([base, write_layer(Path(place) / "whole", new)])
        short = LayerTree([base, write_layer(Path(place) / "short", left)])
        assert shown(short) == shown(whole)
        for change in new:
            if change.meta.kind == HARDLINK:
                ends = [short.find(path).identity for path in (change.path, change.meta.link)]
                assert ends[0] == ends[1]
        assert without_unchanged(new, whole, latest=None) == ()
