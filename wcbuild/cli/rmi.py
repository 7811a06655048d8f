"""`wcbuild rmi`."""

from __future__ import annotations

import argparse

from wcbuild.cli.main import Invocation
from wcbuild.cli.stores import opened_store
from wcbuild.collect import collect_unnamed
from wcbuild.errors import StoreInUseError, UsageError
from wcbuild.store import ImageRecord, LocalStore


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare flags and arguments."""
    parser.add_argument("names", nargs="+", metavar="REF", help="names or image ids")
    parser.add_argument("-f", "--force", action="store_true", help="remove all names of an id")


def run(invocation: Invocation) -> int:
    """Remove names; what no name leads to any more goes too."""
    args = invocation.args
    with opened_store(invocation) as store:
        found = [(name, _records(store, name, force=args.force)) for name in args.names]
        for _, records in found:
            for record in records:
                store.remove_name(record)
                told = record.reference.familiar if record.reference else record.image_id
                invocation.stdout.write(f"Untagged: {told}\n")
        try:
            with store.exclusively():
                collect_unnamed(store)
        except StoreInUseError:
            # The names are gone; the bytes go with the next `rmi` or `prune` that is alone.
            invocation.stderr.write("the store is in use; `wcbuild prune` will free the space\n")
    return 0


def _records(store: LocalStore, name: str, *, force: bool) -> list[ImageRecord]:
    """Return what a name stands for: itself, or, for an image id, all its names."""
    record = store.find(name)
    hexadecimal = name.removeprefix("sha256:")
    if not record.image_id.hex.startswith(hexadecimal):
        return [record]
    records = [each for each in store.images() if each.image_id == record.image_id]
    if len(records) > 1 and not force:
        raise UsageError(
            f"{name} has {len(records)} names; remove them one by one, or all with --force"
        )
    return records
