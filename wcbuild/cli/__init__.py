"""The command line: the only place that reads argv, environment and terminal, and prints."""

from __future__ import annotations

from wcbuild.cli.main import main

__all__ = ["main"]
