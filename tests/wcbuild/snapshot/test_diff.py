"""What cannot be seen through a snapshotter."""

from __future__ import annotations

import os

import pytest

from wcbuild.snapshot import diff

V2 = bytes.fromhex("0100000200040000000000000000000000000000")


def test_capabilities_lose_the_user_namespace_that_they_are_for(monkeypatch, tmp_path):
    """Kernels show this form to those outside of the namespace."""
    for value, stored in ((V2, V2), (bytes.fromhex("01000003") + V2[4:] + b"\xe8\3\0\0", V2)):
        monkeypatch.setattr(os, "getxattr", lambda *_, value=value, **__: value)
        assert diff._capability(str(tmp_path)) == stored


def test_tree_that_cannot_be_read_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        list(diff.changes(str(tmp_path / "missing"), ()))


def test_directory_moved_to_the_place_of_another_is_compared_by_content(tmp_path):
    """Neither its files nor their directories say that they were touched."""
    for tree in ("old", "new"):
        for name in ("a", "b"):
            (tmp_path / tree / name / "in").mkdir(parents=True)
            (tmp_path / tree / name / "in/file").write_text(name)
            os.utime(tmp_path / tree / name / "in/file", (1, 1))
    new = tmp_path / "new"
    inodes = {
        str(path.relative_to(new)).lstrip("."): path.stat().st_ino
        for path in (new, *new.rglob("*"))
        if path.is_dir()
    }
    newest = max(path.lstat().st_ctime_ns for path in (new, *new.rglob("*")))
    untouched = diff.Untouched(newest + 1, inodes)
    os.rename(new / "a", new / "c")
    os.rename(new / "b", new / "a")
    os.rename(new / "c", new / "b")
    # As on a coarse clock: not even the renames left a trace in the times.
    for before in (untouched, None):
        found = diff.changes(str(new), (str(tmp_path / "old"),), untouched=before)
        assert {change.path for change in found} == {
            *("a", "a/in", "a/in/file", "b", "b/in", "b/in/file")
        }
