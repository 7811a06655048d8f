"""`wcbuild index create|add|remove|annotate`."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from functools import partial

from registry.copy import Emit
from registry.image import put_whole
from registry.index import (
    annotated,
    create_index,
    entries_for,
    find_entries,
    read_index,
    with_entries,
    without_entries,
)
from registry.oci.descriptor import Descriptor
from registry.oci.manifest import Index
from registry.oci.platform import Platform
from registry.store import Repository
from registry.transfer import transfer
from wcbuild.cli.format import result
from wcbuild.cli.main import Invocation, add_actions
from wcbuild.cli.stores import add_format, opened_transfers, pairs
from wcbuild.errors import UsageError
from wcbuild.places import HELP, Place, Places

_TARGET = "docker://REF, oci:DIR[:TAG] or store:REF"
_ACTIONS = {
    "create": "make an index of images; those that are elsewhere are copied to its repository",
    "add": "add images to an index; one takes the place of another for its platform",
    "remove": "take images out of an index, with their attestations",
    "annotate": "annotate an index or one of its entries",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare flags and arguments."""
    actions = add_actions(parser, _ACTIONS)
    for name, action in actions.items():
        action.add_argument("name", metavar="REF", help=_TARGET)
        if name in ("create", "add"):
            action.add_argument(
                "manifests", nargs="+", metavar="MANIFEST", help=f"an image or an index: {HELP}"
            )
            action.add_argument("-q", "--quiet", action="store_true", help="show no progress")
            action.add_argument(
                "--progress", default="auto", metavar="MODE", help="auto, tty or plain"
            )
        else:
            action.set_defaults(quiet=True, progress="")
        if name in ("create", "annotate"):
            action.add_argument(
                "--annotation", action="append", default=[], metavar="K=V", help="set one"
            )
        add_format(action)
    actions["remove"].add_argument(
        "entries", nargs="+", metavar="DIGEST|PLATFORM", help="what to take out"
    )
    annotate = actions["annotate"]
    annotate.add_argument(
        "--entry", default="", metavar="DIGEST|PLATFORM", help="annotate this entry instead"
    )
    annotate.add_argument(
        "--remove-annotation", action="append", default=[], metavar="K", help="remove one"
    )
    annotate.add_argument(
        "--set-platform", default="", metavar="OS/ARCH", help="what the entry is for"
    )


def run(invocation: Invocation) -> int:
    """Write the new index, and print its digest."""
    args = invocation.args
    place = Place.parse(args.name)
    tag = place.tag  # refuses a digest before anything is copied
    with opened_transfers(invocation) as (places, exporter):
        bring = partial(_bring, place=place, places=places, emit=exporter.progress("copy"))
        target = places.repository(place)
        match args.action:
            case "create":
                entries = bring(args.manifests, target)
                index = create_index(entries, pairs(args.annotation, "--annotation"))
            case "add":
                old = read_index(target, place.wanted)
                entries = bring(args.manifests, target)
                index, replaced = with_entries(old, entries)
                for digest in replaced:
                    invocation.stderr.write(f"replaced {digest}\n")
            case "remove":
                old = read_index(target, place.wanted)
                gone = [digest for text in args.entries for digest in find_entries(old, text)]
                index = without_entries(old, gone)
            case _:
                index = _annotate(read_index(target, place.wanted), args)
        put = put_whole(target, index)
        target.tag(put, tag)
    value = {
        "name": str(place),
        "digest": put.digest,
        "mediaType": put.media_type,
        "size": put.size,
        "manifests": [entry.to_json() for entry in index.manifests],
    }
    invocation.stdout.write(result(value, f"{put.digest}\n", args.format))
    return 0


def _bring(
    names: Iterable[str], target: Repository, *, place: Place, places: Places, emit: Emit
) -> list[Descriptor]:
    """Return entries for ``names``, after copying what is not in the target's repository."""
    entries: list[Descriptor] = []
    for name in names:
        there = Place.parse(name)
        with places.reading(there) as source:
            found = source.resolve(there.wanted)
            if (there.kind, there.path) != (place.kind, place.path):
                transfer(source, target, found, emit=emit)
            entries += entries_for(target, found)
    return entries


def _annotate(index: Index, args: argparse.Namespace) -> Index:
    if not (args.annotation or args.remove_annotation or args.set_platform):
        raise UsageError("give --annotation, --remove-annotation or --set-platform")
    if args.set_platform and not args.entry:
        raise UsageError("--set-platform needs --entry: an index has no platform of its own")
    entry = None
    if args.entry:
        found = find_entries(index, args.entry)
        if len(found) > 1:
            raise UsageError(f'--entry "{args.entry}" means {len(found)} entries; give a digest')
        entry = found[0]
    return annotated(
        index,
        entry=entry,
        annotations=pairs(args.annotation, "--annotation"),
        removed=args.remove_annotation,
        platform=Platform.parse(args.set_platform) if args.set_platform else None,
    )
