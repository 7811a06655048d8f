"""`wcbuild attach`."""

from __future__ import annotations

import argparse

from registry.attach import AttachedFile, attach
from registry.image import read_image
from registry.oci.platform import Platform
from wcbuild.cli.format import result
from wcbuild.cli.main import Invocation
from wcbuild.cli.stores import add_format, opened_places, pairs
from wcbuild.places import Place


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare flags and arguments."""
    parser.add_argument("name", metavar="REF", help="docker://REF, oci:DIR[:TAG] or store:REF")
    parser.add_argument(
        "files", nargs="+", metavar="FILE[:MEDIATYPE]", help="what the artifact holds"
    )
    parser.add_argument(
        "--artifact-type", required=True, metavar="TYPE", help="such as application/spdx+json"
    )
    parser.add_argument(
        "--annotation", action="append", default=[], metavar="K=V", help="annotate the artifact"
    )
    parser.add_argument(
        "--platform", default="", metavar="OS/ARCH", help="of an index, attach to this image"
    )
    add_format(parser)


def run(invocation: Invocation) -> int:
    """Put the artifact, and print its digest."""
    args = invocation.args
    place = Place.parse(args.name)
    files = [AttachedFile.parse(text) for text in args.files]
    with opened_places(invocation) as places:
        target = places.repository(place)
        subject = target.resolve(place.wanted)
        if args.platform:
            subject = read_image(target, subject, Platform.parse(args.platform)).descriptor
        artifact = attach(
            target,
            subject,
            files,
            artifact_type=args.artifact_type,
            annotations=pairs(args.annotation, "--annotation"),
        )
    value = {
        "digest": artifact.digest,
        "mediaType": artifact.media_type,
        "size": artifact.size,
        "artifactType": args.artifact_type,
        "subject": subject.digest,
    }
    invocation.stdout.write(result(value, f"{artifact.digest}\n", args.format))
    return 0
