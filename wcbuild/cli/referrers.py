"""`wcbuild referrers`."""

from __future__ import annotations

import argparse

from registry.image import read_image
from registry.oci.platform import Platform
from wcbuild.cli.format import listing
from wcbuild.cli.main import Invocation
from wcbuild.cli.stores import opened_places
from wcbuild.places import HELP, Place
from wcbuild.sizes import format_size

_COLUMNS = {"Digest": "DIGEST", "ArtifactType": "ARTIFACT TYPE", "HumanSize": "SIZE"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare flags and arguments."""
    parser.add_argument("name", metavar="REF", help=HELP)
    parser.add_argument("--artifact-type", default="", metavar="TYPE", help="only those of it")
    parser.add_argument(
        "--platform", default="", metavar="OS/ARCH", help="of an index, ask for this image"
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="print only digests")
    parser.add_argument(
        "--format", default="", metavar="TEMPLATE", help="table, json or a template"
    )


def run(invocation: Invocation) -> int:
    """Print a row for each manifest that names the image as its subject."""
    args = invocation.args
    place = Place.parse(args.name)
    with opened_places(invocation) as places, places.reading(place) as source:
        subject = source.resolve(place.wanted)
        if args.platform:
            subject = read_image(source, subject, Platform.parse(args.platform)).descriptor
        found = list(source.referrers(subject.digest, args.artifact_type))
    if args.quiet:
        invocation.stdout.write("".join(f"{entry.digest}\n" for entry in found))
        return 0
    rows = [
        {
            "Digest": entry.digest,
            "ArtifactType": entry.artifact_type,
            "MediaType": entry.media_type,
            "Size": entry.size,
            "HumanSize": format_size(entry.size),
            "Annotations": dict(entry.annotations),
        }
        for entry in found
    ]
    invocation.stdout.write(listing(rows, _COLUMNS, args.format))
    return 0
