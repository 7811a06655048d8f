import os
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memorytree import MemoryTree, content, file, folder, link, listing
from rawtar import HARDLINK, archive, entry
from tree_suite import walk
from treemakers import changes, layer_tree, write_layer

from wcbuild.graph.ops import CopyOp
from wcbuild.layer.changes import DIRECTORY, FILE, Change, Inline, Meta
from wcbuild.layer.scan import scan
from wcbuild.tree import place
from wcbuild.tree.index import LayerIndex, write_index
from wcbuild.tree.layers import LayerTree


def raw_layer(place, data):
    place.with_suffix(".tar").write_bytes(data)
    with open(place.with_suffix(".tar"), "rb") as stream:
        write_index(place.with_suffix(".index"), scan(stream))
    return LayerIndex(place.with_suffix(".index")), place.with_suffix(".tar")


def gone(path):
    return Change(path, None)


def opaque(path):
    return Change(path, Meta(DIRECTORY, 0o755), opaque=True)


@pytest.fixture
def tree(tmp_path):
    """Return a function from layers, as nodes or changes, to their merged view."""

    def make(*layers):
        return layer_tree(tmp_path, *(changes(x) if isinstance(x, dict) else x for x in layers))

    return make


def paths(tree):
    return [path for path, _ in walk(tree)]


def test_upper_layers_hide_lower_files(tree):
    merged = tree({"a": file("old"), "b": file("b")}, {"a": file("new", 0o600)})
    assert content(merged.find("a")) == b"new"
    assert merged.find("a").meta.mode == 0o600
    assert paths(merged) == ["a", "b"]


def test_directories_merge_and_the_uppermost_says_what_they_are(tree):
    merged = tree(
        {"d": folder(0o700, 1, 1), "d/a": file("a")}, {"d": folder(0o755, 2, 2), "d/b": file("b")}
    )
    assert (merged.find("d").meta.mode, merged.find("d").meta.uid) == (0o755, 2)
    assert paths(merged) == ["d", "d/a", "d/b"]


def test_a_directory_without_an_entry_keeps_what_lower_layers_say(tree):
    merged = tree({"d": folder(0o700)}, {"d/b": file("b")})
    assert merged.find("d").meta.mode == 0o700
    assert dict(merged.children(""))["d"].meta.mode == 0o700


def test_whiteouts_delete_files_and_whole_directories(tree):
    merged = tree({"d/e/f": file(), "x": file(), "y": file()}, [gone("d"), gone("x")])
    assert paths(merged) == ["y"]
    assert (
        merged.find("d") is merged.find("d/e") is merged.find("d/e/f") is merged.find("x") is None
    )


def test_what_was_deleted_can_come_back(tree):
    merged = tree({"d/old": file()}, [gone("d")], {"d": folder(), "d/new": file()})
    assert paths(merged) == ["d", "d/new"]
    assert merged.find("d/old") is None


def test_opaque_directories_hide_what_lower_layers_have_in_them(tree):
    merged = tree({"d/a": file(), "d/s/b": file(), "e": file()}, [opaque("d")], {"d/c": file()})
    assert paths(merged) == ["d", "d/c", "e"]
    assert merged.find("d/s/b") is None


def test_a_file_in_place_of_a_directory_hides_what_was_in_it(tree):
    merged = tree({"d/a": file()}, {"d": file("now a file")})
    assert paths(merged) == ["d"]
    assert merged.find("d/a") is None


def test_a_directory_in_place_of_a_file(tree):
    merged = tree({"d": file()}, {"d": folder(), "d/a": file()})
    assert paths(merged) == ["d", "d/a"]


def test_a_directory_that_was_a_file_in_between_does_not_show_what_it_had_before(tree):
    merged = tree({"d/a": file()}, {"d": file()}, {"d": folder(), "d/b": file()})
    assert paths(merged) == ["d", "d/b"]
    assert merged.find("d/a") is None


def test_hard_links_to_files_of_lower_layers_are_resolved(tmp_path):
    lower = write_layer(tmp_path / "lower", changes({"a": file("shared", 0o640)}))
    upper = raw_layer(tmp_path / "upper", archive(entry("b", kind=HARDLINK, link="a")))
    merged = LayerTree([lower, upper])
    assert content(merged.find("b")) == b"shared"
    assert merged.find("b").meta.mode == 0o640
    assert merged.find("b").identity == merged.find("a").identity


def test_hard_links_keep_their_file_when_it_is_replaced_or_deleted_above(tmp_path):
    lower = write_layer(tmp_path / "lower", changes({"d/a": file("old")}))
    middle = raw_layer(tmp_path / "middle", archive(entry("b", kind=HARDLINK, link="d/a")))
    upper = write_layer(tmp_path / "upper", [gone("d")])
    merged = LayerTree([lower, middle, upper])
    assert merged.find("d/a") is None
    assert content(merged.find("b")) == b"old"


def test_hard_links_in_a_circle_are_nothing(tmp_path):
    layer = raw_layer(
        tmp_path / "x",
        archive(entry("a", kind=HARDLINK, link="b"), entry("b", kind=HARDLINK, link="a")),
    )
    merged = LayerTree([layer])
    assert merged.find("a") is None
    assert paths(merged) == []


