"""`wcbuild copy`."""

from __future__ import annotations

import argparse

from registry.copy import Foreign
from registry.errors import InvalidDocumentError
from registry.oci.descriptor import Descriptor
from registry.oci.mediatypes import is_index
from wcbuild.cli.format import result
from wcbuild.cli.main import Invocation
from wcbuild.cli.stores import add_foreign, add_format, opened_transfers, parse_platforms
from wcbuild.errors import UsageError
from wcbuild.places import DOCKER, DOCKER_ARCHIVE, HELP, STORE, Place


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare flags and arguments."""
    parser.add_argument("source", metavar="SRC", help=HELP)
    parser.add_argument("target", metavar="DST", help=HELP)
    parser.add_argument(
        "--platform",
        action="append",
        default=[],
        metavar="OS/ARCH",
        help="only this image of an index; several make a new index (default: all, unchanged)",
    )
    parser.add_argument(
        "--referrers", action="store_true", help="bring what refers to the image along"
    )
    parser.add_argument(
        "--signatures",
        action="store_true",
        help="bring its signatures along: .sig, .att and .sbom tags, and referrers that are some",
    )
    add_foreign(parser)
    parser.add_argument(
        "--make-distributable",
        action="store_true",
        help="make ordinary layers of those that may not be distributed: a new manifest",
    )
    add_format(parser)
    parser.add_argument("-q", "--quiet", action="store_true", help="show no progress")
    parser.add_argument("--progress", default="auto", metavar="MODE", help="auto, tty or plain")


def run(invocation: Invocation) -> int:
    """Copy, and print the digest of what the target has now."""
    args = invocation.args
    source_place, target_place = Place.parse(args.source), Place.parse(args.target)
    platforms = parse_platforms(args.platform)
    along = args.referrers or args.signatures
    if along and target_place.kind == DOCKER_ARCHIVE:
        raise UsageError("a docker archive has no place for referrers and signatures")
    if along and args.make_distributable:
        raise UsageError("--make-distributable gives a new manifest, to which nothing refers")
    # What a registry or a layout has is copied as it is. Tars that were never pushed are compressed,
    # but not in the local store, nor where docker's own archives have plain ones.
    plain = source_place.kind not in (STORE, DOCKER_ARCHIVE) or target_place.kind in (
        STORE,
        DOCKER_ARCHIVE,
    )
    with opened_transfers(invocation) as (places, exporter), places.reading(source_place) as source:
        found = places.find(source, source_place)
        if target_place.kind == DOCKER_ARCHIVE and len(platforms) != 1:
            _check_single(found)
        with places.writing(target_place) as target:
            copied = exporter.copy(
                source,
                found,
                target,
                tags=(target_place.tag,),
                compression="uncompressed" if plain else "gzip",
                platforms=platforms,
                referrers=args.referrers,
                signatures=args.signatures,
                foreign=_foreign(args, target_place),
            )
    document = {"digest": copied.digest, "mediaType": copied.media_type, "size": copied.size}
    invocation.stdout.write(result(document, f"{copied.digest}\n", args.format))
    return 0


def _foreign(args: argparse.Namespace, target: Place) -> Foreign:
    """Say what becomes of layers that may not be distributed: only a registry distributes."""
    if args.make_distributable:
        return Foreign.CONVERT
    kept = args.foreign or target.kind != DOCKER
    return Foreign.TAKE_ALONG if kept else Foreign.LEAVE_OUT


def _check_single(found: Descriptor) -> None:
    """Refuse, before anything is read, what docker's archives cannot hold."""
    if is_index(found.media_type):
        reason = "a docker archive holds single images; choose a platform with --platform"
        raise InvalidDocumentError(f"index {found.digest}", reason)
