"""`wcbuild version`."""

from __future__ import annotations

import argparse
import os
import platform

from wcbuild import __version__
from wcbuild.cli.main import Invocation


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare nothing."""


def run(invocation: Invocation) -> int:
    """Print versions of the program and of what it runs on."""
    system = os.uname()
    invocation.stdout.write(
        f"wcbuild {__version__}\n"
        f"Python {platform.python_version()}, {system.sysname} {system.release} {system.machine}\n"
    )
    return 0
