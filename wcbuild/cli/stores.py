"""What subcommands that look into the local store share."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from registry.image import Image, make_image
from registry.oci import mediatypes
from registry.store import read_all
from wcbuild.cli.main import Invocation
from wcbuild.store import ImageRecord, LocalStore, open_store


@contextlib.contextmanager
def opened_store(invocation: Invocation) -> Iterator[LocalStore]:
    """Open the store for the `with` block."""
    store = open_store(invocation.root)
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


def age(created: str, now: float) -> str:
    """Return how long ago an RFC 3339 moment was, as docker says it; nothing if it says none."""
    from datetime import datetime  # noqa: PLC0415 - most commands tell no time

    try:
        moment = datetime.fromisoformat(created[:19] + "+00:00").timestamp()
    except ValueError:
        return "N/A"
    seconds = max(0.0, now - moment)
    for size, word in (
        (365 * 86400, "year"),
        (30 * 86400, "month"),
        (7 * 86400, "week"),
        (86400, "day"),
        (3600, "hour"),
        (60, "minute"),
    ):
        if seconds >= 2 * size or (size <= 3600 and seconds >= size):  # noqa: PLR2004 - an hour
            count = int(seconds // size)
            return f"{count} {word}{'s' if count > 1 else ''} ago"
    return f"{int(seconds)} seconds ago" if seconds >= 1 else "Less than a second ago"
