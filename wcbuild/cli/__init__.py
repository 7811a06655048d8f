"""The command line: the only place that reads argv, environment and terminal, and prints."""

from __future__ import annotations

import atexit
import gc

# A build makes tens of thousands of small values and next to no cycles: looking for cycles among them at
# Python's usual pace costs a cached build of 40,000 files a fifth of its time.
gc.set_threshold(100_000, 20, 100)
# Nor does a process look for them that ends: all its memory goes back at once.
atexit.register(gc.freeze)

from wcbuild.cli.main import main  # noqa: E402 - after the line above, which speeds it up

__all__ = ["main"]
