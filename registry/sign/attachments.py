"""Where signatures and attestations lie: beside their image, in one of two forms.

`tag` is cosign's: a manifest under the tag `sha256-<hex>.sig` (or `.att`) whose layers are the signatures;
adding one replaces the manifest. `referrers` is OCI 1.1's: each is a manifest of its own whose `subject`
is the image, so that no writer can lose another's.
"""

from __future__ import annotations

import contextlib
import io
import random
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from registry.errors import (
    DigestMismatchError,
    InvalidDocumentError,
    NotFoundError,
    SizeMismatchError,
    TooLargeError,
)
from registry.image import put_document, read_document
from registry.oci import mediatypes
from registry.oci.descriptor import Descriptor
from registry.oci.digest import Digest, sha256
from registry.oci.manifest import Manifest, encode
from registry.sign.errors import SignatureError
from registry.store import BlobSink, Referrers, Source, Target, read_all

Form = Literal["tag", "referrers"]
FORMS: tuple[Form, ...] = ("tag", "referrers")

MAX_ATTACHMENTS = 200
"""Of one image; each costs a request and a verification, and anybody who can push may add them."""

_ATTEMPTS = 20
_SETTLES, _MIN_PAUSE_S, _MAX_PAUSE_S = 3, 0.05, 2.0
_WRITING = threading.Lock()
"""At least the writers of one process take turns."""
_UNREADABLE = (
    NotFoundError,
    InvalidDocumentError,
    DigestMismatchError,
    SizeMismatchError,
    TooLargeError,
)
_EPOCH = "0001-01-01T00:00:00Z"


