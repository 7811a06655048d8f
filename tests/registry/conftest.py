"""Builders of images for the tests of the registry package."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from images import Builder, tar_of


@pytest.fixture
def builder() -> Builder:
    return Builder()


@pytest.fixture
def new_builder():
    return Builder


@pytest.fixture
def make_tar():
    return tar_of


@pytest.fixture
def run_python(tmp_path):
    """Runs a script in an interpreter of its own, away from this folder of the same name."""

    def run(script: str, *arguments: object, **environment: str):
        return subprocess.run(
            [sys.executable, "-c", script, *map(str, arguments)],
            env=os.environ | environment,
            cwd=tmp_path,
            capture_output=True,
            check=False,
        )

    return run
