"""`wcbuild push`."""

from __future__ import annotations

import argparse

from registry.reference import Reference
from wcbuild.cli.main import Invocation
from wcbuild.cli.stores import add_foreign, opened_exporter
from wcbuild.outputs import Output


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare flags and arguments."""
    parser.add_argument("name", metavar="REF", help="an image of the local store")
    parser.add_argument("new", nargs="?", metavar="NEW", help="push under this name instead")
    add_foreign(parser)
    parser.add_argument("-q", "--quiet", action="store_true", help="print only the digest")
    parser.add_argument("--progress", default="auto", metavar="MODE", help="auto, tty or plain")


def run(invocation: Invocation) -> int:
    """Push, and print the digest that the registry now has."""
    args = invocation.args
    reference = Reference.parse(args.new or args.name).with_default_tag()
    with opened_exporter(invocation) as (store, exporter):
        pushed = exporter.push(
            store.find(args.name).descriptor,
            (reference,),
            Output(kind="registry"),
            foreign=args.foreign,
        )
    invocation.stdout.write(f"{reference.name}@{pushed.digest}\n")
    return 0
