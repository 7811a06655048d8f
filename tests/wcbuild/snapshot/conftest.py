"""Runs code where it may mount: in a process with namespaces of its own."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SUITES = Path(__file__).parents[2] / "suites"
PROJECT = Path(__file__).parents[3]

# Run before anything is imported, as a program that uses the snapshotter does.
PRELUDE = """
import os, sys
sys.path[:0] = [sys.argv[1], sys.argv[2]]
from wcbuild import kernel
uid, gid = os.geteuid(), os.getegid()
kernel.unshare(kernel.CLONE_NEWNS | (kernel.CLONE_NEWUSER if "userns" in sys.argv else 0))
if "userns" in sys.argv:
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)
kernel.mount("", "/", "", kernel.MS_REC | kernel.MS_PRIVATE)
"""


def run_in_namespaces(kind: str, code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python code as `root` in a mount namespace of its own, or in a user namespace (`userns`)."""
    return subprocess.run(
        [sys.executable, "-c", PRELUDE + code, str(SUITES), str(PROJECT), kind, *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@functools.cache
def reason_against(kind: str) -> str:
    if kind == "root" and os.geteuid() != 0:
        return "needs real root"
    result = run_in_namespaces(kind, "")
    return "" if result.returncode == 0 else result.stderr.strip().rpartition("\n")[2]


RUN_ALL = """
import json, pathlib, traceback
import snapshotter_suite as suite
from wcbuild.snapshot.copying import CopyingSnapshotter
from wcbuild.snapshot.overlay import OverlaySnapshotter
make = {"overlay": OverlaySnapshotter, "copying": CopyingSnapshotter}[sys.argv[4]]
results = {}
for number, (name, case) in enumerate(suite.CASES.items()):
    root = pathlib.Path(sys.argv[5], str(number))
    root.mkdir()
    try:
        case(make(root))
    except BaseException:
        results[name] = traceback.format_exc()
    with open("/proc/self/mounts") as file:
        if str(root) in file.read():
            results[name] = "a mount was left behind"
json.dump(results, sys.stdout)
"""


@pytest.fixture(scope="session")
def suite_results(tmp_path_factory):
    """Return the failures of the whole suite in one process for a snapshotter and an identity."""
    known: dict[tuple[str, str], dict[str, str]] = {}

    def results(snapshotter: str, kind: str) -> dict[str, str]:
        if (snapshotter, kind) not in known:
            reason = reason_against(kind)
            if reason:
                pytest.skip(reason)
            place = tmp_path_factory.mktemp(f"{snapshotter}-{kind}")
            result = run_in_namespaces(kind, RUN_ALL, snapshotter, str(place))
            assert result.returncode == 0, result.stderr
            known[snapshotter, kind] = json.loads(result.stdout)
        return known[snapshotter, kind]

    return results


@pytest.fixture
def in_namespaces():
    """Run code in a process that may mount, and return what it printed."""

    def run(kind: str, code: str, *arguments: str) -> str:
        reason = reason_against(kind)
        if reason:
            pytest.skip(reason)
        result = run_in_namespaces(kind, code, *arguments)
        assert result.returncode == 0, result.stderr
        return result.stdout

    return run
