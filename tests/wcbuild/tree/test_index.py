import os
import random

import pytest

from wcbuild.layer.changes import DIRECTORY, FILE, HARDLINK, SYMLINK, Entry, Meta
from wcbuild.tree.index import DamagedIndexError, LayerIndex, write_index

DIGEST = "ab" * 32


def file(path, size=1, offset=512):
    return Entry(path, Meta(FILE, 0o644, 1, 2, size, 3), offset, DIGEST)


def folder(path, *, opaque=False):
    return Entry(path, Meta(DIRECTORY, 0o755), opaque=opaque)


@pytest.fixture
def index(tmp_path):
    def make(*entries):
        write_index(tmp_path / "index", entries)
        return LayerIndex(tmp_path / "index")

    return make


def test_finds_what_was_written_field_by_field(index):
    entries = [
        folder("d", opaque=True),
        file("d/f"),
        Entry("d/l", Meta(SYMLINK, 0o777, mtime=-5, link="/x y\n\udcff")),
        Entry("h", Meta(HARDLINK, 0o644, link="d/f")),
        Entry("c", Meta("c", 0o600, 4294967294, 0, major=5, minor=1)),
        Entry("x", Meta(FILE, 0o755, xattrs=(("security.capability", b"\0\x01 ="), ("z", b"")))),
        Entry("gone", None),
        Entry("", Meta(DIRECTORY, 0o700)),
    ]
    found = index(*entries)
    for entry in entries:
        expected = entry
        assert found.find(entry.path) == expected
    assert sorted(found) == sorted(entries)
    assert len(found) == len(entries)


def test_finds_each_of_many_and_nothing_else(index):
    paths = [f"d{n % 7}/s{n % 11}/f{n}" for n in range(2000)]
    found = index(*map(file, paths))
    assert all(found.find(path).path == path for path in paths)
    assert all(found.find(path) is None for path in ("d0", "d0/s0", "f1", "d0/s0/f1x", "z", "0"))


def test_an_empty_layer_has_no_entries(index):
    found = index()
    assert list(found) == []
    assert found.find("a") is None
    assert list(found.children("")) == []


def test_below_gives_everything_inside_a_directory_at_any_depth(index):
    inside = ["a/b", "a/b/c", "a/b/c/d", "a/z", "a/\x01"]
    outside = ["a", "a!", "a!/b", "a0", "ab/c", "a-b/c", "b/a/b"]
    found = index(*map(file, inside + outside))
    assert sorted(entry.path for entry in found.below("a")) == sorted(inside)
    assert sorted(e.path for e in found.below("")) == sorted(inside + outside)
    assert list(found.below("nothing")) == []


def test_directories_without_entries_are_implied(index):
    found = index(file("a/b/c"), folder("x"), file("x/y"))
    assert list(found.implied()) == ["a", "a/b"]
    assert found.find("a") is None
    assert [(name, implied) for name, _, implied in found.children("")] == [
        ("a", True),
        ("x", False),
    ]
    assert sorted(entry.path for entry in found) == ["a/b/c", "x", "x/y"]


def test_whiteouts_do_not_make_their_directories_exist(index):
    found = index(Entry("a/b", None), Entry("c/d", None), file("c/e"))
    assert [(name, entry.meta is None) for name, entry, _ in found.children("")] == [
        ("a", True),
        ("c", False),
    ]
    assert list(found.implied()) == ["a", "c"]


def test_the_last_of_several_entries_counts(index):
    assert index(file("a", 1), file("a", 2)).find("a").meta.size == 2


@pytest.mark.parametrize("order", [0, 1])
def test_deleted_and_made_again_hides_what_is_below(index, order):
    """Whiteouts apply to lower layers only, wherever in the tar they stand."""
    pair = [Entry("d", None), folder("d")]
    found = index(*(pair if order else reversed(pair)))
    assert found.find("d") == folder("d", opaque=True)


@pytest.mark.parametrize("size", [0, 1, 20, 100, -1, -100, -10_000])
def test_a_truncated_file_is_noticed_at_once(index, tmp_path, size):
    index(*(file(f"f{n}") for n in range(500)))
    data = (tmp_path / "index").read_bytes()
    (tmp_path / "index").write_bytes(data[:size])
    with pytest.raises(DamagedIndexError):
        LayerIndex(tmp_path / "index")


def test_no_flipped_bit_is_believed(index, tmp_path):
    entries = [file(f"d{n % 3}/f{n}") for n in range(300)]
    index(*entries)
    data = (tmp_path / "index").read_bytes()
    generator = random.Random(1)
    for position in generator.sample(range(len(data)), 200):
        changed = bytearray(data)
        changed[position] ^= 1 << generator.randrange(8)
        (tmp_path / "index").write_bytes(changed)
        with pytest.raises(DamagedIndexError):
            list(LayerIndex(tmp_path / "index"))


def test_blocks_of_zeros_are_noticed_when_they_are_touched(index, tmp_path):
    index(*(file(f"f{n:04}") for n in range(500)))
    data = bytearray((tmp_path / "index").read_bytes())
    data[-1000:] = bytes(1000)
    (tmp_path / "index").write_bytes(data)
    found = LayerIndex(tmp_path / "index")
    assert found.find("f0000") is not None
    with pytest.raises(DamagedIndexError, match="delete it"):
        found.find("f0499")


def test_a_missing_file_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        LayerIndex(tmp_path / "index")


def test_an_open_index_survives_its_replacement(index, tmp_path):
    found = index(file("old"))
    write_index(tmp_path / "index", [file("new")])
    assert found.find("old") is not None
    assert LayerIndex(tmp_path / "index").find("new") is not None
    assert os.listdir(tmp_path) == ["index"]
