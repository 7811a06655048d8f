"""README.md says what works."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def test_begins_with_two_commands_that_are_there():
    commands = [line.removeprefix("$ ") for line in blocks("console")[0].splitlines()]
    assert len(commands) == 2
    for command in commands:
        assert os.access(ROOT / command, os.X_OK), command


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target


@pytest.mark.userns
def test_the_python_example_runs(tmp_path):
    if os.geteuid() and subprocess.run(["unshare", "-Ur", "true"], check=False).returncode:
        pytest.skip("this kernel lets this user create no user namespace")
    (example,) = blocks("python")
    base = tmp_path / "build" / "base"
    subprocess.run([sys.executable, ROOT / "fixtures" / "make_base.py", base], check=True)
    (tmp_path / "fixtures").symlink_to(ROOT / "fixtures")
    environment = os.environ | {
        "WCBUILD_ROOT": str(tmp_path / "store"),
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", example],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    image_id, digest, names = done.stdout.split(maxsplit=2)
    assert image_id.startswith("sha256:")
    assert digest.startswith("sha256:")
    assert names == "('docker.io/library/example:1',)\n"
