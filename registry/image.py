"""Images: small documents read at once, layers left where they are until somebody opens them."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import BinaryIO

from registry.compress import decompressing
from registry.errors import InvalidDocumentError, NotFoundError, TooLargeError
from registry.oci import mediatypes
from registry.oci.config import ImageConfig
from registry.oci.descriptor import Descriptor
from registry.oci.digest import DiffId, Digest
from registry.oci.manifest import MAX_MANIFEST_BYTES, Index, Manifest, parse
from registry.oci.platform import Platform
from registry.store import BlobSink, BlobSource, check_bytes, read_all, verifying_digest

MAX_DEPTH = 4
"""Indexes inside indexes; real ones have one level, and a deeper pile is an attack."""

_ATTESTATION = "vnd.docker.reference.type"
_CHUNK = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One change set: what it is (``diff_id``) and the blob that holds it, perhaps compressed."""

    diff_id: DiffId
    descriptor: Descriptor


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """A manifest, its config and its layers, lowest first."""

    manifest: Manifest
    config: ImageConfig
    config_raw: bytes = field(repr=False)
    """The config's exact bytes; the manifest's digest of them is the image id."""
    layers: tuple[Layer, ...]

    @property
    def id(self) -> Digest:
        """The image id: the digest of the config."""
        return self.manifest.config.digest

    @property
    def descriptor(self) -> Descriptor:
        """The pointer to the manifest."""
        return self.manifest.descriptor


def make_image(manifest: Manifest, config_raw: bytes) -> Image:
    """Join a manifest and its config's bytes.

    Raises:
        InvalidDocumentError: an artifact, or the numbers of layers and diff_ids differ.
    """
    what = f"image {manifest.descriptor.digest}"
    if manifest.config.media_type not in mediatypes.CONFIGS:
        kind = manifest.artifact_type or manifest.config.media_type
        raise InvalidDocumentError(what, f'is an artifact of type "{kind}", not an image')
    config = ImageConfig.parse(config_raw, f"image config {manifest.config.digest}")
    if len(config.diff_ids) != len(manifest.layers):
        raise InvalidDocumentError(
            what,
            f"its manifest has {len(manifest.layers)} layers, its config {len(config.diff_ids)}",
        )
    layers = tuple(
        Layer(diff_id=diff_id, descriptor=descriptor)
        for diff_id, descriptor in zip(config.diff_ids, manifest.layers, strict=True)
    )
    return Image(manifest=manifest, config=config, config_raw=config_raw, layers=layers)


def read_document(source: BlobSource, descriptor: Descriptor) -> Manifest | Index:
    """Read a manifest or an index.

    Raises:
        TooLargeError: before anything is read. InvalidDocumentError, and whatever ``source`` raises.
    """
    what = f"manifest {descriptor.digest}"
    raw = _read_small(source, descriptor, what)
    return parse(raw, descriptor.media_type, what, descriptor.digest.algorithm)


def put_document(sink: BlobSink, document: Manifest | Index) -> Descriptor:
    """Store a manifest or an index whose children are there, and describe it.

    Raises:
        Whatever ``sink`` raises.
    """
    descriptor = document.descriptor
    sink.put(io.BytesIO(document.raw), descriptor)
    return descriptor


def put_whole(sink: BlobSink, document: Manifest | Index) -> Descriptor:
    """Store a manifest or an index as `put_document` does, if all that it names is there.

    Raises:
        NotFoundError: something is not; nothing was stored. And whatever ``sink`` raises.
    """
    if isinstance(document, Index):
        named = document.manifests
    else:
        foreign = mediatypes.is_foreign
        named = (document.config, *(x for x in document.layers if not foreign(x.media_type)))
    for each in named:
        if not sink.has(each):
            kind = "manifest" if mediatypes.is_document(each.media_type) else "blob"
            raise NotFoundError(f"{kind} {each.digest}, which the manifest names", "the target")
    return put_document(sink, document)


class NoPlatformError(NotFoundError):
    """An index has no image for the platform that is wanted; ``offered`` are those that it has some for."""

    def __init__(self, platform: Platform, where: str, offered: tuple[Platform, ...]) -> None:
        super().__init__(f"platform {platform}", f"{where}, which has {_listed(offered)}")
        self.offered = offered


def _listed(platforms: Iterable[Platform | None]) -> str:
    return ", ".join(str(each or "any platform") for each in platforms) or "no images"


