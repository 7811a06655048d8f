"""`wcbuild ls`."""

from __future__ import annotations

import argparse

from wcbuild.cli.format import result
from wcbuild.cli.main import Invocation
from wcbuild.cli.render.text import clean
from wcbuild.cli.stores import add_format, opened_places
from wcbuild.errors import UsageError
from wcbuild.places import DOCKER, Place


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare flags and arguments."""
    parser.add_argument(
        "repository",
        metavar="REPO",
        help="docker://REPO, oci:DIR, oci-archive:FILE, ... or store:REPO",
    )
    add_format(parser)


def run(invocation: Invocation) -> int:
    """Print the tags, a line for each, in the order of their characters."""
    args = invocation.args
    place = Place.parse(args.repository)
    host = args.repository.removeprefix(DOCKER)
    if "/" not in host and "." in host.partition(":")[0]:
        raise UsageError(f'"{host}" is a registry; give a repository of it: {host}/NAME')
    if place.kind == DOCKER and (place.name or place.digest):
        raise UsageError(f'"{args.repository}" names one image; give a repository: {place.path}')
    with opened_places(invocation) as places, places.reading(place) as source:
        tags = sorted(set(source.tags()))
    text = "".join(f"{clean(tag)}\n" for tag in tags)
    invocation.stdout.write(result({"name": place.path, "tags": tags}, text, args.format))
    return 0
