"""`wcbuild logout`."""

from __future__ import annotations

import argparse

from registry.remote.credentials import Credentials
from wcbuild.cli.main import Invocation


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare flags and arguments."""
    parser.add_argument("host", nargs="?", default="docker.io", metavar="HOST")


def run(invocation: Invocation) -> int:
    """Forget a registry's credentials."""
    host = invocation.args.host
    credentials = Credentials.from_environment(invocation.environment)
    if credentials.erase(host):
        invocation.stdout.write(f"Removing login credentials for {host}\n")
    else:
        invocation.stdout.write(f"Not logged in to {host}\n")
    if place := credentials.find_place(host):
        invocation.stderr.write(f"others are in {place}, and are used; not ours to remove\n")
    return 0
