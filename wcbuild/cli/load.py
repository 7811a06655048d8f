"""`wcbuild load`."""

from __future__ import annotations

import argparse
import contextlib
import sys

from registry.archive import open_archive
from registry.errors import InvalidReferenceError
from registry.files import store_errors
from registry.layout import entry_name
from registry.oci.descriptor import Descriptor
from registry.reference import Reference
from wcbuild.cli.main import Invocation
from wcbuild.cli.stores import opened_exporter


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare flags and arguments."""
    parser.add_argument("-i", "--input", default="-", metavar="FILE", help="default: stdin")
    parser.add_argument("-q", "--quiet", action="store_true", help="show no progress")
    parser.add_argument("--progress", default="auto", metavar="MODE", help="auto, tty or plain")


def run(invocation: Invocation) -> int:
    """Read all images of an archive, docker's or OCI's, compressed or not."""
    name = invocation.args.input
    lines = []
    with opened_exporter(invocation) as (store, exporter):
        with store_errors(store.root):
            stream = sys.stdin.buffer if name == "-" else open(name, "rb")  # noqa: SIM115
        with open_archive(stream, name, spool=store.root / "tmp") as archive:
            for entry in archive.index.manifests:
                exporter.fetch(archive, entry)
                if entry.artifact_type and not entry_name(entry):
                    continue  # it came along with what it refers to
                record = store.name_image(entry, _reference(entry))
                if record.reference is None:
                    lines.append(f"Loaded image ID: {record.image_id}\n")
                else:
                    lines.append(f"Loaded image: {record.reference.familiar}\n")
    invocation.stdout.write("".join(lines))
    return 0


def _reference(entry: Descriptor) -> Reference | None:
    """Return the whole reference that an archive gives an image; a bare tag names nothing here."""
    name = entry_name(entry)
    if "/" in name or ":" in name:
        with contextlib.suppress(InvalidReferenceError):
            return Reference.parse(name).with_default_tag()
    return None
