"""What commands under Wine leave behind when their build is killed."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

RUNS = "run"
"""The directory with one directory for each command that runs."""


def sweep_runs(directory: Path) -> None:
    """Delete the directories of commands that no longer run, and templates that were never finished.

    Only while no other process uses the store, and this one has not begun to.
    """
    for place in (directory / RUNS, directory):
        with contextlib.suppress(FileNotFoundError):
            for name in os.listdir(place):
                if (place.name == RUNS or name.startswith(".")) and (place / name).is_dir():
                    import shutil  # noqa: PLC0415 - hardly ever

                    shutil.rmtree(place / name, ignore_errors=True)
