"""Docker's first manifest format, read only: made into the second, which everything else speaks.

Registries still hold images that were pushed before 2016. The format lists layers newest first, with a
JSON text about each; sizes and diff_ids are not in it. Its signature is by a key that nobody knows, so
it is not looked at: what is asked for by digest is verified by that.

Spec: https://distribution.github.io/distribution/spec/deprecated-schema-v1/
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from typing import Any

from registry.errors import InvalidDigestError, InvalidDocumentError
from registry.oci import mediatypes
from registry.oci.descriptor import Descriptor
from registry.oci.digest import DiffId, Digest, sha256
from registry.oci.manifest import Manifest, encode, load_object

MAX_LAYERS = 1000
"""Of one image; Docker itself had a limit of 127."""

_EMPTY_LAYER = "sha256:a3ed95caeb02ffe68cdd9fd84406680ae93d633cb16422d00e8a7c22955b46d4"
"""What Docker wrote for instructions that change no files."""

_NOT_IN_CONFIG = ("id", "parent", "Size", "parent_id", "layer_id", "throwaway")

DescribeLayer = Callable[[Digest], tuple[int, DiffId]]
"""Returns a layer's size and diff_id."""


def is_schema1(raw: bytes) -> bool:
    """Say whether ``raw`` is a manifest of that format, whatever it was sent as, and of no other."""
    if b'"fsLayers"' not in raw:
        return False
    data = load_object(raw, "manifest")
    others = ("config", "layers", "manifests", "mediaType")
    return data.get("schemaVersion") == 1 and not any(key in data for key in others)


def signed_payload(raw: bytes, what: str) -> bytes:
    """Return the bytes that the manifest's digest is of: those that were signed.

    Raises:
        InvalidDocumentError: the signature does not say which.
    """
    signatures = load_object(raw, what).get("signatures")
    if not signatures:
        return raw
    try:
        protected: Any = json.loads(_decode(signatures[0]["protected"]))
        length, tail = int(protected["formatLength"]), _decode(protected["formatTail"])
    except (ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
        raise InvalidDocumentError(what, "its signature cannot be read") from error
    return raw[: max(0, length)] + tail


def convert(raw: bytes, what: str, describe: DescribeLayer) -> tuple[Manifest, bytes]:
    """Return the image as a manifest of Docker's second format, and its config.

    Raises:
        InvalidDocumentError: it breaks its specification; and whatever ``describe`` raises.
    """
    data = load_object(raw, what)
    digests, texts = _list(data, "fsLayers", what), _list(data, "history", what)
    if not digests or len(digests) != len(texts) or len(digests) > MAX_LAYERS:
        raise InvalidDocumentError(what, f"has {len(digests)} layers and {len(texts)} histories")
    images = [_image(text.get("v1Compatibility"), what) for text in texts]
    known: dict[Digest, tuple[int, DiffId]] = {}
    layers, diff_ids, history = [], [], []
    for entry, image in zip(reversed(digests), reversed(images), strict=True):
        try:
            digest = Digest(str(entry.get("blobSum")))
        except InvalidDigestError as error:
            raise InvalidDocumentError(what, str(error)) from error
        empty = image.get("throwaway") is True or digest == _EMPTY_LAYER
        history.append(_history(image, empty=empty))
        if empty:
            continue
        if digest not in known:
            known[digest] = describe(digest)
        size, diff_id = known[digest]
        media_type = mediatypes.DOCKER_LAYER_GZIP
        layers.append(Descriptor(media_type=media_type, digest=digest, size=size))
        diff_ids.append(diff_id)
    fields = {key: value for key, value in images[0].items() if key not in _NOT_IN_CONFIG}
    fields |= {"rootfs": {"type": "layers", "diff_ids": diff_ids}, "history": history}
    config = encode(fields)
    described = Descriptor(
        media_type=mediatypes.DOCKER_CONFIG, digest=sha256(config), size=len(config)
    )
    made = Manifest.build(config=described, layers=layers, media_type=mediatypes.DOCKER_MANIFEST)
    return made, config


def _history(image: Mapping[str, Any], *, empty: bool) -> dict[str, Any]:
    ran = image.get("container_config")
    words = ran.get("Cmd") if isinstance(ran, Mapping) else None
    command = " ".join(map(str, words)) if isinstance(words, list) else ""
    said = {key: image.get(key) for key in ("created", "author", "comment")}
    entry = {key: value for key, value in said.items() if isinstance(value, str) and value}
    if command:
        entry["created_by"] = command
    return entry | ({"empty_layer": True} if empty else {})


def _list(data: Mapping[str, Any], key: str, what: str) -> list[Mapping[str, Any]]:
    value = data.get(key)
    if not isinstance(value, list) or not all(isinstance(item, Mapping) for item in value):
        raise InvalidDocumentError(what, f'"{key}" is not a list of objects')
    return value


def _image(text: object, what: str) -> dict[str, Any]:
    return load_object(str(text).encode(), f"{what} history")


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