def test_entries_below_a_lower_symlink_land_where_it_leads(tree):
    """`lib/x` in a layer without an entry for `lib`, on a base where `lib` is `usr/lib`."""
    merged = tree(
        {"lib": link("usr/lib"), "usr/lib/old": file("old"), "usr/lib/x": file("x")},
        {"lib/x": file("new"), "lib/sub/y": file("y")},
    )
    assert merged.find("lib").meta.link == "usr/lib"
    assert merged.find("lib/x") is None
    assert content(merged.find("usr/lib/x")) == b"new"
    assert content(merged.find("usr/lib/sub/y")) == b"y"
    assert paths(merged) == ["lib", "usr"] + [
        f"usr/{p}" for p in ("lib", "lib/old", "lib/sub", "lib/sub/y", "lib/x")
    ]


def test_whole_directories_below_a_lower_symlink_land_where_it_leads(tree):
    merged = tree(
        {"lib": link("usr/lib"), "usr/lib/sub": link("/opt"), "opt": folder()},
        {"lib/sub/a/b": file("1"), "lib/own": folder(0o700), "lib/own/c/d": file("2")},
    )
    assert content(merged.find("opt/a/b")) == b"1"
    assert content(merged.find("usr/lib/own/c/d")) == b"2"
    assert merged.find("usr/lib/own").meta.mode == 0o700


def test_whiteouts_below_a_lower_symlink_delete_where_it_leads(tree):
    merged = tree(
        {"lib": link("usr/lib"), "usr/lib/x": file("x")},
        [gone("lib/x"), *changes({"lib/y": file()})],
    )
    assert merged.find("usr/lib/x") is None
    assert merged.find("usr/lib/y") is not None


def test_a_whiteout_alone_below_a_lower_symlink_deletes_where_it_leads(tree):
    merged = tree({"lib": link("usr/lib"), "usr/lib/x": file("x")}, [gone("lib/x")])
    assert merged.find("usr/lib/x") is None


def test_an_entry_for_the_directory_replaces_the_symlink(tree):
    merged = tree(
        {"lib": link("usr/lib"), "usr/lib/x": file("x")}, {"lib": folder(), "lib/x": file("own")}
    )
    assert content(merged.find("lib/x")) == b"own"
    assert content(merged.find("usr/lib/x")) == b"x"


def test_symlinks_that_leave_the_root_stay_inside(tree):
    merged = tree({"out": link("../../../etc"), "etc/a": file()}, {"out/passwd": file("mine")})
    assert content(merged.find("etc/passwd")) == b"mine"


def test_the_tar_is_not_asked_for_until_content_is_opened(tmp_path):
    index, tar = write_layer(tmp_path / "layer", changes({"a": file("text"), "b": file("more")}))
    asked = []

    def path():
        asked.append(1)
        return tar

    merged = LayerTree([(index, path)])
    node = merged.find("a")
    assert merged.digest("a", node)
    assert not asked
    assert content(node) == b"text"
    assert content(merged.find("b")) == b"more"
    assert len(asked) == 1


NAMES = st.sampled_from(["a", "b", "c"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
NODES = st.one_of(
    st.text(string.ascii_letters, max_size=3).map(file),
    st.just(folder(0o700)),
    st.sampled_from(["a", "b/c", "/c"]).map(link),
)


def is_directory(meta):
    return meta is not None and meta.kind == DIRECTORY


@st.composite
def layers(draw):
    """Return consistent layers: each only deletes and replaces what is there."""
    tree = MemoryTree()
    result = []
    for _ in range(draw(st.integers(1, 4))):
        layer = {}
        for path in sorted(draw(st.sets(PATHS, max_size=5))):
            parents = [path[:n] for n, letter in enumerate(path) if letter == "/"]
            if any(p in layer and not is_directory(layer[p].meta) for p in parents):
                continue
            for parent in parents:
                there = tree.find(parent)
                if parent not in layer and (there is None or not is_directory(there.meta)):
                    layer[parent] = Change(parent, Meta(DIRECTORY, 0o755))
            node = draw(st.one_of(st.none(), NODES))
            if node is None:
                if tree.find(path) is not None:
                    layer[path] = gone(path)
            else:
                hides = is_directory(node.meta) and draw(st.booleans())
                layer[path] = Change(path, node.meta, node.content, hides)
        result.append(list(layer.values()))
        tree = tree.applied(layer.values())
    return result, tree


@settings(max_examples=50)
@given(layers())
def test_merging_is_applying_one_after_the_other(tmp_path_factory, drawn):
    stack, expected = drawn
    merged = layer_tree(tmp_path_factory.mktemp("layers"), *stack)
    found = MemoryTree()
    found.nodes |= dict(walk(merged))
    assert listing(found) == listing(expected)
    assert all(merged.find(path) == node for path, node in walk(merged))


def test_inline_content_is_whole(tree):
    data = os.urandom(200_000)
    node = tree([Change("big", Meta(FILE, 0o644, size=len(data)), Inline(data))]).find("big")
    assert content(node) == data


def test_very_deep_directories_are_no_problem(tree):
    """A path may have 4096 bytes, and so more components than Python's stack has frames."""
    deep = "/".join("d" * 2000)
    merged = tree({deep: file("deep")}, {f"{deep[:-2]}/e": file()}, [gone(f"{deep[:-2]}/e")])
    assert content(merged.find(deep)) == b"deep"
    changed = place.copy(CopyOp(sources=("d",), dest="/o"), MemoryTree(), merged, mtime=0)
    assert len(changed) == 2000
