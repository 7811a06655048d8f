"""`wcbuild blob get`."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import BinaryIO

from registry.files import create_temporary, store_errors
from wcbuild.cli.main import Invocation, add_actions
from wcbuild.cli.stores import opened_places
from wcbuild.errors import UsageError
from wcbuild.places import Place

_CHUNK = 1024 * 1024


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare flags and arguments."""
    get = add_actions(parser, {"get": "write a blob to a file or to standard output"})["get"]
    get.add_argument("name", metavar="REPO@DIGEST", help="docker://REPO@D, oci:DIR@D, store:REPO@D")
    get.add_argument("-o", "--output", default="-", metavar="FILE", help="default: stdout")


def run(invocation: Invocation) -> int:
    """Write the bytes, verified; a file appears when all of them came and were the right ones."""
    args = invocation.args
    place = Place.parse(args.name)
    if place.digest is None:
        raise UsageError(f'"{args.name}" has no digest; give REPO@DIGEST')
    if args.output == "-" and invocation.stdout.isatty():
        raise UsageError("refusing to write a blob to a terminal; use -o or a pipe")
    with (
        opened_places(invocation) as places,
        places.reading(place) as source,
        source.open(source.find_blob(place.digest)) as stream,
    ):
        if args.output == "-":
            invocation.stdout.flush()
            _copy(stream, sys.stdout.buffer)
        else:
            _write(stream, Path(args.output).absolute())
    return 0


def _write(stream: BinaryIO, path: Path) -> None:
    with store_errors(path):
        fd, temporary = create_temporary(path.parent, ".new-", 0o644)
    try:
        with store_errors(path), open(fd, "wb") as file:
            _copy(stream, file)
            os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _copy(stream: BinaryIO, target: BinaryIO) -> None:
    while data := stream.read(_CHUNK):
        target.write(data)
