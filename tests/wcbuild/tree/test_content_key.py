import contextlib

import pytest
from memorytree import MemoryTree, fifo, file, folder, link

from wcbuild.graph.ops import CopyOp
from wcbuild.tree.errors import MissingSourceError
from wcbuild.tree.place import cheap_content_key, content_key
from wcbuild.tree.select import check_sources

NODES = {
    "d": folder(0o755),
    "d/a": file("a", uid=5, gid=6),
    "d/l": link("a"),
    "d/e": folder(0o700),
    "d/p": fifo(),
    "other": file("other"),
}


def key(changed=None, removed=(), **fields):
    nodes = {**NODES, **(changed or {})}
    tree = MemoryTree({path: node for path, node in nodes.items() if path not in removed})
    return content_key(CopyOp(**({"sources": ("d",), "dest": "/x"} | fields)), tree)


@pytest.mark.parametrize(
    "changed",
    [
        {"d/a": file("b")},
        {"d/a": file("a", 0o600)},
        {"d/a": link("a")},
        {"d/a": folder()},
        {"d/l": link("b")},
        {"d/e": folder(0o755)},
        {"d/p": fifo(0o600)},
        {"d/new": file("")},
        {"d/e/new": folder()},
    ],
)
def test_the_key_changes_with_what_is_copied(changed):
    assert key(changed) != key()


@pytest.mark.parametrize(
    "changed",
    [
        {"other": file("changed")},
        {"d/a": file("a", mtime=5)},
        {"d/a": file("a", uid=7, gid=8)},
        {"d": folder(0o700)},
        {"d": folder(mtime=5)},
    ],
)
def test_the_key_does_not_change_with_what_is_not(changed):
    assert key(changed) == key()


def test_owners_count_where_they_are_kept_and_not_replaced():
    changed = {"d/a": file("a", uid=7, gid=8)}
    assert key(changed, keep_owner=True) != key(keep_owner=True)
    assert key(changed, keep_owner=True, chown="1:1") == key(keep_owner=True, chown="1:1")


def test_names_count_and_not_only_content():
    assert key({"d/b": file("a")}, removed=["d/a"]) != key()
    assert key({"d/e/a": file("a")}, removed=["d/a"]) != key()


def test_hard_links_count_as_files():
    one = file("same")
    assert key({"d/x": one, "d/y": one}) == key({"d/x": file("same"), "d/y": file("same")})


def test_only_selected_files_count():
    assert key({"d/a": file("b")}, exclude=("a",)) == key(exclude=("a",))
    assert key({"d/p": fifo(0o600)}, sources=("d/a*",)) == key(sources=("d/a*",))
    assert key({"d/a": file("b")}, sources=("**/l",), parents=True) == key(
        sources=("**/l",), parents=True
    )


def test_a_renamed_match_of_a_wildcard_counts():
    assert key(sources=("o*",)) != key({"oxter": file("other")}, removed=["other"], sources=("o*",))


def test_a_file_is_not_a_directory_of_one():
    assert key(sources=("other",)) != key(
        {"other/other": file("other")}, removed=["other"], sources=("other",)
    )


def test_names_and_targets_cannot_be_written_so_that_two_trees_look_the_same():
    lines = {"d/a\nd/b": link("x"), "d/b": link("x\ny")}
    assert len({key({path: node}) for path, node in lines.items()} | {key(lines), key()}) == 4


def test_missing_sources_are_errors():
    with pytest.raises(MissingSourceError):
        key(sources=("none",))


@pytest.mark.parametrize(
    ("fields", "fails"),
    [
        ({"sources": ("other", "d/a")}, False),
        ({"sources": ("other", "none")}, True),
        ({"sources": ("d/none/x",)}, True),
        ({"sources": ("n*", "")}, False),
        ({"sources": ("none",), "parents": True}, False),
    ],
)
def test_sources_that_are_named_are_looked_for_without_reading_any(fields, fails):
    op = CopyOp(dest="/", **fields)
    with pytest.raises(MissingSourceError) if fails else contextlib.nullcontext():
        check_sources(op, MemoryTree(NODES))


def test_a_tree_that_does_not_remember_has_cheap_keys():
    op = CopyOp(sources=("d",), dest="/")
    assert cheap_content_key(op, MemoryTree(NODES)) == content_key(op, MemoryTree(NODES))
