"""V02, CVE-2014-9356, CVE-2007-4559: names with `..`, absolute names."""

import io
import os

import pytest
from rawtar import DIRECTORY, HARDLINK, SYMLINK, archive, entry, long_name, pax

from wcbuild.errors import UnsafeArchiveError
from wcbuild.layer.scan import scan

TRAVERSALS = [
    "../../canary/f",
    "foo/../../../canary/f",
    "./..//../canary/f",
    "a/b/c/../../../../../canary/f",
    "..",
    "../",
    "a/..",
    "/../canary",
]


@pytest.mark.parametrize("name", TRAVERSALS)
def test_names_with_dots_are_refused(root, unpack, name):
    for parts in (
        [entry(name, b"owned")],
        [pax(path=name), entry("harmless", b"owned")],
        [long_name(name), entry("harmless", b"owned")],
        [entry(name, kind=DIRECTORY)],
        [entry(name, kind=SYMLINK, link="x")],
        [entry("h", kind=HARDLINK, link=name)],
        [pax(linkpath=name), entry("h", kind=HARDLINK, link="harmless")],
    ):
        assert '".."' in unpack(*parts)
        with pytest.raises(UnsafeArchiveError):
            list(scan(io.BytesIO(archive(*parts))))
    assert os.listdir(root) == []


def test_the_name_may_be_split_over_the_ustar_prefix(unpack):
    assert '".."' in unpack(entry("canary/f", b"owned", prefix="../.."))


def test_absolute_names_are_relative_to_the_root(root, canary, unpack):
    assert unpack(entry(f"{canary.path}/f", b"inside"), entry("//etc//passwd", b"inside")) == ""
    assert (root / str(canary.path)[1:] / "f").read_bytes() == b"inside"
    assert (root / "etc/passwd").read_bytes() == b"inside"


def test_backslashes_and_dots_in_names_are_letters(root, unpack):
    assert unpack(entry("..\\..\\canary", b"x"), entry("...", b"y"), entry("a/..b", b"z")) == ""
    assert sorted(os.listdir(root)) == ["...", "..\\..\\canary", "a"]
