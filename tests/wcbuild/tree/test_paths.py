import pytest
from memorytree import MemoryTree, file, link

from wcbuild.tree.errors import TooManyLinksError
from wcbuild.tree.paths import MAX_LINKS, join, parent, resolve

TREE = MemoryTree(
    {
        "usr/lib/x": file(),
        "lib": link("usr/lib"),
        "abs": link("/usr"),
        "up": link("../../../usr/./lib//"),
        "usr/back": link("../lib"),
        "dangling": link("not/there"),
        "self": link("self"),
        "ping": link("pong"),
        "pong": link("ping/x"),
        "empty-ish": link("."),
    }
)


@pytest.mark.parametrize(
    ("path", "real"),
    [
        ("", ""),
        ("/", ""),
        ("usr/lib/x", "usr/lib/x"),
        ("/usr//lib/./x/", "usr/lib/x"),
        ("lib", "usr/lib"),
        ("lib/x", "usr/lib/x"),
        ("abs/lib/x", "usr/lib/x"),
        ("up/x", "usr/lib/x"),
        ("usr/back/x", "usr/lib/x"),
        ("lib/../x", "usr/x"),
        ("../../etc", "etc"),
        ("new/dir/file", "new/dir/file"),
        ("lib/new/file", "usr/lib/new/file"),
        ("dangling/x", "not/there/x"),
        ("usr/lib/x/y", "usr/lib/x/y"),
        ("empty-ish/usr", "usr"),
    ],
)
def test_resolves_inside_the_root(path, real):
    assert resolve(TREE, path) == real


def test_the_last_link_can_be_kept():
    assert resolve(TREE, "lib", follow_last=False) == "lib"
    assert resolve(TREE, "usr/back/x", follow_last=False) == "usr/lib/x"


@pytest.mark.parametrize("path", ["self", "self/x", "ping", "ping/y"])
def test_a_circle_of_links_is_an_error(path):
    with pytest.raises(TooManyLinksError, match="too many levels of symbolic links"):
        resolve(TREE, path)


def test_long_chains_of_links_are_followed():
    chain = {f"l{n}": link(f"l{n + 1}") for n in range(MAX_LINKS)}
    assert resolve(MemoryTree(chain), "l0") == f"l{MAX_LINKS}"
    with pytest.raises(TooManyLinksError):
        resolve(MemoryTree(chain | {f"l{MAX_LINKS}": link("end")}), "l0")


def test_links_that_multiply_are_an_error_soon():
    """Each link names the next twice: followed naively, 2**64 steps."""
    bomb = {f"l{n}": link(f"l{n + 1}/l{n + 1}") for n in range(64)}
    with pytest.raises(TooManyLinksError):
        resolve(MemoryTree(bomb | {"l64": link(".")}), "l0")


def test_join_and_parent_are_inverse():
    assert join("", "a") == "a"
    assert join("a/b", "c") == "a/b/c"
    assert (parent("a/b/c"), parent("a"), parent("")) == ("a/b", "", "")
