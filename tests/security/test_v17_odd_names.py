"""V17: names at the edge of what there can be."""

import io
import itertools
import os
import time

import pytest
from rawtar import DIRECTORY, HARDLINK, SYMLINK, archive, entry, header, long_name, pax

from wcbuild.errors import UnsafeArchiveError
from wcbuild.layer.apply import apply
from wcbuild.layer.scan import scan


@pytest.mark.parametrize(
    "name",
    ["a\nb", "\x1b[31m", " ", "a ", "-rf", "~", "$(id)", b"\xff\xfe\xfd", "é", "*", "nul", "C:"],
)
def test_odd_names_are_kept_byte_by_byte(root, unpack, name):
    assert unpack(entry(name, b"x")) == ""
    raw = name if isinstance(name, bytes) else name.encode()
    assert os.listdir(os.fsencode(root)) == [raw]


def test_names_that_differ_in_case_only_are_two(root, unpack):
    assert unpack(entry("a", b"1"), entry("A", b"2")) == ""
    assert sorted(os.listdir(root)) == ["A", "a"]


def test_an_empty_name_is_no_files(unpack):
    assert "root" in unpack(entry("", b"x"))


@pytest.mark.parametrize(
    "name", ["x" * 256, "d/" + "x" * 256 + "/f", "x/" * 2048 + "y", "x" * 100_000]
)
def test_names_that_are_too_long_are_refused(root, unpack, name):
    assert "too long" in unpack(pax(path=name), entry("a", b"x"))
    assert "too long" in unpack(long_name(name), entry("a", b"x"))
    assert os.listdir(root) == []


def test_the_longest_component_is_taken(root, unpack):
    assert unpack(pax(path="x" * 255), entry("a", b"x")) == ""
    assert os.listdir(root) == ["x" * 255]


def test_zero_bytes_are_refused(unpack):
    assert "zero byte" in unpack(pax(path="etc/passwd\0.txt"), entry("a", b"x"))


def test_the_deepest_directories_are_made_and_deleted(root, unpack):
    name = "d/" * 2047 + "f"
    assert unpack(pax(path=name), entry("a", b"x")) == ""
    assert unpack(entry(".wh.d")) == ""
    assert os.listdir(root) == []


def test_hard_links_to_directories_later_entries_and_themselves_are_refused(root, unpack):
    assert "directory" in unpack(entry("d/", kind=DIRECTORY), entry("h", kind=HARDLINK, link="d"))
    assert "not there" in unpack(entry("h", kind=HARDLINK, link="later"), entry("later"))
    assert "not there" in unpack(entry("self", kind=HARDLINK, link="self"))


def test_symlink_loops_end(unpack):
    assert "symbolic links" in unpack(
        entry("a", kind=SYMLINK, link="b"), entry("b", kind=SYMLINK, link="a"), entry("a/f", b"x")
    )


@pytest.mark.parametrize("target", ["", "x" * 4096, "x" * 10_000])
def test_symlinks_that_no_kernel_makes_are_refused(unpack, target):
    assert "symlink" in unpack(pax(linkpath=target), entry("s", kind=SYMLINK))


def test_many_entries_of_one_name_are_unpacked_one_after_another(root, unpack):
    assert unpack(*(entry("f", str(n).encode()) for n in range(1000))) == ""
    assert (root / "f").read_bytes() == b"999"


@pytest.mark.slow
def test_many_entries_need_no_memory():
    import resource

    class Many:
        def __init__(self):
            self._entries = (header(f"d{n % 1000}/f{n}") for n in range(200_000))

        def read(self, size=-1):
            return b"".join(itertools.islice(self._entries, size // 512))

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert sum(1 for _ in scan(Many())) == 200_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20 * 1024


def test_a_long_archive_of_nothing_ends(root):
    start = time.process_time()
    with pytest.raises(UnsafeArchiveError):
        apply(io.BytesIO(archive(*[pax(path="x")] * 2000)), root, ownership=False, devices=False)
    assert time.process_time() - start < 5
