"""V12: headers with absurd numbers cost neither memory nor time, and never crash a reader."""

import io
import random
import resource
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rawtar import (
    DIRECTORY,
    FILE,
    GLOBAL,
    GNU,
    HARDLINK,
    LONG_LINK,
    LONG_NAME,
    PAX,
    SPARSE,
    SYMLINK,
    archive,
    base256,
    entry,
    header,
    pax,
    raw_pax,
)

from wcbuild.errors import UnsafeArchiveError
from wcbuild.layer.scan import scan


def outcome(data):
    """Return the paths of an archive, or the refusal."""
    try:
        return [e.path for e in scan(io.BytesIO(data))]
    except UnsafeArchiveError as error:
        return error


class Zeros(io.RawIOBase):
    """An archive that begins as given and goes on with zeros for a long time."""

    def __init__(self, start, size):
        self._start = io.BytesIO(start)
        self._left = size

    def read(self, size=-1):
        if data := self._start.read(size):
            return data
        size = min(size, self._left)
        self._left -= size
        return bytes(size)


@pytest.mark.parametrize(
    "data",
    [
        entry("sparse", kind=SPARSE, size=base256((1 << 63) - 1, 12), magic=GNU),
        pax(GNU__sparse__realsize=str((1 << 63) - 1), GNU__sparse__name="x") + entry("a"),
        pax(size=str((1 << 63) - 1)) + entry("a"),
        pax(size=str(1 << 63)) + entry("a"),
        pax(size="-1") + entry("a"),
        pax(uid="-1") + entry("a"),
        pax(uid=str(1 << 40)) + entry("a"),
        header("x", kind=PAX, size=1 << 30),
        header("x", kind=GLOBAL, size=1 << 30),
        header("x", kind=LONG_NAME, size=1 << 30, magic=GNU),
        header("x", kind=LONG_LINK, size=1 << 30, magic=GNU),
        raw_pax(b"9" * 500_000) + entry("a"),
        raw_pax(b"9" * 19 + b" a=b\n") + entry("a"),
    ],
)
def test_absurd_sizes_are_refused_at_once_and_without_memory(data):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    assert isinstance(outcome(archive(data)), UnsafeArchiveError)
    assert time.process_time() - start < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024


def test_a_negative_time_is_a_time():
    assert outcome(archive(pax(mtime="-99999999999"), entry("a"))) == ["a"]


def test_a_gigabyte_of_content_is_never_held():
    size = 1 << 30
    stream = Zeros(header("big", size=size), size + 1024)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    (found,) = scan(stream)
    assert found.meta.size == size
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50 * 1024


@settings(max_examples=200)
@given(st.binary(max_size=4096))
def test_random_bytes_never_crash(data):
    outcome(data)


FIELDS = st.one_of(
    st.integers(0, 0o7777777),
    st.binary(max_size=8),
    st.integers(-(1 << 55), 1 << 55).map(lambda n: base256(n, 8)),
)
ENTRIES = st.builds(
    lambda name, data, kind, link, uid, mode: entry(
        name, data, kind=kind, link=link, uid=uid, mode=mode
    ),
    st.binary(max_size=100),
    st.binary(max_size=600),
    st.sampled_from(
        [FILE, HARDLINK, SYMLINK, DIRECTORY, PAX, GLOBAL, LONG_NAME, LONG_LINK, SPARSE, b"\0"]
    ),
    st.binary(max_size=100),
    FIELDS,
    FIELDS,
)


@settings(max_examples=300)
@given(st.lists(ENTRIES, max_size=6))
def test_random_entries_never_crash_and_never_leave_the_root(parts):
    found = outcome(archive(*parts))
    if isinstance(found, list):
        for path in found:
            assert not path.startswith("/")
            assert not {"..", "."} & set(path.split("/"))


def test_damaged_archives_never_crash():
    whole = archive(
        pax(path="p/" * 100 + "q", mtime="1.5", SCHILY__xattr__user__x="y"),
        entry("x", b"content" * 100),
        entry("d/", kind=DIRECTORY),
        entry("l", kind=SYMLINK, link="t"),
    )
    chance = random.Random(12)
    for _ in range(2000):
        data = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        outcome(bytes(data[: chance.randint(0, len(data))]))
