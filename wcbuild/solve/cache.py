"""What was built before, by key."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from registry.errors import RegistryError
from registry.files import atomic_write
from registry.oci import mediatypes
from registry.oci.descriptor import Descriptor
from registry.oci.digest import DiffId, Digest
from wcbuild.graph.keys import CacheKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """The result of one step: a layer on top of its first input."""

    diff_id: DiffId
    size: int
    """Bytes of the uncompressed layer."""
    identity: CacheKey
    """What later steps take as the key of this result: mostly the key it was first built under."""
    created: str
    """When it was built, RFC 3339; the history keeps saying so when the result is taken again."""

    @property
    def layer(self) -> Descriptor:
        """The layer as it lies in the store: the uncompressed tar."""
        return Descriptor(media_type=mediatypes.OCI_LAYER, digest=self.diff_id, size=self.size)


class Cache(Protocol):
    """Finds and remembers results."""

    def find(self, key: CacheKey) -> Record | None:
        """Return the result of ``key`` if it is known; its layer is here, or may be obtained."""
        ...

    def knew(self, key: CacheKey) -> bool:
        """Say whether there has been a result of ``key``, even if it is lost."""
        ...

    def remember(self, key: CacheKey, record: Record) -> None:
        """Keep a result. The layer is in the store already."""
        ...

    def obtain(
        self, layers: Iterable[Descriptor], *, dry: bool = False, may_stay: bool = False
    ) -> frozenset[Digest]:
        """Have the layers of found results in the store; return the diff_ids of those that are lost.

        Results with these are found no more. Nothing is brought here if ``dry``, nor, with ``may_stay``,
        what can be used where it is.
        """
        ...


class LocalCache:
    """A file a key, below the local store. A record that cannot be read is no record."""

    def __init__(self, root: Path, has_layer: Callable[[Descriptor], bool]) -> None:
        self._root = root
        self._has_layer = has_layer

    def find(self, key: CacheKey) -> Record | None:
        try:
            data = json.loads((self._root / key).read_bytes())
            record = Record(
                diff_id=DiffId(Digest(data["diffId"])),
                size=int(data["size"]),
                identity=CacheKey(data["identity"]),
                created=str(data["created"]),
            )
        except (OSError, ValueError, KeyError, TypeError, RegistryError):
            return None
        return record if self._has_layer(record.layer) else None

    def knew(self, key: CacheKey) -> bool:
        return (self._root / key).exists()

    def remember(self, key: CacheKey, record: Record) -> None:
        data = {
            "diffId": record.diff_id,
            "size": record.size,
            "identity": record.identity,
            "created": record.created,
        }
        # Not durable: a lost record costs a build, never an image.
        atomic_write(self._root / key, json.dumps(data).encode(), durable=False)

    def obtain(
        self, layers: Iterable[Descriptor], *, dry: bool = False, may_stay: bool = False
    ) -> frozenset[Digest]:
        """Return nothing: what is found has its layer here."""
        del layers, dry, may_stay
        return frozenset()

    def records(self) -> Iterator[tuple[CacheKey, Record]]:
        """Yield what is known and whole."""
        for path in self._root.iterdir():
            record = self.find(CacheKey(path.name))
            if record is not None:
                yield CacheKey(path.name), record

    def clear(self) -> int:
        """Forget everything; return how many records that were."""
        paths = list(self._root.iterdir())
        for path in paths:
            path.unlink(missing_ok=True)
        return len(paths)


def timestamp(seconds: float | None = None) -> str:
    """Return a moment (seconds since 1970, default now) as RFC 3339 text in UTC, as Go writes it."""
    moment = time.time() if seconds is None else seconds
    text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(moment))
    fraction = f"{moment % 1:.6f}"[1:].rstrip("0").rstrip(".")
    return f"{text}{fraction}Z"
