"""The document that a cache is: which results there are, and which layer is each.

docs/formats.md specifies it. It is the config of an artifact whose layers are ordinary image layers, or,
with `type=inline`, an annotation of the image that has them. Whoever wrote it is not trusted: keys become
names of files, and times go into images.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from registry.errors import InvalidDigestError, InvalidDocumentError
from registry.oci import mediatypes
from registry.oci.descriptor import Descriptor
from registry.oci.digest import DiffId, Digest
from registry.oci.manifest import MAX_MANIFEST_BYTES, encode, load_object
from wcbuild.graph.keys import CacheKey
from wcbuild.solve.cache import Record

ARTIFACT_TYPE = "application/vnd.wcbuild.cache.v1"
CONFIG_TYPE = "application/vnd.wcbuild.cache.config.v1+json"
INLINE = "vnd.wcbuild.cache.v1"
"""The annotation of an image that has its own cache in it."""

MAX_DOCUMENT_BYTES = MAX_MANIFEST_BYTES
MAX_RESULTS = 10_000

_LAYER_TYPES = tuple(
    mediatypes.layer(compressed, docker=docker)
    for compressed in ("none", "gzip", "zstd")
    for docker in (False, True)
)
_MAX_SIZE = 1 << 62
_KEY = re.compile(r"[0-9a-f]{64}", re.ASCII)
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedResult:
    """One step's result, and the keys under which it is found."""

    keys: tuple[CacheKey, ...]
    record: Record
    layer: Descriptor | None
    """Of the blob, perhaps compressed. None: it was not kept, but what stands on the result is found."""


def encode_results(results: Iterable[CachedResult], layers: Sequence[Descriptor]) -> bytes:
    """Return the document that goes with a manifest's ``layers``; the same results give the same bytes."""
    places = {layer.digest: place for place, layer in reversed(tuple(enumerate(layers)))}
    return encode(
        {
            "results": [
                {
                    "keys": list(result.keys),
                    "identity": result.record.identity,
                    "diffId": result.record.diff_id,
                    "size": result.record.size,
                    "created": result.record.created,
                }
                | ({} if result.layer is None else {"layer": places[result.layer.digest]})
                for result in results
            ]
        }
    )


def parse_results(raw: bytes, layers: Sequence[Descriptor], what: str) -> tuple[CachedResult, ...]:
    """Read what `encode_results` wrote; ``layers`` are the manifest's.

    Raises:
        TooLargeError, InvalidDocumentError: ``what`` names it.
    """
    found = load_object(raw, what).get("results")
    if not isinstance(found, list):
        raise InvalidDocumentError(what, "has no list of results")
    if len(found) > MAX_RESULTS:
        raise InvalidDocumentError(what, f"has {len(found)} results; the limit is {MAX_RESULTS}")
    return tuple(_parse(each, layers, f"{what} result {n}") for n, each in enumerate(found, 1))


def _parse(data: object, layers: Sequence[Descriptor], what: str) -> CachedResult:
    if not isinstance(data, dict):
        raise InvalidDocumentError(what, "is not an object")
    keys = data.get("keys")
    if not isinstance(keys, list) or not keys:
        raise InvalidDocumentError(what, "has no keys")
    created, size = data.get("created"), data.get("size")
    if not isinstance(created, str) or not _TIME.fullmatch(created):
        raise InvalidDocumentError(what, "has no time of creation")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= _MAX_SIZE:
        raise InvalidDocumentError(what, "has no size that is a number of bytes")
    try:
        diff_id = Digest(str(data.get("diffId")))
    except InvalidDigestError as error:
        raise InvalidDocumentError(what, str(error)) from error
    if diff_id.algorithm != "sha256":
        raise InvalidDocumentError(what, "has a diffId that is not sha256")
    return CachedResult(
        keys=tuple(_key(key, what) for key in keys),
        record=Record(
            diff_id=DiffId(diff_id),
            size=size,
            identity=_key(data.get("identity"), what),
            created=created,
        ),
        layer=_layer(data["layer"], layers, what) if "layer" in data else None,
    )


def _key(text: object, what: str) -> CacheKey:
    if not isinstance(text, str) or not _KEY.fullmatch(text):
        raise InvalidDocumentError(what, "has a key that is none")
    return CacheKey(text)


def _layer(place: Any, layers: Sequence[Descriptor], what: str) -> Descriptor:
    if not isinstance(place, int) or isinstance(place, bool) or not 0 <= place < len(layers):
        raise InvalidDocumentError(what, "names a layer that the manifest does not have")
    layer = layers[place]
    if layer.media_type not in _LAYER_TYPES:
        raise InvalidDocumentError(what, f'names a layer of the type "{layer.media_type[:100]}"')
    # No URLs and no embedded bytes: the layer is where the manifest is.
    media_type = mediatypes.layer(mediatypes.compression(layer.media_type))
    return Descriptor(media_type=media_type, digest=layer.digest, size=layer.size)
