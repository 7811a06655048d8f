"""Limits by control groups, where they can be made; a clear refusal where not."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import pytest
import sandboxes
from processes import processes_with, until

from wcbuild.sandbox.base import RunSpec
from wcbuild.sandbox.limits import Limits

MiB = 1 << 20

HOG = "x=x; while :; do x=$x$x; done"
"""Doubles a string for ever."""


@pytest.fixture(scope="module")
def limited():
    if reason := sandboxes.reason_against("root"):
        pytest.skip(reason)
    with sandboxes.open_sandboxes("root") as opened:
        ended = opened.run("true", pids=100)
        if ended.error:
            pytest.skip(f"no control groups can be made here: {ended.error}")
        yield opened


def groups_of(marker: str) -> set[Path]:
    """Return the groups of ours that the processes with a marker are in."""
    names = set()
    for pid in processes_with(marker):
        lines = Path(f"/proc/{pid}/cgroup").read_text()
        names |= set(re.findall(r"/(wcbuild-\d+)$", lines, re.MULTILINE))
    return {path for name in names for path in Path("/sys/fs/cgroup").rglob(name)}


@pytest.mark.root
def test_too_much_memory_ends_the_command(limited):
    ended = limited.sh(HOG, memory=32 * MiB)
    assert ended.out_of_memory
    assert ended.code == 137
    assert not limited.sh("true", memory=32 * MiB).out_of_memory


@pytest.mark.root
def test_fork_bomb_is_contained(limited):
    ended = limited.sh("for i in 1 2 3 4 5 6 7 8; do sleep 600 & done", pids=4)
    assert "fork" in ended.err


@pytest.mark.root
def test_cpu_time_is_rationed(limited):
    count = "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done"
    ended = limited.sh(f"time sh -c '{count}'", cpus=0.1)
    times = dict(re.findall(r"(real|user)\s+(?:\d+m )?([\d.]+)s", ended.err))
    assert float(times["real"]) > 3 * float(times["user"])


@pytest.mark.root
def test_groups_are_gone_afterwards(limited):
    marker = f"600.{os.getpid()}{time.monotonic_ns()}"
    number = limited.start("sleep", marker, memory=32 * MiB, pids=10, cpus=1.0)
    assert until(lambda: groups_of(marker))
    groups = groups_of(marker)
    limited.cancel(number)
    limited.wait(number)
    assert not any(group.exists() for group in groups)


@pytest.mark.root
def test_command_does_not_see_the_groups_name(limited):
    assert "wcbuild" not in limited.sh("cat /proc/self/cgroup", pids=10).out


@pytest.mark.userns
def test_users_without_groups_are_told(sandbox):
    ended = sandbox.run("true", memory=64 * MiB)
    assert ended.code == 0 or ("limit memory" in ended.error and "delegated" in ended.hint)


def test_no_limits_touch_no_groups():
    limits = Limits(RunSpec(args=("true",)))
    limits.make()
    limits.join()
    assert not limits.out_of_memory()
    limits.remove()
