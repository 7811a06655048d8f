"""`wcbuild history`."""

from __future__ import annotations

import argparse

from registry.image import read_image
from registry.oci.platform import Platform
from wcbuild.builder import host_platform
from wcbuild.cli.format import listing
from wcbuild.cli.images import since
from wcbuild.cli.main import Invocation
from wcbuild.cli.stores import opened_store
from wcbuild.sizes import format_size

_COLUMNS = {
    "ID": "IMAGE",
    "CreatedSince": "CREATED",
    "CreatedBy": "CREATED BY",
    "Size": "SIZE",
    "Comment": "COMMENT",
}
_MAX_TEXT = 45
_SHORT_ID = 12


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare flags and arguments."""
    parser.add_argument("name", metavar="REF", help="a name or image id")
    parser.add_argument(
        "--platform", default="", metavar="OS/ARCH", help="which image of an index (default: ours)"
    )
    parser.add_argument("--no-trunc", action="store_true", help="print whole lines")
    parser.add_argument("-q", "--quiet", action="store_true", help="print only image ids")
    parser.add_argument(
        "--format", default="", metavar="TEMPLATE", help="table, json or a template"
    )


def run(invocation: Invocation) -> int:
    """Print a row for each line of history, the newest first."""
    args = invocation.args
    with opened_store(invocation) as store:
        platform = Platform.parse(args.platform) if args.platform else host_platform()
        image = read_image(store, store.find(args.name).descriptor, platform)
    sizes = iter([layer.descriptor.size for layer in image.layers])
    rows = []
    for line in image.config.history:
        size = 0 if line.empty_layer else next(sizes, 0)
        text = line.created_by if args.no_trunc else _shortened(line.created_by)
        rows.append(
            {
                "ID": "<missing>",
                "CreatedAt": line.created,
                "CreatedSince": since(line.created),
                "CreatedBy": text,
                "Size": format_size(size),
                "Comment": line.comment,
            }
        )
    rows.reverse()
    if rows:
        image_id = image.id
        rows[0]["ID"] = image_id if args.no_trunc else image_id.hex[:_SHORT_ID]
    if args.quiet:
        invocation.stdout.write("".join(f"{row['ID']}\n" for row in rows))
        return 0
    invocation.stdout.write(listing(rows, _COLUMNS, args.format))
    return 0


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _MAX_TEXT else line[: _MAX_TEXT - 1] + "…"
