"""V14: whiteouts that delete more than their layer may."""

import os

import pytest
from rawtar import DIRECTORY, HARDLINK, SYMLINK, entry


@pytest.fixture
def lower(root, canary):
    (root / "d").mkdir()
    (root / "d/f").write_bytes(b"lower")
    (root / "out").symlink_to(canary.path)
    (root / "up").symlink_to("../" * 30)
    return root


@pytest.mark.parametrize(
    "name", [".wh...", ".wh..", ".wh.", "d/.wh...", "d/.wh..", "d/.wh.", "./.wh.../", ".wh.d/.wh.f"]
)
def test_no_whiteout_deletes_its_own_directory_or_the_one_above(lower, unpack, name):
    assert unpack(entry(name, kind=DIRECTORY if name.endswith("/") else b"0")) != ""
    assert (lower / "d/f").exists()


@pytest.mark.parametrize("name", ["out/.wh.f", "out/.wh.d", "out/.wh..wh..opq", "out/d/.wh.sub"])
def test_whiteouts_behind_a_symlink_stay_inside(lower, unpack, name):
    unpack(entry(name))


def test_whiteouts_behind_a_symlink_above_the_root_are_the_roots(lower, unpack):
    assert unpack(entry("up/.wh.d")) == ""
    assert sorted(os.listdir(lower)) == ["out", "up"]


def test_a_whiteout_of_a_symlink_deletes_the_link(lower, unpack):
    assert unpack(entry(".wh.out")) == ""
    assert not (lower / "out").is_symlink()


def test_a_directory_full_of_symlinks_is_deleted_without_following_them(lower, canary, unpack):
    (lower / "d/out").symlink_to(canary.path)
    (lower / "d/sub").mkdir()
    (lower / "d/sub/out").symlink_to(canary.path / "d")
    assert unpack(entry(".wh.d")) == ""
    assert not (lower / "d").exists()


def test_opaque_directories_full_of_symlinks_are_emptied_without_following_them(
    lower, canary, unpack
):
    (lower / "d/out").symlink_to(canary.path)
    assert (
        unpack(
            entry("d/mine", kind=SYMLINK, link=str(canary.path)),
            entry("d/", kind=DIRECTORY),
            entry("d/.wh..wh..opq"),
        )
        == ""
    )
    assert os.listdir(lower / "d") == ["mine"]


def test_opaque_in_the_root_hides_lower_layers_only(lower, unpack):
    assert unpack(entry("new", b"x"), entry(".wh..wh..opq"), entry("newer", b"y")) == ""
    assert sorted(os.listdir(lower)) == ["new", "newer"]


def test_whiteouts_that_are_links_or_directories_delete_one_name_too(lower, canary, unpack):
    assert unpack(entry("d/.wh.f", kind=SYMLINK, link=str(canary.path / "f"))) == ""
    assert unpack(entry(".wh.up", kind=HARDLINK, link="d")) == ""
    assert sorted(os.listdir(lower)) == ["d", "out"]
    assert os.listdir(lower / "d") == []


def test_entries_below_a_whiteout_are_refused(lower, unpack):
    assert "below a whiteout" in unpack(entry("d/.wh.x/f", b"x"))
