"""V13: an archive that two readers read differently hides files from one of them; we refuse it."""

import io
import shutil
import subprocess
import tarfile

import pytest
from rawtar import (
    BLOCK,
    CHARACTER,
    DIRECTORY,
    FIFO,
    GLOBAL,
    GNU,
    HARDLINK,
    LONG_LINK,
    LONG_NAME,
    SYMLINK,
    V7,
    archive,
    base256,
    entry,
    long_name,
    padded,
    pax,
    raw_pax,
    record,
)

from wcbuild.errors import UnsafeArchiveError
from wcbuild.layer.scan import scan

SMUGGLED = entry("smuggled", b"#!/bin/sh\n")


def paths(data):
    return [e.path for e in scan(io.BytesIO(data))]


AMBIGUOUS = {
    "pax size larger than ustar size": [pax(size="1024"), entry("inner.tar", size=0), SMUGGLED],
    "pax size smaller than ustar size": [pax(size="0"), entry("inner.tar", SMUGGLED)],
    "pax size of 8 GiB less one": [pax(size=str((8 << 30) - 1)), entry("a", size=0), SMUGGLED],
    "two sizes in one extended header": [
        raw_pax(record("size", "0") + record("size", "1024")),
        entry("a", SMUGGLED),
    ],
    "two paths in one extended header": [
        raw_pax(record("path", "a") + record("path", "b")),
        entry("c"),
    ],
    "two extended headers": [pax(path="a"), pax(path="b"), entry("c")],
    "pax path and GNU long name": [pax(path="a"), long_name("b"), entry("c", magic=GNU)],
    "GNU long name and pax path": [long_name("b"), pax(path="a"), entry("c", magic=GNU)],
    "pax and GNU link targets": [
        pax(linkpath="a"),
        long_name("b", LONG_LINK),
        entry("c", kind=SYMLINK, link="d"),
    ],
    "two GNU long names": [long_name("a"), long_name("b", LONG_NAME), entry("c", magic=GNU)],
    "a GNU long name beyond its size": [
        entry("././@LongLink", b"long/name\0", kind=LONG_NAME, size=4, magic=GNU),
        entry("a", magic=GNU),
    ],
    "a global path": [pax(GLOBAL, path="a"), entry("b")],
    "a global size": [pax(GLOBAL, size="1024"), entry("b"), SMUGGLED],
    "a global sparse map": [pax(GLOBAL, GNU__sparse__size="9"), entry("b")],
    "a directory with content": [entry("d/", SMUGGLED, kind=DIRECTORY)],
    "an old directory with content": [entry("d/", SMUGGLED, kind=b"\0", magic=V7)],
    "a hard link with content": [entry("a"), entry("h", SMUGGLED, kind=HARDLINK, link="a")],
    "a symlink with content": [entry("s", SMUGGLED, kind=SYMLINK, link="a")],
    "a symlink with a pax size": [pax(size="1024"), entry("s", kind=SYMLINK, link="a"), SMUGGLED],
    "a fifo with content": [entry("p", SMUGGLED, kind=FIFO)],
    "devices with content": [entry("c", SMUGGLED, kind=CHARACTER)],
    "block devices with content": [entry("b", SMUGGLED, kind=BLOCK)],
    "a negative size": [entry("a", SMUGGLED, size=base256(-1024, 12))],
    "a size with a sign": [entry("a", SMUGGLED, size=b"-0000001024\0")],
    "a size with an underscore": [entry("a", SMUGGLED, size=b"0000000_2000")],
    "a size with text behind it": [entry("a", SMUGGLED, size=b"2000\0 9999\0")],
    "a lone block of zeros": [entry("a"), bytes(512), SMUGGLED],
    "a file named like a directory": [entry("a/", b"x")],
    "an unknown type": [entry("a", SMUGGLED, kind=b"Q")],
    "a multi-volume continuation": [entry("a", SMUGGLED, kind=b"M", magic=GNU)],
    "a zero byte in a pax path": [pax(path="a\0b"), entry("c")],
    "an extended header at the end": [entry("a"), pax(path="b")],
}


@pytest.mark.parametrize("case", AMBIGUOUS)
def test_refuses(case):
    with pytest.raises(UnsafeArchiveError):
        paths(archive(*AMBIGUOUS[case]))


CLEAR = {
    "plain": [entry("a", b"1"), entry("d/", kind=DIRECTORY), entry("d/b", b"2" * 513)],
    "an archive within a file": [entry("inner.tar", archive(SMUGGLED)), entry("after")],
    "pax": [
        pax(path="long/" * 60 + "x", mtime="1.5", uid="70000000"),
        entry("short", b"x"),
        entry("b"),
    ],
    "pax with the same size": [pax(size="3"), entry("a", b"abc"), entry("b")],
    "GNU": [
        long_name("long/" * 60 + "x"),
        entry("short", b"abc", magic=GNU),
        entry("b", magic=GNU),
    ],
    "links": [
        entry("f", b"x"),
        entry("h", kind=HARDLINK, link="f"),
        entry("s", kind=SYMLINK, link="f"),
        entry("z"),
    ],
    "V7": [entry("d/", kind=b"\0", magic=V7), entry("d/f", b"abc", kind=b"\0", magic=V7)],
    "base-256 size": [entry("a", b"abc", size=base256(3, 12), magic=GNU), entry("b")],
    "data behind the end": [entry("a"), bytes(1024), padded(SMUGGLED)],
    "a global comment": [pax(GLOBAL, comment="x"), entry("a", b"y")],
}


@pytest.mark.parametrize("case", CLEAR)
def test_agrees_with_other_readers(case):
    data = archive(*CLEAR[case])
    ours = paths(data)
    with tarfile.open(fileobj=io.BytesIO(data)) as archive_file:
        assert ours == archive_file.getnames()
    if shutil.which("tar"):
        listing = subprocess.run(["tar", "-tf", "-"], input=data, capture_output=True, check=True)
        assert ours == [line.rstrip("/") for line in listing.stdout.decode().splitlines()]
