import io

import pytest
from memorytree import content, fifo, file, folder, link
from tree_suite import walk
from treemakers import changes, layer_tree, write_layer
from windowslayers import file as win_file
from windowslayers import folder as win_folder
from windowslayers import members, packed, tree_of

from wcbuild.errors import LayerError, UnsafeArchiveError
from wcbuild.layer.changes import DIRECTORY, FILE, HARDLINK, STREAM, Change, Entry, Inline, Meta
from wcbuild.layer.pack import pack
from wcbuild.layer.windows.names import fold
from wcbuild.tree.index import LayerIndex
from wcbuild.tree.layers import LayerTree
from wcbuild.tree.squash import SquashedLayer, squash


def gone(path):
    return Change(path, None)


def opaque(path, mode=0o755):
    return Change(path, Meta(DIRECTORY, mode), opaque=True)


def bare(path, data="x"):
    """A file whose layer says nothing of the directories that it lies in."""
    node = file(data)
    return Change(path, node.meta, node.content)


class Squashed:
    """The changes of one layer, and whether the base was asked for."""

    def __init__(self, place, base, own):
        self.base_layers = [write_layer(place / f"b{n}", layer) for n, layer in enumerate(base)]
        self.own_layers = [write_layer(place / f"o{n}", layer) for n, layer in enumerate(own)]
        self.asked = False
        found = squash([SquashedLayer(*layer) for layer in self.own_layers], self._base)
        self.changes = {change.path: change for change in found}

    def _base(self):
        assert not self.asked
        self.asked = True
        return LayerTree(self.base_layers)

    def said(self):
        """Return the kind of each change, `-` for deletions."""
        return {
            path: "-" if change.meta is None else change.meta.kind
            for path, change in sorted(self.changes.items())
        }

    def packed(self):
        out = io.BytesIO()
        return pack(self.changes.values(), out, epoch=None), out.getvalue()

    def content(self, path):
        result, data = self.packed()
        entry = next(entry for entry in result.entries if entry.path == path)
        return data[entry.offset : entry.offset + entry.meta.size]


@pytest.fixture
def squashed(tmp_path):
    """Return a function that squashes layers, nodes or changes, on a base of one layer or none."""

    def make(*own, base=None):
        layers = [changes(layer) if isinstance(layer, dict) else layer for layer in own]
        return Squashed(tmp_path, [] if base is None else [changes(base)], layers)

    return make


def test_the_last_layer_says_what_a_path_is(squashed):
    result = squashed({"a": file("old", 0o600, uid=1)}, {"a": file("new", 0o4755, uid=2, mtime=7)})
    assert result.changes["a"].meta == Meta(FILE, 0o4755, 2, 0, 3, 7)
    assert result.content("a") == b"new"


def test_what_was_added_and_deleted_is_nowhere(squashed):
    big = file(b"b" * 300_000)
    result = squashed({"d": folder(), "d/big": big, "k": file()}, [gone("d/big")], base={})
    assert result.said() == {"d": "d", "k": "f"}
    assert len(result.packed()[1]) < 10_000


def test_a_deletion_stays_where_the_base_has_something(squashed):
    result = squashed([gone("here"), gone("not")], {"x": file()}, base={"here": file()})
    assert result.said() == {"here": "-", "x": "f"}


def test_the_base_is_not_asked_for_where_nothing_is_hidden(squashed):
    result = squashed({"d": folder(), "d/a": file()}, {"d": folder(), "d/a": link("b")}, base={})
    assert result.said() == {"d": "d", "d/a": "l"}
    assert not result.asked


def test_a_directory_made_again_deletes_by_name_what_the_base_has_in_it(squashed):
    base = {"d": folder(), "d/old": file(), "d/both": file(), "d/e/deep": file(), "d/f/x": file()}
    again = {"d": folder(0o700), "d/both": file("new"), "d/e": folder(), "d/e/new": file()}
    result = squashed([gone("d")], again, base=base)
    assert result.said() == {
        "d": "d",
        "d/both": "f",
        "d/e": "d",
        "d/e/new": "f",
        "d/old": "-",
        "d/e/deep": "-",
        "d/f": "-",
    }