class Store(Source, Target, Protocol):
    """Where images and what is attached to them can be read and written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of attachment."""

    name: str
    """What messages call it."""
    suffix: str
    """Of its tag; empty if it is only among referrers."""
    media_type: str
    """Of a layer."""
    artifact_type: str
    """Of a referrer; empty if it is only under a tag."""
    limit: int
    """Bytes of one attachment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """One signature or attestation."""

    raw: bytes = field(repr=False)
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)


def attachment_tag(image: Digest, kind: Kind) -> str:
    """Return the tag of cosign's form: `sha256-<hex>.sig`.

    Raises:
        SignatureError: the digest is longer than a tag can be.
    """
    if image.algorithm != "sha256":
        raise SignatureError(f"image {image}", "only digests of sha256 have room in cosign's tags")
    return f"{image.algorithm}-{image.hex}.{kind.suffix}"


def read_attachments(
    source: Source, image: Descriptor, kind: Kind, forms: Collection[Form] = FORMS
) -> Iterator[Attachment]:
    """Yield what is attached to ``image`` in one of ``forms``, unverified.

    Raises:
        InvalidDocumentError: there are more than `MAX_ATTACHMENTS`.
        TooLargeError, and whatever ``source`` raises.
    """
    count = 0
    for manifest in _manifests(source, image, kind, forms):
        for layer in manifest.layers:
            if layer.media_type != kind.media_type:
                continue
            count += 1
            if count > MAX_ATTACHMENTS:
                raise _too_many(image, kind)
            if layer.size > kind.limit:
                raise TooLargeError(f"{kind.name} {layer.digest}", kind.limit)
            yield Attachment(raw=read_all(source, layer), annotations=layer.annotations)


def attach(
    store: Store, image: Descriptor, kind: Kind, attachment: Attachment, form: Form
) -> Descriptor:
    """Add an attachment to ``image``, beside those it has; return the manifest that now holds it.

    Raises:
        SignatureError: other writers were always faster. And whatever ``store`` raises.
    """
    layer = put_blob(store, attachment.raw, kind.media_type)
    layer = Descriptor(
        media_type=layer.media_type,
        digest=layer.digest,
        size=layer.size,
        annotations=dict(attachment.annotations),
    )
    if form == "referrers":
        # As cosign has it: the type is that of the config.
        config = put_blob(store, _config((layer,)), kind.artifact_type)
        manifest = Manifest.build(config=config, layers=(layer,), subject=subject_of(image))
        put_document(store, manifest)
        return manifest.descriptor
    for turn in range(_ATTEMPTS):
        began = time.monotonic()
        with _WRITING:
            held = _append(store, image, kind, layer)
        if held is not None:
            return held
        # A registry cannot change a tag only if it is still what we have read. So the next turn looks
        # whether another writer has put its own in the same place, later than others need from
        # reading to writing.
        pause = min(max(_SETTLES * (time.monotonic() - began), _MIN_PAUSE_S), _MAX_PAUSE_S)
        time.sleep(pause * random.uniform(1, 1 + turn))  # noqa: S311 - spreads writers out
    tag = attachment_tag(image.digest, kind)
    raise SignatureError(f"image {image.digest}", f"others kept replacing its tag {tag}")


def _append(store: Store, image: Descriptor, kind: Kind, layer: Descriptor) -> Descriptor | None:
    """Return the manifest under the tag if ``layer`` is in it; else put one there that has it."""
    known = _tagged(store, image, kind)
    layers = known.layers if known is not None else ()
    if known is not None and layer in layers:
        return known.descriptor
    layers = (*layers, layer)
    manifest = Manifest.build(
        config=put_blob(store, _config(layers), mediatypes.OCI_CONFIG),
        layers=layers,
        annotations=known.annotations if known is not None else None,
    )
    put_document(store, manifest)
    store.tag(manifest.descriptor, attachment_tag(image.digest, kind))
    return None


def _manifests(
    source: Source, image: Descriptor, kind: Kind, forms: Collection[Form]
) -> Iterator[Manifest]:
    if "tag" in forms and kind.suffix and image.digest.algorithm == "sha256":
        tagged = _tagged(source, image, kind)
        if tagged is not None:
            yield tagged
    if "referrers" not in forms or not kind.artifact_type or not isinstance(source, Referrers):
        return
    for number, entry in enumerate(source.referrers(image.digest, kind.artifact_type)):
        if number == MAX_ATTACHMENTS:
            raise _too_many(image, kind)
        try:
            document = read_document(source, entry)
        except _UNREADABLE:
            continue  # anybody who can push may list anything; it must not hide the others
        # A list can name what refers to something else.
        refers = document.subject is not None and document.subject.digest == image.digest
        if refers and isinstance(document, Manifest):
            yield document


def _too_many(image: Descriptor, kind: Kind) -> InvalidDocumentError:
    reason = f"has more than {MAX_ATTACHMENTS} {kind.name}s"
    return InvalidDocumentError(f"image {image.digest}", reason)


def _tagged(source: Source, image: Descriptor, kind: Kind) -> Manifest | None:
    with contextlib.suppress(NotFoundError):
        descriptor = source.resolve(attachment_tag(image.digest, kind))
        document = read_document(source, descriptor)
        if isinstance(document, Manifest):
            return document
        raise InvalidDocumentError(f"{kind.name}s of {image.digest}", "are in an index")
    return None


def subject_of(image: Descriptor) -> Descriptor:
    """Return ``image`` as a referrer names it: without what is said of it elsewhere."""
    return Descriptor(media_type=image.media_type, digest=image.digest, size=image.size)


def put_blob(store: BlobSink, raw: bytes, media_type: str) -> Descriptor:
    """Store ``raw`` if it is not there, and describe it."""
    descriptor = Descriptor(media_type=media_type, digest=sha256(raw), size=len(raw))
    if not store.has(descriptor):
        store.put(io.BytesIO(raw), descriptor)
    return descriptor


def _config(layers: tuple[Descriptor, ...]) -> bytes:
    """Return an image config as cosign writes it: registries that know only images take it, too."""
    return encode(
        {
            "architecture": "",
            "created": _EPOCH,
            "history": [{"created": _EPOCH} for _ in layers],
            "os": "",
            "rootfs": {"type": "layers", "diff_ids": [str(layer.digest) for layer in layers]},
            "config": {},
        }
    )
