"""`wcbuild manifest get|put|delete`."""

from __future__ import annotations

import argparse
import sys

from registry.errors import ProtocolError
from registry.image import put_whole, read_document, read_image
from registry.oci.manifest import MAX_MANIFEST_BYTES, parse
from registry.oci.platform import Platform
from registry.store import Deleter, check_bytes
from wcbuild.cli.format import result
from wcbuild.cli.main import Invocation, add_actions
from wcbuild.cli.stores import add_format, opened_places, write_raw
from wcbuild.errors import UsageError
from wcbuild.places import HELP, Place

_ACTIONS = {
    "get": "print a manifest or an index, byte by byte as it is",
    "put": "write a manifest or an index whose blobs and manifests are there",
    "delete": "delete a tag, or a manifest with all its tags",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare flags and arguments."""
    actions = add_actions(parser, _ACTIONS)
    get, put, delete = actions["get"], actions["put"], actions["delete"]
    get.add_argument("name", metavar="REF", help=HELP)
    get.add_argument(
        "--platform", default="", metavar="OS/ARCH", help="of an index, the manifest for this"
    )
    put.add_argument("name", metavar="REF", help="docker://REF, oci:DIR[:TAG] or store:REF")
    put.add_argument("file", metavar="FILE", help="its JSON; - is standard input")
    put.add_argument(
        "--media-type", default="", metavar="TYPE", help="for JSON that does not say its own"
    )
    add_format(put)
    delete.add_argument(
        "name",
        metavar="REPO:TAG|REPO@DIGEST",
        help="in a registry or a layout; a tag is removed alone, a digest with all its tags",
    )


def run(invocation: Invocation) -> int:
    """Do what the action says."""
    return {"get": _get, "put": _put, "delete": _delete}[invocation.args.action](invocation)


def _get(invocation: Invocation) -> int:
    args = invocation.args
    place = Place.parse(args.name)
    with opened_places(invocation) as places, places.reading(place) as source:
        found = source.resolve(place.wanted)
        if args.platform:
            raw = read_image(source, found, Platform.parse(args.platform)).manifest.raw
        else:
            raw = read_document(source, found).raw
    write_raw(invocation, raw)
    return 0


def _put(invocation: Invocation) -> int:
    args = invocation.args
    place = Place.parse(args.name)
    document = parse(_read(args.file), args.media_type, args.file)
    if place.digest is not None:
        check_bytes(document.raw, place.digest, args.file)
    with opened_places(invocation) as places:
        target = places.repository(place)
        put = put_whole(target, document)
        if place.digest is None or place.name:
            target.tag(put, place.name or "latest")
    value = {"digest": put.digest, "mediaType": put.media_type, "size": put.size}
    invocation.stdout.write(result(value, f"{put.digest}\n", args.format))
    return 0


def _read(name: str) -> bytes:
    # One byte more than a manifest may have: `parse` refuses it.
    if name == "-":
        return sys.stdin.buffer.read(MAX_MANIFEST_BYTES + 1)
    with open(name, "rb") as file:
        return file.read(MAX_MANIFEST_BYTES + 1)


def _delete(invocation: Invocation) -> int:
    place = Place.parse(invocation.args.name)
    if not place.name and place.digest is None:
        raise UsageError(f'"{place}" names no image; give a tag or a digest')
    with opened_places(invocation) as places:
        target = places.repository(place)
        if not isinstance(target, Deleter):
            raise UsageError(f'"{place}" is in the local store: `wcbuild rmi` removes images there')
        if place.digest is not None:
            target.delete(target.resolve(place.digest))
        else:
            digest = target.resolve(place.name).digest
            try:
                target.untag(place.name)
            except ProtocolError as error:
                # It would take other tags along, so that is for the person to say.
                error.detail = (
                    f"it cannot remove a tag alone; `wcbuild manifest delete {place.path}@{digest}`"
                    " removes the manifest with all its tags"
                )
                raise
    invocation.stdout.write(f"{place}\n")
    return 0
