"""What subcommands that look into the local store share."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, partial

from registry.image import Image, make_image
from registry.oci import mediatypes
from registry.oci.platform import Platform
from registry.store import read_all
from wcbuild.access import open_client, open_policy
from wcbuild.cli.main import Invocation
from wcbuild.cli.render import choose, rendering
from wcbuild.cli.render.text import clean
from wcbuild.errors import UsageError
from wcbuild.export import Exporter
from wcbuild.places import Places
from wcbuild.store import ImageRecord, LocalStore, open_store


@contextlib.contextmanager
def opened_store(invocation: Invocation) -> Iterator[LocalStore]:
    """Open the store for the `with` block."""
    store = open_store(invocation.root)
    store.fetch_from(lambda reference: open_client(invocation.registries).repository(reference))
    try:
        yield store
    finally:
        store.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A record of the store, and its image unless it is an index or an artifact."""

    record: ImageRecord
    image: Image | None
    size: int
    """Bytes of the layers as they lie in the store."""


def show(store: LocalStore, record: ImageRecord) -> Shown:
    """Read what there is to show of a record."""
    if mediatypes.is_index(record.descriptor.media_type):
        children = store.index(record.descriptor).manifests
        return Shown(record=record, image=None, size=sum(child.size for child in children))
    manifest = store.manifest(record.descriptor)
    image = None
    if manifest.config.media_type in mediatypes.CONFIGS:
        image = make_image(manifest, read_all(store, manifest.config))
    return Shown(record=record, image=image, size=sum(layer.size for layer in manifest.layers))


@contextlib.contextmanager
def opened_exporter(invocation: Invocation) -> Iterator[tuple[LocalStore, Exporter]]:
    """Open the store, and what moves images, its progress shown as the command line asks."""
    args = invocation.args
    mode = "quiet" if args.quiet else args.progress
    renderer = choose(mode, invocation.stderr, invocation.environment)
    with opened_store(invocation) as store, rendering(renderer) as emit:
        access = invocation.registries
        yield (
            store,
            Exporter(store, emit, partial(open_client, access), partial(open_policy, access)),
        )


@contextlib.contextmanager
def opened_places(invocation: Invocation) -> Iterator[Places]:
    """Reach stores for the `with` block, each when it is first needed."""
    with contextlib.ExitStack() as opened:
        yield Places(
            store=cache(lambda: opened.enter_context(opened_store(invocation))),
            client=cache(lambda: opened.enter_context(open_client(invocation.registries))),
            policy=cache(lambda: open_policy(invocation.registries)),
        )


@contextlib.contextmanager
def opened_transfers(invocation: Invocation) -> Iterator[tuple[Places, Exporter]]:
    """Reach stores for the `with` block, and open what moves images between them, with progress."""
    with contextlib.ExitStack() as opened, opened_exporter(invocation) as (store, exporter):
        client = cache(lambda: opened.enter_context(open_client(invocation.registries)))
        policy = cache(lambda: open_policy(invocation.registries))
        yield Places(store=lambda: store, client=client, policy=policy), exporter


def add_format(parser: argparse.ArgumentParser) -> None:
    """Declare `--format` of a command that prints one result."""
    parser.add_argument("--format", default="", metavar="TEMPLATE", help="json or a template")


def add_foreign(parser: argparse.ArgumentParser) -> None:
    """Declare the flag for layers that may not be distributed, which crane calls the same."""
    parser.add_argument(
        "--allow-nondistributable-artifacts",
        action="store_true",
        dest="foreign",
        help="send layers that may not be distributed, too (old Windows bases)",
    )


def parse_platforms(values: Iterable[str]) -> tuple[Platform, ...]:
    """Return the platforms of `--platform A,B --platform C`, each once.

    Raises:
        InvalidDocumentError: one is no platform.
    """
    parts = (part for value in values for part in value.split(","))
    return tuple(dict.fromkeys(Platform.parse(part) for part in parts))


def pairs(values: Iterable[str], flag: str) -> dict[str, str]:
    """Return the pairs of a flag that is given as `NAME=TEXT`, any number of times.

    Raises:
        UsageError: one has no `=`, or no name.
    """
    found = {}
    for value in values:
        name, equals, text = value.partition("=")
        if not equals or not name:
            raise UsageError(f"{flag} {value}: expected NAME=TEXT")
        found[name] = text
    return found


def write_raw(invocation: Invocation, raw: bytes) -> None:
    """Print a document byte by byte as it is; on a terminal, nothing in it that acts there."""
    if invocation.stdout.isatty():
        invocation.stdout.write(
            "".join(f"{clean(line)}\n" for line in raw.decode(errors="replace").splitlines())
        )
    else:
        invocation.stdout.flush()
        invocation.stdout.buffer.write(raw)