def test_opaque_directories_become_deletions_by_name(squashed):
    base = {"d": folder(), "d/a": file(), "d/b/c": file()}
    result = squashed([opaque("d")], {"d": folder(0o700), "d/a": file("new")}, base=base)
    assert result.said() == {"d": "d", "d/a": "f", "d/b": "-"}
    assert not any(change.opaque for change in result.changes.values())


def test_an_opaque_directory_empties_those_of_earlier_layers(squashed):
    result = squashed({"d": folder(), "d/a": file()}, [opaque("d"), bare("d/b")], base={})
    assert result.said() == {"d": "d", "d/b": "f"}


def test_a_file_that_was_a_directory_needs_no_deletion(squashed):
    result = squashed([gone("d")], {"d": file()}, base={"d": folder(), "d/a": file()})
    assert result.said() == {"d": "f"}
    assert not result.asked


def test_a_directory_that_was_a_file_for_a_while_hides_the_first_one(squashed):
    result = squashed({"d": file()}, {"d": folder()}, base={"d": folder(), "d/a": file()})
    assert result.said() == {"d": "d", "d/a": "-"}


def test_a_directory_that_comes_back_by_what_is_in_it_is_made_anew(squashed):
    result = squashed([gone("d")], [bare("d/e/x")], base={"d": folder(0o700, 5, 5)})
    assert result.said() == {"d": "d", "d/e": "d", "d/e/x": "f"}
    assert result.changes["d"].meta == Meta(DIRECTORY, 0o755)


def test_a_directory_without_an_entry_stays_without_one(squashed):
    result = squashed([bare("d/x")], [bare("d/y")], base={"d": folder(0o700)})
    assert result.said() == {"d/x": "f", "d/y": "f"}


def test_a_directory_stays_when_what_made_it_is_deleted(squashed):
    assert squashed([bare("d/x")], [gone("d/x")], base={}).said() == {"d": "d"}


def test_a_deletion_in_what_is_deleted_says_nothing_more(squashed):
    result = squashed([gone("d")], [gone("d/e/f")], base={"d": folder(), "d/e/f": file()})
    assert result.said() == {"d": "-"}


def test_a_deletion_below_a_symlink_of_the_base_stays(squashed):
    base = {"lib": link("usr/lib"), "usr/lib": folder(), "usr/lib/a": file()}
    assert squashed([gone("lib/a"), gone("lib/b")], base=base).said() == {"lib/a": "-"}


def test_deleting_again_what_came_back_deletes(squashed):
    result = squashed([gone("a")], {"a": file()}, [gone("a")], base={"a": file()})
    assert result.said() == {"a": "-"}


def test_the_root_is_as_the_last_layer_has_it(squashed):
    result = squashed({"": folder(0o700), "a": file()}, {"": folder(0o711)})
    assert result.changes[""].meta.mode == 0o711


def test_an_opaque_root_hides_all_of_the_base(squashed):
    result = squashed([opaque(""), bare("new")], {}, base={"a": file(), "b/c": file()})
    assert result.said() == {"": "d", "a": "-", "b": "-", "new": "f"}


def test_hard_links_stay_links(squashed):
    both = file("one")
    result = squashed({"a": both, "b": both, "c": file("one")})
    packed, _ = result.packed()
    assert [(e.path, e.meta.kind, e.meta.link) for e in packed.entries] == [
        ("a", FILE, ""),
        ("b", HARDLINK, "a"),
        ("c", FILE, ""),
    ]


@pytest.mark.parametrize("later", [[gone("a")], {"a": file("new")}, {"a": folder()}])
def test_a_link_keeps_the_content_when_the_first_name_goes(squashed, later):
    three = file("one", 0o640, uid=3)
    result = squashed({"a": three, "b": three, "z/c": three}, later)
    packed, _ = result.packed()
    by_path = {entry.path: entry.meta for entry in packed.entries}
    assert by_path["b"] == three.meta
    assert (by_path["z/c"].kind, by_path["z/c"].link) == (HARDLINK, "b")
    assert result.content("b") == b"one"


