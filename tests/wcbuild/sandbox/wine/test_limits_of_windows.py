"""Limits hold for Windows commands, where control groups can be made."""

from __future__ import annotations

import pytest
import sandboxes

pytestmark = [pytest.mark.root, pytest.mark.slow]

MiB = 1 << 20


@pytest.fixture(scope="module")
def limited():
    if reason := sandboxes.reason_against("root"):
        pytest.skip(reason)
    with sandboxes.open_sandboxes("root") as opened:
        ended = opened.run("true", pids=1000, memory=MiB << 10, cpus=2.0)
        if ended.error:
            pytest.skip(f"no control groups can be made here: {ended.error}")
        yield opened


def test_too_much_memory_ends_the_step(limited, probe):
    root = limited.drive({"probe.exe": probe})
    ended = limited.wine("C:\\probe.exe eat 2000", root=root, memory=300 * MiB)
    assert ended.code != 0
    assert "eaten" not in ended.out
    assert limited.wine("C:\\probe.exe eat 20", root=root, memory=300 * MiB).out == "eaten\r\n"


def test_processor_time_is_rationed(limited, probe):
    root = limited.drive({"probe.exe": probe})
    ended = limited.wine("C:\\probe.exe spin 500", root=root, cpus=0.25)
    assert int(ended.out) > 1000


def test_number_of_processes_is_limited(limited, probe):
    root = limited.drive({"probe.exe": probe})
    ended = limited.wine("C:\\probe.exe start 60", root=root, pids=60)
    assert int(ended.out or 0) < 60
