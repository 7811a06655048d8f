"""`wcbuild df`."""

from __future__ import annotations

import argparse

from wcbuild.cli.format import listing
from wcbuild.cli.main import Invocation
from wcbuild.cli.stores import opened_store
from wcbuild.sandbox.identity import become_root
from wcbuild.sizes import format_size
from wcbuild.usage import measure

_COLUMNS = {"Type": "TYPE", "TotalCount": "TOTAL", "Size": "SIZE"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare flags and arguments."""
    parser.add_argument(
        "--format", default="", metavar="TEMPLATE", help="table, json or a template"
    )


def run(invocation: Invocation) -> int:
    """Print a row for each kind of thing in the store."""
    # Trees may hold folders of mapped owners, which only their user namespace can look into.
    become_root()
    with opened_store(invocation) as store:
        usages = measure(store)
    rows = [
        {"Type": usage.kind, "TotalCount": str(usage.count), "Size": format_size(usage.size)}
        for usage in usages
    ]
    invocation.stdout.write(listing(rows, _COLUMNS, invocation.args.format))
    return 0
