"""How tests are run: what is required fails a run that skips it, in worker processes, too."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PEERS = "tests/registry/server/test_conformance.py"


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(("required", "status"), [("peers", 1), ("root", 0)])
def test_a_required_test_that_is_skipped_fails_the_run(workers, required, status):
    words = ("-q", "-n", str(workers), "-m", "", "--require", required, PEERS)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words],
        cwd=ROOT,
        env=os.environ | {"PATH": "/nonexistent"},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert done.returncode == status, done.stdout
    last = done.stdout.splitlines()[-1]
    assert (" failed in " if status else " skipped in ") in last
