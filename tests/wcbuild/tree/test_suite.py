"""The in-memory twin and layers, as trees."""

import pytest
from memorytree import MemoryTree
from tree_suite import CASES
from treemakers import changes, layer_tree

from wcbuild.layer.changes import Change
from wcbuild.tree.base import FileTree, RememberingTree
from wcbuild.tree.layers import EmptyTree, LayerTree


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_memory_tree(case):
    case(MemoryTree)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_layer_tree_of_one_layer(case, tmp_path):
    case(lambda nodes: layer_tree(tmp_path, changes(MemoryTree(nodes).nodes)))


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_layer_tree_without_entries_for_parents(case, tmp_path):
    case(lambda nodes: layer_tree(tmp_path, changes(nodes)))


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_layer_tree_of_many_layers(case, tmp_path):
    """Every change in a layer of its own, over one that had something else everywhere."""

    def make(nodes):
        all_changes = changes(MemoryTree(nodes).nodes)
        linked = {c.meta.link for c in all_changes if c.meta.kind == "h"}
        together = [c for c in all_changes if c.meta.kind == "h" or c.path in linked]
        single = [[c] for c in all_changes if c not in together]
        below = [Change("old", all_changes[0].meta), Change("a", all_changes[0].meta)]
        return layer_tree(
            tmp_path, below, [Change("old", None), Change("a", None)], *single, together
        )

    case(make)


def test_empty_tree_has_a_root_and_nothing_else():
    tree = EmptyTree()
    assert tree.find("").meta.mode == 0o755
    assert tree.find("a") is None
    assert list(tree.children("")) == []


def test_they_are_trees(tmp_path):
    trees: list[FileTree] = [MemoryTree(), EmptyTree(), LayerTree([])]
    assert not any(isinstance(tree, RememberingTree) for tree in trees)
