"""`wcbuild prune`."""

from __future__ import annotations

import argparse

from wcbuild.cli.main import Invocation
from wcbuild.cli.stores import opened_store
from wcbuild.collect import collect_cache
from wcbuild.sandbox.identity import become_root
from wcbuild.sizes import format_size
from wcbuild.snapshot import choose_snapshotter


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare flags and arguments."""
    parser.add_argument("-a", "--all", action="store_true", help="named images, too")
    parser.add_argument("--wait", action="store_true", help="wait until nobody uses the store")
    parser.add_argument("-f", "--force", action="store_true", help="accepted for docker's sake")


def run(invocation: Invocation) -> int:
    """Delete the build cache and images without a name."""
    args = invocation.args
    # Trees may hold files of mapped owners, which only their user namespace can delete.
    identity = become_root()
    with opened_store(invocation) as store, store.exclusively(wait=args.wait):
        for record in store.images():
            if record.reference is None or args.all:
                store.remove_name(record)
        freed = collect_cache(store, choose_snapshotter(store.root, identity))
    invocation.stdout.write(f"Total reclaimed space: {format_size(freed)}\n")
    return 0
