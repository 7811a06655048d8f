"""Layers of Windows images that lead out, shadow, or cost more than they should."""

import contextlib
import io
import time

import pytest
from rawtar import DIRECTORY, HARDLINK, SYMLINK, archive, entry, pax
from windowslayers import packed, tree_of

from wcbuild.errors import LayerError, UnsafeArchiveError
from wcbuild.graph.ops import WINDOWS, CopyOp, MkdirOp
from wcbuild.layer.apply import apply
from wcbuild.layer.scan import scan
from wcbuild.layer.windows.read import read_as_linux, read_files
from wcbuild.tree import place
from wcbuild.tree.errors import TooManyLinksError

FILES = entry("Files", kind=DIRECTORY)


def tree(tmp_path, *parts):
    return tree_of(tmp_path, archive(FILES, *parts))


def made(tmp_path, path, *parts):
    changes = place.mkdir(MkdirOp(path=path, os=WINDOWS), tree(tmp_path, *parts), mtime=0)
    packed(changes)
    return {change.path for change in changes if change.path}


@pytest.mark.parametrize(
    "target", ["../../../etc", "C:/../../etc", "..\\..\\..\\etc", "\\??\\C:\\..\\etc"]
)
def test_a_junction_cannot_leave_the_drive(tmp_path, target):
    link = entry("Files/app", kind=SYMLINK, link=target)
    assert made(tmp_path, "/APP/new", link) == {"etc", "etc/new"}


def test_junctions_in_a_circle_end(tmp_path):
    links = (
        entry("Files/a", kind=SYMLINK, link="C:/B"),
        entry("Files/b", kind=SYMLINK, link="C:/A"),
    )
    with pytest.raises(TooManyLinksError):
        made(tmp_path, "/a/x", *links)


@pytest.mark.parametrize("target", ["D:/x", "//?/Volume{1}/x"])
def test_nothing_is_written_through_a_junction_to_another_volume(tmp_path, target):
    with pytest.raises(LayerError, match="Windows has no such file"):
        made(tmp_path, "/app/new", entry("Files/app", kind=SYMLINK, link=target))


@pytest.mark.parametrize("name", ["Files/../etc/passwd", "Files/a/../../../x", "../Files/x"])
def test_names_with_dots_are_refused(name):
    with pytest.raises(UnsafeArchiveError):
        list(scan(io.BytesIO(archive(FILES, entry(name, b"x"))), read=read_files))


def test_unpacking_follows_no_link_out(tmp_path):
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    data = archive(
        entry("Files/l", kind=SYMLINK, link=f"..{outside}"),
        entry("Files/m", kind=SYMLINK, link=f"C:{outside}"),
        entry("Files/l/x", b"x"),
        entry("Files/m/y", b"y"),
    )
    with contextlib.suppress(UnsafeArchiveError):
        apply(io.BytesIO(data), root, ownership=False, devices=False, read=read_as_linux)
    assert list(outside.iterdir()) == []


def test_two_spellings_of_one_file_are_one_and_the_last_counts(tmp_path):
    found = tree(tmp_path, entry("Files/Tool.exe", b"good"), entry("Files/TOOL.EXE", b"other"))
    assert [name for name, _ in found.children("")] == ["TOOL.EXE"]
    assert found.find("tool.exe").meta.size == 5


def test_a_chain_of_hard_links_ends(tmp_path):
    chain = [entry(f"Files/f{n}", kind=HARDLINK, link=f"Files/f{n + 1}") for n in range(200)]
    assert tree(tmp_path, *chain).find("f0") is None


@pytest.mark.slow
def test_a_descriptor_of_a_megabyte_is_refused_and_costs_little():
    text = "D:" + "(A;;FA;;;BA)" * 80_000
    started = time.process_time()
    with pytest.raises(LayerError, match="is longer than 65535 bytes"):
        list(
            scan(
                io.BytesIO(archive(pax(**{"MSWINDOWS.sd": text}), entry("Files/a"))),
                read=read_files,
            )
        )
    assert time.process_time() - started < 5


def test_an_owner_cannot_add_entries_to_a_list(tmp_path):
    from wcbuild.tree.errors import InvalidOwnerError

    op = CopyOp(sources=("",), dest="/", os=WINDOWS, chown="BA)(A;;FA;;;WD")
    with pytest.raises(InvalidOwnerError):
        place.copy(op, tree(tmp_path), tree(tmp_path), mtime=0)
