"""Deleting what somebody else filled."""

from __future__ import annotations

import contextlib
import fcntl
import os

import pytest

from wcbuild.snapshot import removal
from wcbuild.snapshot.removal import remove_tree


def test_deletes_directories_that_nobody_may_read_or_write(tmp_path):
    for name in ("a", "b/c", "d/e/f"):
        (tmp_path / "tree" / name).mkdir(parents=True)
        (tmp_path / "tree" / name / "file").touch(mode=0)
    for name in ("a", "b/c", "d/e/f", "d/e", "d", ""):
        os.chmod(tmp_path / "tree" / name, 0)
    remove_tree(tmp_path / "tree")
    assert os.listdir(tmp_path) == []


def test_tells_the_bytes_that_become_free(tmp_path):
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "file").write_bytes(b"x" * 100_000)
    os.link(tree / "file", tree / "same")
    (tree / "kept").write_bytes(b"x" * 100_000)
    os.link(tree / "kept", tmp_path / "kept")
    assert 100_000 <= remove_tree(tree) < 150_000
    assert (tmp_path / "kept").exists()


def test_missing_tree_is_fine(tmp_path):
    assert remove_tree(tmp_path / "missing") == 0


def test_symlinks_are_deleted_and_not_followed(tmp_path):
    (tmp_path / "host").mkdir()
    (tmp_path / "host/file").touch()
    (tmp_path / "tree").mkdir()
    os.symlink(tmp_path / "host", tmp_path / "tree/directory")
    os.symlink(tmp_path / "host/file", tmp_path / "tree/file")
    remove_tree(tmp_path / "tree")
    assert (tmp_path / "host/file").exists()


def test_symlink_in_place_of_the_tree_is_refused(tmp_path):
    (tmp_path / "host").mkdir()
    (tmp_path / "host/file").touch()
    os.symlink("host", tmp_path / "tree")
    with pytest.raises(OSError):
        remove_tree(tmp_path / "tree")
    assert (tmp_path / "host/file").exists()


def test_tree_deeper_than_any_path_is_deleted(tmp_path):
    here = os.open(tmp_path, os.O_RDONLY)
    for name in ("tree", *("d" * 200 for _ in range(1500))):
        os.mkdir(name, 0o700, dir_fd=here)
        there = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=here)
        os.close(here)
        here = there
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)
    remove_tree(tmp_path / "tree")
    assert os.listdir(tmp_path) == []


@pytest.mark.root
def test_deletes_immutable_and_append_only_files(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("needs real root")
    tree = tmp_path / "tree"
    (tree / "directory").mkdir(parents=True)
    (tree / "directory/immutable").touch()
    (tree / "directory/append-only").touch()
    paths = [tree / "directory/immutable", tree / "directory/append-only", tree / "directory", tree]
    try:
        for path, flag in zip(paths, (0x10, 0x20, 0x10, 0x10), strict=True):
            set_flags(path, flag)
        remove_tree(tree)
        assert os.listdir(tmp_path) == []
    finally:
        for path in reversed(paths):
            with contextlib.suppress(OSError):
                set_flags(path, 0)


def set_flags(path, flags):
    fd = os.open(path, os.O_RDONLY)
    try:
        fcntl.ioctl(fd, removal._FS_IOC_SETFLAGS, flags.to_bytes(4, "little"))
    except OSError as error:
        pytest.skip(f"this file system has no such flags: {error}")
    finally:
        os.close(fd)
