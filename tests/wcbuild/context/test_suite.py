"""A local folder, as a tree."""

import pytest
from tree_suite import CASES
from treemakers import write_files

from wcbuild.context.local import LocalTree
from wcbuild.context.statindex import StatIndex
from wcbuild.tree.base import FileTree, RememberingTree


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_local_tree(case, tmp_path):
    def make(nodes):
        write_files(tmp_path / "root", nodes)
        return LocalTree(tmp_path / "root")

    case(make)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_local_tree_with_an_index_that_knows_it(case, tmp_path):
    def make(nodes):
        write_files(tmp_path / "root", nodes)
        for _ in range(2):
            tree = LocalTree(tmp_path / "root", index=StatIndex(tmp_path / "index"))
            for name, node in tree.children(""):
                if node.meta.kind == "f":
                    tree.digest(name, node)
            tree.save()
        return tree

    case(make)


def test_it_is_a_tree_that_remembers(tmp_path):
    tree: FileTree = LocalTree(tmp_path)
    assert isinstance(tree, RememberingTree)
