import os
import subprocess
import sys

import pytest

from wcbuild.context import statindex
from wcbuild.context.statindex import StatIndex, has_grown, is_settled, stamp

DIGEST = "ab" * 32
STAMP = "5 1000000000000000001 1000000000000000002 7 8"


@pytest.fixture
def place(tmp_path):
    return tmp_path / "index"


def saved(place):
    index = StatIndex(place)
    index.learn("a/b\n\udcff", STAMP, DIGEST)
    index.remember("fingerprint", "key")
    index.save()
    return index


def test_what_was_saved_is_known_later(place):
    saved(place)
    index = StatIndex(place)
    assert index.find("a/b\n\udcff", STAMP) == DIGEST
    assert index.recall("fingerprint") == "key"


def test_another_stamp_or_path_is_not_known(place):
    index = saved(place)
    assert index.find("a/b\n\udcff", STAMP.replace("7", "9")) is None
    assert index.find("a", STAMP) is None
    assert index.recall("other") is None


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "zeros", "text"])
@pytest.mark.parametrize("name", ["index", "index.keys"])
def test_a_damaged_file_counts_as_empty(place, damage, name):
    saved(place)
    file = place.with_name(name)
    data = bytearray(file.read_bytes())
    match damage:
        case "cut":
            del data[-3:]
        case "flip":
            data[-3] ^= 1
        case "empty":
            data.clear()
        case "zeros":
            data[:] = bytes(len(data))
        case "text":
            data[:] = b"no index\n"
    file.write_bytes(data)
    index = StatIndex(place)
    assert (index.find("a/b\n\udcff", STAMP) is None) == (name == "index")
    assert (index.recall("fingerprint") is None) == (name == "index.keys")
    index.learn("new", STAMP, DIGEST)
    index.remember("new", "key")
    index.save()
    assert StatIndex(place).find("new", STAMP) == DIGEST
    assert StatIndex(place).recall("new") == "key"


def test_nothing_is_written_when_nothing_was_learned(place):
    StatIndex(place).save()
    assert not place.exists()
    saved(place)
    before = os.stat(place).st_ino
    index = StatIndex(place)
    index.learn("a/b\n\udcff", STAMP, DIGEST)
    index.remember("fingerprint", "key")
    index.save()
    assert os.stat(place).st_ino == before


def test_a_build_of_unchanged_files_does_not_read_the_digests(place):
    saved(place)
    place.unlink()
    assert StatIndex(place).recall("fingerprint") == "key"


def test_the_oldest_go_when_there_are_too_many(place, monkeypatch):
    monkeypatch.setattr(statindex, "MAX_FILES", 3)
    index = StatIndex(place)
    for number in range(5):
        index.learn(f"f{number}", STAMP, DIGEST)
    index.learn("f2", STAMP + "0", DIGEST)
    index.save()
    index = StatIndex(place)
    assert [number for number in range(5) if index.find(f"f{number}", STAMP)] == [3, 4]
    assert index.find("f2", STAMP + "0")


def test_a_disk_that_refuses_costs_nothing_but_time(tmp_path):
    index = saved(tmp_path / "missing" / "index")
    assert index.find("a/b\n\udcff", STAMP) == DIGEST


def test_of_two_savers_the_last_wins_and_the_file_is_whole(place):
    first, second = StatIndex(place), StatIndex(place)
    first.learn("a", STAMP, DIGEST)
    second.learn("b", STAMP, DIGEST)
    first.save()
    second.save()
    index = StatIndex(place)
    assert index.find("b", STAMP) == DIGEST
    assert index.find("a", STAMP) in (None, DIGEST)


SAVER = """
import sys, pathlib
from wcbuild.context.statindex import StatIndex
for round in range(30):
    index = StatIndex(pathlib.Path(sys.argv[1]))
    index.learn(f"{sys.argv[2]}-{round}", "1 2 3 4 5", "ab" * 32)
    index.save()
"""


def test_several_processes_never_see_half_a_file(place):
    savers = [subprocess.Popen([sys.executable, "-c", SAVER, place, str(n)]) for n in range(3)]
    seen = 0
    while any(saver.poll() is None for saver in savers):
        if place.exists():
            head, _, data = place.read_bytes().partition(b"\n")
            assert head == b"wcbuild-stat-index-1 %08x" % statindex.crc32(data)
            seen += 1
    assert [saver.wait() for saver in savers] == [0, 0, 0]
    assert seen


def test_the_stamp_tells_size_times_inode_and_device(tmp_path):
    (tmp_path / "f").write_text("12345")
    status = os.stat(tmp_path / "f")
    parts = [int(part) for part in stamp(status).split(" ")]
    assert parts == [5, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev]


@pytest.mark.parametrize(
    ("changed", "later", "settled"),
    [
        (1_000_000_000_123_456_789, 30_000_000, True),
        (1_000_000_000_123_456_789, 10_000_000, False),
        (1_000_000_000_123_456_789, 0, False),
        (1_000_000_000_123_456_789, -1_000_000_000, False),
        (1_000_000_000_000_000_000, 1_500_000_000, False),
        (1_000_000_000_000_000_000, 2_500_000_000, True),
    ],
)
def test_a_stamp_is_settled_when_it_is_older_than_a_tick(changed, later, settled):
    """Whole seconds may come from a file system that keeps no others."""
    assert is_settled(f"1 2 {changed} 3 4", changed + later) == settled


def test_only_the_same_file_with_more_in_it_has_grown(tmp_path):
    file, other = tmp_path / "file", tmp_path / "other"
    file.write_bytes(b"12345")
    other.write_bytes(b"1234567")
    before = stamp(os.stat(file))
    assert not has_grown(before, os.stat(file))
    assert not has_grown(before, os.stat(other))
    os.truncate(file, 4)
    assert not has_grown(before, os.stat(file))
    os.truncate(file, 6)
    assert has_grown(before, os.stat(file))