def test_files_of_the_same_name_in_different_layers_are_different_files(squashed):
    one, two = file("one"), file("two")
    result = squashed({"a": one, "b": one}, {"a": two, "c": two})
    assert result.content("b") == b"one"
    packed, _ = result.packed()
    assert {entry.path: entry.meta.link for entry in packed.entries} == {"a": "", "b": "", "c": "a"}


def test_a_link_to_a_pipe_is_one(squashed):
    meta = fifo().meta
    layer = [Change("p", meta), Change("q", Meta(HARDLINK, 0, link="p"))]
    result = squashed(layer, [gone("p")])
    assert result.changes["q"].meta == meta


def test_attributes_stay(squashed):
    meta = Meta(FILE, 0o755, size=1, xattrs=(("security.capability", b"\1\0"), ("user.a", b"b")))
    result = squashed([Change("a", meta, Inline(b"x"))], {"b": file()})
    assert result.changes["a"].meta == meta


def test_refuses_what_lies_in_a_file_of_an_earlier_layer(squashed):
    for there in (file(), link("elsewhere")):
        with pytest.raises(UnsafeArchiveError, match=r'"a/b".*no directory'):
            squashed({"a": there}, [bare("a/b")])


@pytest.mark.parametrize("target", ["nothing", "b", "d"])
def test_refuses_a_hard_link_to_what_its_layer_does_not_have(target):
    layer = [
        Entry("b", Meta(HARDLINK, 0, link=target)),
        Entry("d", Meta(DIRECTORY, 0)),
    ]
    with pytest.raises(UnsafeArchiveError, match="hard link"):
        tuple(squash([SquashedLayer(layer, "tar")], lambda: LayerTree([])))


@pytest.mark.parametrize("size", [10, 300_000])
@pytest.mark.parametrize("shorter", [False, True])
def test_refuses_content_that_is_not_what_it_was(squashed, tmp_path, size, shorter):
    result = squashed({"a": file(b"a" * size)}, {"b": file()})
    tar = tmp_path / "o0.tar"
    data = bytearray(tar.read_bytes())
    if shorter:
        del data[512 + size - 1 :]
    else:
        data[512 + size - 1] ^= 1
    tar.write_bytes(data)
    with pytest.raises(LayerError, match=r"o0\.tar.*"):
        result.packed()


def test_the_same_layers_give_the_same_bytes(tmp_path):
    layers = [{"a": file("1"), "d/b": file("2")}, {"d": folder(0o700), "d/c": link("x")}]
    once, again = (
        Squashed(tmp_path / name, [], [changes(layer) for layer in order])
        for name, order in (("x", layers), ("y", [dict(reversed(x.items())) for x in layers]))
        if (tmp_path / name).mkdir() is None
    )
    assert once.packed()[1] == again.packed()[1]


def test_a_tree_deeper_than_the_stack_is_squashed(squashed):
    path = "/".join("d" * 1500)
    assert squashed([bare(path)], [gone(path)], base={path: file()}).said() == {path: "-"}


def test_one_layer_of_nothing_is_nothing(squashed, tmp_path):
    assert squashed({"a": file()}, [gone("a")], base={}).said() == {}
    assert layer_tree(tmp_path, []).find("a") is None


# -- of Windows images


@pytest.fixture
def on_windows(tmp_path):
    """Return a function that gives the tar of squashed layers, whose tree is that of the layers."""

    def make(base, *own):
        tars = [packed(layer)[0] for layer in (base, *own)]
        tree = tree_of(tmp_path, *tars)
        layers = [
            SquashedLayer(LayerIndex(tmp_path / f"{n}.index", fold=fold), tmp_path / f"{n}.tar")
            for n in range(1, len(tars))
        ]
        before = files_of(tree)
        base_tree = tree_of(tmp_path / "base", tars[0], for_windows=False)
        data = packed(squash(layers, lambda: base_tree, fold=fold))[0]
        assert files_of(tree_of(tmp_path / "merged", tars[0], data)) == before
        return members(data)

    for name in ("base", "merged"):
        (tmp_path / name).mkdir()
    return make


