"""`wcbuild pull`."""

from __future__ import annotations

import argparse

from registry.oci.platform import Platform
from registry.reference import Reference
from wcbuild.cli.main import Invocation
from wcbuild.cli.stores import opened_exporter


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare flags and arguments."""
    parser.add_argument("name", metavar="REF", help="what to pull")
    parser.add_argument(
        "--platform", metavar="OS/ARCH", help="only this image of an index (default: all)"
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="print only the digest")
    parser.add_argument("--progress", default="auto", metavar="MODE", help="auto, tty or plain")


def run(invocation: Invocation) -> int:
    """Pull, and print the digest."""
    args = invocation.args
    reference = Reference.parse(args.name).with_default_tag()
    platform = Platform.parse(args.platform) if args.platform else None
    with opened_exporter(invocation) as (_, exporter):
        descriptor = exporter.pull(reference, platform)
    invocation.stdout.write(f"{reference.name}@{descriptor.digest}\n")
    return 0
