"""Paths are resolved inside a root whatever its links say."""

from __future__ import annotations

import os

import pytest

from wcbuild.sandbox.inside import make_directory, make_mount_point, walk


@pytest.fixture
def root(tmp_path):
    place = tmp_path / "root"
    (place / "a/b").mkdir(parents=True)
    (place / "a/b/file").write_text("inside")
    (tmp_path / "file").write_text("outside")
    handle = os.open(place, os.O_PATH)
    yield place, handle
    os.close(handle)


def path_of(handle: int) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{handle}")
    finally:
        os.close(handle)


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/", ""),
        ("a/b", "/a/b"),
        ("/a/b/file", "/a/b/file"),
        ("//a/./b/../b//", "/a/b"),
        ("/../../a", "/a"),
        ("/up/a", "/a"),
        ("/absolute/file", "/a/b/file"),
        ("/relative/../b/file", "/a/b/file"),
    ],
)
def test_walks_inside(root, path, found):
    place, handle = root
    (place / "up").symlink_to("../../../..")
    (place / "absolute").symlink_to("/a/b")
    (place / "relative").symlink_to("a/b")
    assert path_of(walk(handle, path)) == f"{place}{found}"


def test_absolute_link_to_the_outside_finds_nothing(root):
    place, handle = root
    (place / "escape").symlink_to(place.parent / "file")
    with pytest.raises(FileNotFoundError):
        walk(handle, "/escape")


def test_loops_end(root):
    place, handle = root
    (place / "one").symlink_to("two")
    (place / "two").symlink_to("one")
    with pytest.raises(OSError, match="Too many levels"):
        walk(handle, "/one")


@pytest.mark.parametrize("link", ["/proc/self/fd/0", "/proc/self/root", "/proc/self/cwd/x"])
def test_links_of_proc_are_refused(link):
    host = os.open("/", os.O_PATH)
    try:
        with pytest.raises(OSError, match="Too many levels"):
            walk(host, link)
    finally:
        os.close(host)


def test_makes_directories_through_links(root):
    place, handle = root
    (place / "link").symlink_to("/new/deep")
    assert path_of(make_directory(handle, "/link/er")) == f"{place}/new/deep/er"


@pytest.mark.parametrize("directory", [True, False])
def test_mount_points_vanish_without_a_trace(root, directory):
    place, handle = root
    for path in (place, place / "a", place / "a/b"):
        os.utime(path, ns=(1_000_000_007, 1_000_000_007))
    before = {str(path): os.stat(path).st_mtime_ns for path in (place, *place.rglob("*"))}
    target, stubs = make_mount_point(handle, "/a/b/x/y", directory=directory)
    assert (place / "a/b/x/y").is_dir() is directory
    assert path_of(target) == f"{place}/a/b/x/y"
    for stub in reversed(stubs):
        stub.remove()
    assert before == {str(path): os.stat(path).st_mtime_ns for path in (place, *place.rglob("*"))}


def test_existing_mount_points_make_no_stubs(root):
    _, handle = root
    _, stubs = make_mount_point(handle, "/a/b/file", directory=False)
    assert stubs == []


def test_what_was_put_into_a_stub_stays(root):
    place, handle = root
    _, stubs = make_mount_point(handle, "/new/point", directory=True)
    (place / "new/kept").write_text("")
    for stub in reversed(stubs):
        stub.remove()
    assert [path.name for path in (place / "new").iterdir()] == ["kept"]


def test_a_file_is_no_way(root):
    _, handle = root
    with pytest.raises(NotADirectoryError):
        make_directory(handle, "/a/b/file/x")
