"""V10, CVE-2021-20291: archives that end too early end the reader at once, with an error."""

import io
import os
import threading

import pytest
from rawtar import archive, entry, pax

from wcbuild.errors import UnsafeArchiveError
from wcbuild.layer.apply import apply
from wcbuild.layer.scan import scan

WHOLE = archive(
    entry("a", b"x" * 5000), pax(path="p/" * 200 + "q"), entry("b", b"y" * 5000), end=b""
)


def test_every_cut_within_an_entry_is_an_error(root):
    for size in range(1, len(WHOLE), 97):
        if size % 512 == 0:
            continue
        with pytest.raises(UnsafeArchiveError, match="is truncated"):
            list(scan(io.BytesIO(WHOLE[:size])))
        with pytest.raises(UnsafeArchiveError, match="is truncated"):
            apply(io.BytesIO(WHOLE[:size]), root, ownership=False, devices=False)


def test_a_writer_that_dies_does_not_leave_the_reader_waiting(root):
    reading, writing = os.pipe()
    finished = threading.Event()
    refusals = []

    def read():
        with open(reading, "rb") as stream:
            try:
                apply(stream, root, ownership=False, devices=False)
            except UnsafeArchiveError as error:
                refusals.append(str(error))
        finished.set()

    threading.Thread(target=read, daemon=True).start()
    os.write(writing, WHOLE[:3000])
    os.close(writing)
    assert finished.wait(120)
    assert "is truncated" in refusals[0]


def test_garbage_behind_the_end_is_read_and_not_unpacked(root):
    data = archive(entry("a", b"x")) + os.urandom(5000) + entry("b", b"y")
    apply(io.BytesIO(data), root, ownership=False, devices=False)
    assert os.listdir(root) == ["a"]