def read_image(source: BlobSource, descriptor: Descriptor, platform: Platform | None) -> Image:
    """Read the image that ``descriptor`` is, or that its index has for ``platform``.

    In an index an exact match comes first, then what the platform accepts (of several versions of Windows
    that a wanted one runs, the newest), then older variants of its architecture, the nearest first
    (arm/v6 for arm/v7), then entries that name no platform; among equals the first. Attestations are
    no images. Without ``platform`` the index must leave no choice. A manifest that is no index is
    read whatever its platform.

    Raises:
        NoPlatformError: nothing for the platform; the message lists what there is.
        InvalidDocumentError, TooLargeError, and whatever ``source`` raises.
    """
    for _ in range(MAX_DEPTH):
        document = read_document(source, descriptor)
        if isinstance(document, Manifest):
            what = f"image config {document.config.digest}"
            if document.config.media_type not in mediatypes.CONFIGS:
                return make_image(document, b"")  # raises: an artifact
            return make_image(document, _read_small(source, document.config, what))
        descriptor = choose(document, platform)
    raise InvalidDocumentError(
        f"index {descriptor.digest}", f"is nested more than {MAX_DEPTH} levels deep"
    )


def choose(index: Index, platform: Platform | None) -> Descriptor:
    """Return the entry that `read_image` follows. Raises as it does."""
    entries = [entry for entry in index.manifests if _is_image(entry)]
    where = f"index {index.descriptor.digest}"
    if platform is None:
        if len(entries) != 1:
            offered = _listed(entry.platform for entry in entries)
            raise InvalidDocumentError(where, f"needs a platform to be chosen; it has {offered}")
        return entries[0]
    ranked = [(_rank(platform, entry.platform), entry) for entry in entries]
    usable = [(rank, entry) for rank, entry in ranked if rank is not None]
    if not usable:
        raise NoPlatformError(platform, where, tuple(filter(None, (x.platform for x in entries))))
    return min(usable, key=lambda pair: pair[0])[1]


def _rank(wanted: Platform, offered: Platform | None) -> tuple[int, int, tuple[int, ...]] | None:
    """Return what sorts the best entry first; None for one that will not do."""
    if offered is None:
        return (2, 0, ())
    older = wanted.versions_down_to(offered)
    if older is None:
        return None
    mine, theirs = wanted.normalized(), offered.normalized()
    # Features are not asked for: what Windows calls win32k is a property of the image.
    exact = replace(theirs, os_features=mine.os_features) == mine
    # The newest has the fixes.
    newest = tuple(-number for number in theirs.version) if mine.os_version else ()
    return (0 if exact else 1, older, newest)


def _is_image(entry: Descriptor) -> bool:
    if not (mediatypes.is_manifest(entry.media_type) or mediatypes.is_index(entry.media_type)):
        return False
    unknown = entry.platform is not None and entry.platform.os == "unknown"
    return not unknown and _ATTESTATION not in entry.annotations


def _read_small(source: BlobSource, descriptor: Descriptor, what: str) -> bytes:
    if descriptor.size > MAX_MANIFEST_BYTES:
        raise TooLargeError(what, MAX_MANIFEST_BYTES)
    return read_all(source, descriptor)


def open_layer(source: BlobSource, layer: Layer) -> BinaryIO:
    """Return a stream of the layer's tar, verified while read: both the blob and its diff_id.

    Raises (from read):
        DigestMismatchError, SizeMismatchError, DamagedDataError
    """
    what = f"layer {layer.descriptor.digest}"
    compression = mediatypes.compression(layer.descriptor.media_type)
    stream = decompressing(source.open(layer.descriptor), compression, what)
    if compression == "none" and layer.descriptor.digest == layer.diff_id:
        return stream
    return verifying_digest(stream, layer.diff_id, f"{what} uncompressed")


def check_image(image: Image, source: BlobSource) -> None:
    """Derive every digest, size, diff_id and count of ``image`` again from what ``source`` holds.

    Layers that may not be distributed are passed over where ``source`` does not hold them.

    Raises:
        InvalidDocumentError, DigestMismatchError, SizeMismatchError, DamagedDataError, NotFoundError
    """
    manifest = image.manifest
    read_all(source, manifest.descriptor)
    check_bytes(image.config_raw, manifest.config.digest, "image config")
    read_all(source, manifest.config)
    again = make_image(manifest, image.config_raw)
    if (again.config, again.layers) != (image.config, image.layers):
        raise InvalidDocumentError(f"image {image.id}", "its fields are not those of its documents")
    filled = sum(not entry.empty_layer for entry in image.config.history)
    if image.config.history and filled != len(image.layers):
        raise InvalidDocumentError(
            f"image {image.id}",
            f"its history has {filled} layers, its manifest {len(image.layers)}",
        )
    for layer in dict.fromkeys(image.layers):
        try:
            stream = open_layer(source, layer)
        except NotFoundError:
            if mediatypes.is_foreign(layer.descriptor.media_type):
                continue
            raise
        with stream:
            while stream.read(_CHUNK):
                pass
