"""`wcbuild tag`."""

from __future__ import annotations

import argparse

from registry.reference import Reference
from wcbuild.cli.main import Invocation
from wcbuild.cli.stores import opened_store


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare flags and arguments."""
    parser.add_argument("name", metavar="REF", help="a name or image id")
    parser.add_argument("new", metavar="NEW", help="the name to add")


def run(invocation: Invocation) -> int:
    """Add a name."""
    args = invocation.args
    reference = Reference.parse(args.new).with_default_tag()
    with opened_store(invocation) as store:
        store.name_image(store.find(args.name).descriptor, reference)
    return 0
