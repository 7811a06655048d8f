"""`scan`: a layer tar becomes entries."""

import hashlib
import io
import os

import pytest
from rawtar import DIRECTORY, HARDLINK, SYMLINK, archive, entry

from wcbuild.errors import UnsafeArchiveError
from wcbuild.layer import changes
from wcbuild.layer.changes import Change, Entry, Inline, Meta
from wcbuild.layer.pack import pack
from wcbuild.layer.scan import scan


def scanned(*parts):
    return list(scan(io.BytesIO(archive(*parts))))


def sha256(data):
    return hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("size", [0, 1, 512, 200_000, 3_000_000])
def test_gives_the_place_and_digest_of_content(size):
    content = os.urandom(size)
    data = archive(entry("before", b"x"), entry("f", content), entry("after", b"y"))
    before, found, after = scan(io.BytesIO(data))
    assert data[found.offset : found.offset + size] == content
    assert [e.digest for e in (before, found, after)] == [
        sha256(b"x"),
        sha256(content),
        sha256(b"y"),
    ]


def test_whiteouts_are_deletions():
    assert scanned(entry("d/.wh.gone"), entry(".wh.top"), entry("d/.wh..hidden")) == [
        Entry("d/gone", None),
        Entry("top", None),
        Entry("d/.hidden", None),
    ]


def test_an_opaque_marker_makes_its_directory_opaque_wherever_it_comes():
    directory = Meta(changes.DIRECTORY, 0o700)
    d = entry("d/", kind=DIRECTORY, mode=0o700)
    marker = entry("d/.wh..wh..opq")
    assert scanned(d, marker) == [Entry("d", directory), Entry("d", directory, opaque=True)]
    assert scanned(marker, d)[-1] == Entry("d", directory, opaque=True)
    assert scanned(marker) == [Entry("d", Meta(changes.DIRECTORY, 0o755), opaque=True)]
    assert scanned(entry(".wh..wh..opq"))[0].path == ""


def test_book_keeping_of_aufs_is_passed_over():
    assert (
        scanned(
            entry(".wh..wh.aufs"),
            entry(".wh..wh.plnk/", kind=DIRECTORY),
            entry(".wh..wh.plnk/1.2", b"x"),
        )
        == []
    )


def test_whiteouts_that_are_hard_links_are_deletions_too():
    """As AUFS made them."""
    assert scanned(entry("a/.wh.b", kind=HARDLINK, link=".wh..wh.aufs")) == [Entry("a/b", None)]


@pytest.mark.parametrize("name", [".wh.", ".wh..", ".wh...", "d/.wh..", ".wh.d/f", "d/.wh.e/.wh.f"])
def test_refuses_whiteouts_of_no_name(name):
    with pytest.raises(UnsafeArchiveError, match="whiteout"):
        scanned(entry(name))


def test_keeps_links_as_they_are():
    assert scanned(
        entry("s", kind=SYMLINK, link="/abs/../x", mode=0o777),
        entry("h", kind=HARDLINK, link="/a//b"),
    ) == [
        Entry("s", Meta(changes.SYMLINK, 0o777, link="/abs/../x")),
        Entry("h", Meta(changes.HARDLINK, 0o644, link="a/b")),
    ]


def test_yields_every_occurrence_of_a_path():
    assert [e.meta.size for e in scanned(entry("a", b"1"), entry("a", b"22"))] == [1, 2]


def test_finds_what_was_packed():
    things = [
        Change("", Meta(changes.DIRECTORY, 0o755)),
        Change("d", Meta(changes.DIRECTORY, 0o1777, 5, 6, mtime=7)),
        Change("d/f", Meta(changes.FILE, 0o600, size=3), Inline(b"abc")),
        Change("d/g", Meta(changes.HARDLINK, 0o600, link="d/f")),
        Change("gone", None),
        Change("z" * 200, Meta(changes.SYMLINK, 0o777, link="é" * 60)),
    ]
    out = io.BytesIO()
    packed = pack(things, out, epoch=None)
    out.seek(0)
    assert tuple(scan(out)) == packed.entries
