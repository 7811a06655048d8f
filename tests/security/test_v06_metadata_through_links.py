"""V06, CVE-2021-32760, and V07, CVE-2021-41089: modes, owners and times set through a link."""

import os

import pytest
from rawtar import CHARACTER, DIRECTORY, FIFO, FILE, HARDLINK, SYMLINK, entry


@pytest.mark.parametrize("kind", [FILE, DIRECTORY, FIFO, CHARACTER, SYMLINK])
def test_mode_time_and_owner_stop_at_a_symlink(root, canary, unpack, kind):
    for target in (canary.path / "f", canary.path / "d", canary.path):
        assert (
            unpack(
                entry("x", kind=SYMLINK, link=str(target), mode=0o777, mtime=5),
                entry("x", kind=kind, link="elsewhere", mode=0o7777, mtime=7, major=1, minor=3),
                ownership=os.geteuid() == 0,
            )
            == ""
        )


def test_symlinks_that_were_there_before_are_not_followed(root, canary, unpack):
    (root / "x").symlink_to(canary.path / "f")
    (root / "y").symlink_to(canary.path / "d")
    assert unpack(entry("x", mode=0o777), entry("y", kind=DIRECTORY, mode=0o777)) == ""
    assert not (root / "x").is_symlink()
    assert not (root / "y").is_symlink()


def test_a_hard_links_mode_is_not_set(root, canary, unpack):
    (root / "s").symlink_to(canary.path / "f")
    assert unpack(entry("h", kind=HARDLINK, link="s", mode=0o777, mtime=1, uid=7)) == ""


def test_directories_finished_last_are_not_followed_then(root, canary, unpack):
    """Directory metadata waits for the end; meanwhile the directory may have become a link."""
    assert (
        unpack(
            entry("d/", kind=DIRECTORY, mode=0o777, mtime=5),
            entry("d/e/", kind=DIRECTORY, mode=0o777, mtime=5),
            entry("d", kind=SYMLINK, link=str(canary.path)),
        )
        == ""
    )
