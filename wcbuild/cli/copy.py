"""`wcbuild copy`."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator
from pathlib import Path

from registry.archive import archive_file, open_archive
from registry.image import read_image
from registry.layout import OciLayout
from registry.oci.descriptor import Descriptor
from registry.oci.platform import Platform
from registry.reference import Reference
from registry.store import Source, Target
from wcbuild.access import RegistryAccess, open_client
from wcbuild.cli.main import Invocation
from wcbuild.cli.stores import opened_exporter
from wcbuild.errors import UsageError
from wcbuild.export import Exporter
from wcbuild.store import LocalStore

_PLACES = ("docker://", "oci:", "docker-archive:", "oci-archive:", "store:")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare flags and arguments."""
    places = "docker://REF, oci:DIR[:TAG], docker-archive:FILE, oci-archive:FILE or store:REF"
    parser.add_argument("source", metavar="SRC", help=places)
    parser.add_argument("target", metavar="DST", help=places)
    parser.add_argument("--platform", default="", metavar="OS/ARCH", help="copy only this image")
    parser.add_argument("-q", "--quiet", action="store_true", help="show no progress")
    parser.add_argument("--progress", default="auto", metavar="MODE", help="auto, tty or plain")


def run(invocation: Invocation) -> int:
    """Copy, and print the digest of what the target has now."""
    args = invocation.args
    with (
        opened_exporter(invocation) as (store, exporter),
        _source(args.source, store, invocation) as (source, found),
    ):
        wanted = found
        if args.platform:
            wanted = read_image(source, found, Platform.parse(args.platform)).descriptor
        if args.target.startswith("store:"):
            copied = _keep(args.target, source, wanted, store, exporter)
        else:
            copied = _send(args.target, source, wanted, exporter, invocation.registries)
    invocation.stdout.write(f"{copied.digest}\n")
    return 0


def _split(text: str) -> tuple[str, str]:
    for place in _PLACES:
        if text.startswith(place):
            return place, text.removeprefix(place)
    return "docker://", text


def _split_tag(text: str) -> tuple[str, str]:
    path, colon, tag = text.rpartition(":")
    return (path, tag) if colon and "/" not in tag else (text, "")


@contextlib.contextmanager
def _source(
    text: str, store: LocalStore, invocation: Invocation
) -> Iterator[tuple[Source, Descriptor]]:
    place, rest = _split(text)
    if place == "store:":
        yield store, store.find(rest).descriptor
    elif place == "docker://":
        reference = Reference.parse(rest).with_default_tag()
        repository = open_client(invocation.registries).source(reference)
        yield repository, repository.resolve(str(reference.digest or reference.tag))
    elif place == "oci:":
        path, tag = _split_tag(rest)
        layout = OciLayout(Path(path))
        yield layout, layout.resolve(tag)
    else:
        path, tag = _split_tag(rest)
        with open_archive(open(path, "rb"), path, spool=store.root / "tmp") as archive:
            yield archive, archive.resolve(tag)


def _keep(
    text: str, source: Source, descriptor: Descriptor, store: LocalStore, exporter: Exporter
) -> Descriptor:
    exporter.fetch(source, descriptor)
    store.name_image(descriptor, Reference.parse(_split(text)[1]).with_default_tag())
    return descriptor


def _send(
    text: str, source: Source, descriptor: Descriptor, exporter: Exporter, access: RegistryAccess
) -> Descriptor:
    place, rest = _split(text)
    compression = "uncompressed" if place == "docker-archive:" else "gzip"

    def copy(target: Target, tag: str) -> Descriptor:
        return exporter.copy(source, descriptor, target, tags=(tag,), compression=compression)

    if place == "docker://":
        reference = Reference.parse(rest).with_default_tag()
        if reference.digest is not None:
            raise UsageError(f'cannot copy to "{rest}": a target has a tag, not a digest')
        return copy(open_client(access).repository(reference), reference.tag)
    path, tag = _split_tag(rest)
    if place == "oci:":
        return copy(OciLayout(Path(path)), tag or "latest")
    with archive_file(Path(path).absolute(), docker=place == "docker-archive:") as archive:
        return copy(archive, tag or "latest")
