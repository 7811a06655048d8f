"""What subcommands that look into the local store share."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from registry.image import Image, make_image
from registry.oci import mediatypes
from registry.store import read_all
from wcbuild.access import open_client
from wcbuild.cli.main import Invocation
from wcbuild.cli.render import choose, rendering
from wcbuild.export import Exporter
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
    """A record of the store, and its image unless it is an index."""

    record: ImageRecord
    image: Image | None
    size: int
    """Bytes of the layers as they lie in the store."""


def show(store: LocalStore, record: ImageRecord) -> Shown:
    """Read what there is to show of a record."""
    if not mediatypes.is_manifest(record.descriptor.media_type):
        children = store.index(record.descriptor).manifests
        return Shown(record=record, image=None, size=sum(child.size for child in children))
    manifest = store.manifest(record.descriptor)
    image = make_image(manifest, read_all(store, manifest.config))
    return Shown(record=record, image=image, size=sum(layer.size for layer in manifest.layers))


@contextlib.contextmanager
def opened_exporter(invocation: Invocation) -> Iterator[tuple[LocalStore, Exporter]]:
    """Open the store, and what moves images, its progress shown as the command line asks."""
    args = invocation.args
    mode = "quiet" if args.quiet else args.progress
    renderer = choose(mode, invocation.stderr, invocation.environment)
    with opened_store(invocation) as store, rendering(renderer) as emit:
        yield store, Exporter(store, emit, partial(open_client, invocation.registries))