def files_of(tree):
    """Return what is there by folded path: a spelling may be that of whoever deleted beside it."""
    return {
        fold(path): (node.meta, content(node) if node.content else b"") for path, node in walk(tree)
    }


OWN = {"MSWINDOWS.fileattr": b"34", "LIBARCHIVE.creationtime": b"1619524800.123456"}


def stream(path, data):
    return Change(path, Meta(STREAM, 0, size=len(data)), Inline(data))


def test_windows_names_meet_in_any_spelling(on_windows):
    found = on_windows(
        [win_folder("Windows"), win_file("Windows/old.txt", b"old")],
        [win_folder("Windows"), win_file("Windows/App.exe", b"1", OWN), win_file("a", b"a")],
        [win_folder("WINDOWS"), win_file("WINDOWS/app.EXE", b"2", OWN), gone("A")],
        [gone("windows/OLD.TXT"), gone("windows/never")],
    )
    assert list(found) == [
        *("Hives", "Files", "Files/WINDOWS", "Files/WINDOWS/.wh.OLD.TXT", "Files/WINDOWS/app.EXE")
    ]
    records = found["Files/WINDOWS/app.EXE"].pax_headers
    assert {name: records[name].encode() for name in OWN} == OWN


def test_a_windows_directory_made_again_deletes_by_name(on_windows):
    base = [win_folder("d"), win_file("d/Old.txt", b"x"), stream("d/Old.txt:s", b"s")]
    found = on_windows(base, [gone("D")], [win_folder("d"), win_file("d/new", b"n")])
    assert set(found) - {"Hives", "Files"} == {"Files/d", "Files/d/.wh.Old.txt", "Files/d/new"}


def test_streams_stand_behind_their_file_and_go_with_it(on_windows):
    found = on_windows(
        [win_folder("w")],
        [win_file("a", b"1"), stream("a:s", b"stream"), win_file("b", b"2"), stream("b:s", b"x")],
        [win_file("B", b"3")],
    )
    assert list(found) == ["Hives", "Files", "Files/B", "Files/a", "Files/a:s"]


def test_streams_of_a_file_whose_first_name_goes_are_told_with_the_second(tmp_path):
    link = Change("z", Meta(HARDLINK, 0, link="m"))
    one = packed([win_file("m", b"1"), stream("m:s", b"stream"), link])[0]
    two = packed([gone("m")])[0]
    tree_of(tmp_path, one, two)
    layers = [
        SquashedLayer(LayerIndex(tmp_path / f"{n}.index", fold=fold), tmp_path / f"{n}.tar")
        for n in range(2)
    ]
    data, _ = packed(squash(layers, lambda: LayerTree([]), fold=fold))
    assert list(members(data)) == ["Hives", "Files", "Files/z", "Files/z:s"]


def test_streams_of_a_link_that_comes_first_are_told_with_it(on_windows):
    link = Change("a", Meta(HARDLINK, 0, link="m"))
    layer = [win_file("m", b"1"), link, stream("a:s", b"stream")]
    found = on_windows([win_folder("w")], layer, [win_file("b", b"")])
    assert list(found) == ["Hives", "Files", "Files/a", "Files/a:s", "Files/b", "Files/m"]
    assert found["Files/m"].linkname == "Files/a"


def test_the_drive_and_links_to_it_stay_as_they_are(on_windows):
    junction = Change("Users", Meta("l", 0o777, link="/ProgramData", xattrs=tuple(OWN.items())))
    found = on_windows(
        [win_folder("", OWN)],
        [win_folder("", OWN), junction],
        [win_folder("", OWN), win_file("x", b"")],
    )
    assert found["Files"].pax_headers["MSWINDOWS.fileattr"] == "34"
    assert found["Files/Users"].linkname == "C:/ProgramData"
