"""What a layer leaves out because the layers below it have it as it is."""

import os
from pathlib import Path

import pytest
from memorytree import OLD, MemoryTree, fifo, file, folder, link

from wcbuild.layer.changes import DIRECTORY, HARDLINK, Change, HostFile, Meta
from wcbuild.tree.unchanged import without_unchanged

BELOW = {
    "a": folder(),
    "a/f": file("one"),
    "a/l": link("f"),
    "a/p": fifo(),
    "a/d": folder(0o700),
    "a/d/g": file("two"),
}


def left(changes, below=BELOW, latest=None):
    """Return the paths of what is left of changes, each a path and a node, or a `Change`."""
    given = [
        each if isinstance(each, Change) else Change(each[0], each[1].meta, each[1].content)
        for each in changes
    ]
    return [change.path for change in without_unchanged(given, MemoryTree(below), latest=latest)]


def test_what_is_there_as_it_is_is_left_out_with_its_directories():
    assert left(BELOW.items()) == []


@pytest.mark.parametrize(
    "node",
    [
        file("six"),
        file("longer"),
        file("one", mode=0o755),
        file("one", uid=1),
        file("one", gid=1),
        file("one", mtime=OLD + 1),
        link("f"),
    ],
)
def test_what_differs_stays_with_the_directories_that_it_lies_in(node):
    assert left([("a", BELOW["a"]), ("a/d", BELOW["a/d"]), ("a/f", node)]) == ["a", "a/f"]


@pytest.mark.parametrize("node", [folder(0o755), folder(0o700, uid=1), folder(0o700, gid=1)])
def test_a_directory_that_differs_stays(node):
    assert left([("a", BELOW["a"]), ("a/d", node)]) == ["a", "a/d"]


def test_another_time_of_a_directory_is_no_change():
    assert left([("a", BELOW["a"]), ("a/d", folder(0o700, mtime=OLD + 1))]) == []


def test_what_is_new_stays():
    new = [("b", folder()), ("b/f", file("one")), ("a", BELOW["a"]), ("a/n", file("one"))]
    assert left(new) == ["b", "b/f", "a", "a/n"]


def test_times_are_compared_as_the_layer_will_have_them():
    newer = file("one", mtime=OLD + 5)
    assert left([("a", BELOW["a"]), ("a/f", newer)], latest=OLD) == []
    assert left([("a", BELOW["a"]), ("a/f", newer)], latest=OLD + 1) == ["a", "a/f"]


def test_hard_links_stay_with_the_file_that_they_lead_to_and_its_other_links():
    meta = Meta(HARDLINK, 0o644, mtime=OLD, link="a/f")
    changes = [("a", BELOW["a"]), ("a/f", BELOW["a/f"]), Change("a/m", meta), Change("a/n", meta)]
    assert left(changes) == ["a", "a/f", "a/m", "a/n"]
    linked = BELOW | {"a/m": BELOW["a/f"]}
    assert left(changes, linked) == ["a", "a/f", "a/m", "a/n"]
    assert left(changes[:3], linked) == []
    assert left([*changes[:1], ("a/f", file("six")), changes[2]], linked) == ["a", "a/f", "a/m"]
    assert left(changes, linked | {"a/n": file("one")}) == ["a", "a/f", "a/m", "a/n"]


def test_all_stays_in_a_directory_that_hides_what_was_there():
    opaque = Change("a/d", BELOW["a/d"].meta, opaque=True)
    changes = [("a", BELOW["a"]), opaque, ("a/d/g", BELOW["a/d/g"]), ("a/f", BELOW["a/f"])]
    assert left(changes) == ["a", "a/d", "a/d/g"]


def test_deletions_stay():
    assert left([("a", BELOW["a"]), Change("a/f", None)]) == ["a", "a/f"]


def test_a_file_that_is_gone_stays_for_whoever_packs_it_to_tell(tmp_path: Path):
    gone = Change("a/f", BELOW["a/f"].meta, HostFile(os.fspath(tmp_path / "gone")))
    assert left([("a", BELOW["a"]), gone]) == ["a", "a/f"]


def test_the_root_stays_only_if_it_changes():
    same, other = (Change("", Meta(DIRECTORY, mode, mtime=OLD)) for mode in (0o755, 0o700))
    assert left([same]) == []
    assert left([other]) == [""]
