"""`wcbuild pull`."""

from __future__ import annotations

import argparse

from registry.reference import Reference
from wcbuild.cli.main import Invocation
from wcbuild.cli.stores import opened_exporter


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare flags and arguments."""
    parser.add_argument("name", metavar="REF", help="what to pull")
    parser.add_argument("-q", "--quiet", action="store_true", help="print only the digest")
    parser.add_argument("--progress", default="auto", metavar="MODE", help="auto, tty or plain")


def run(invocation: Invocation) -> int:
    """Pull, and print the digest."""
    reference = Reference.parse(invocation.args.name).with_default_tag()
    with opened_exporter(invocation) as (_, exporter):
        descriptor = exporter.pull(reference)
    invocation.stdout.write(f"{reference.name}@{descriptor.digest}\n")
    return 0
