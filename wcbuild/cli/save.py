"""`wcbuild save`."""

from __future__ import annotations

import argparse

from registry.oci.descriptor import Descriptor
from registry.reference import Reference
from wcbuild.cli.main import Invocation
from wcbuild.cli.stores import opened_exporter
from wcbuild.outputs import Output


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare flags and arguments."""
    parser.add_argument("names", nargs="+", metavar="REF", help="names or image ids")
    parser.add_argument("-o", "--output", default="-", metavar="FILE", help="default: stdout")
    parser.add_argument(
        "--format", default="docker", choices=("docker", "oci"), help="the archive's format"
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="show no progress")
    parser.add_argument("--progress", default="auto", metavar="MODE", help="auto, tty or plain")


def run(invocation: Invocation) -> int:
    """Write the images to one archive."""
    args = invocation.args
    # docker's archives hold plain tars, as `docker save` writes them.
    compression = "uncompressed" if args.format == "docker" else "gzip"
    output = Output(kind=args.format, dest=args.output, compression=compression)
    with opened_exporter(invocation) as (store, exporter):
        exporter.check((output,), (), push=False)
        images: dict[Descriptor, tuple[Reference, ...]] = {}
        for name in args.names:
            record = store.find(name)
            names = (record.reference,) if record.reference else ()
            images[record.descriptor] = images.get(record.descriptor, ()) + names
        exporter.save(images, output)
    return 0
