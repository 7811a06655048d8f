"""Manifests and indexes: frozen values beside the exact bytes they were read from.

A digest is computed from the raw bytes and never from a re-serialisation; a changed manifest is a
new value with new bytes.

Spec: https://github.com/opencontainers/image-spec/blob/main/manifest.md and image-index.md
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from registry.errors import InvalidDocumentError, TooLargeError
from registry.oci import mediatypes
from registry.oci.descriptor import Descriptor, string_map
from registry.oci.digest import digest_of

MAX_MANIFEST_BYTES = 4 * 1024 * 1024
"""The size that the distribution specification asks registries to support; more is refused."""

MAX_ENTRIES = 10_000
"""Layers of a manifest or entries of an index; far above any real one, below what hurts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """One image (or artifact): a config and layers, lowest layer first."""

    raw: bytes = field(repr=False)
    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)
    artifact_type: str = ""
    subject: Descriptor | None = None
    algorithm: str = "sha256"
    """Of the digest that names it: `sha512` if whoever gave it to us called it so."""

    @property
    def descriptor(self) -> Descriptor:
        """The pointer to this manifest."""
        digest = digest_of(self.raw, self.algorithm)
        return Descriptor(media_type=self.media_type, digest=digest, size=len(self.raw))

    @classmethod
    def build(
        cls,
        *,
        config: Descriptor,
        layers: Iterable[Descriptor],
        annotations: Mapping[str, str] | None = None,
        artifact_type: str = "",
        subject: Descriptor | None = None,
        media_type: str = mediatypes.OCI_MANIFEST,
    ) -> Manifest:
        """Make a manifest and its bytes; the same fields give the same bytes."""
        data: dict[str, Any] = {"schemaVersion": 2, "mediaType": media_type}
        if artifact_type:
            data["artifactType"] = artifact_type
        data["config"] = config.to_json()
        data["layers"] = [layer.to_json() for layer in layers]
        if subject is not None:
            data["subject"] = subject.to_json()
        if annotations:
            data["annotations"] = dict(sorted(annotations.items()))
        return parse_manifest(encode(data))


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """A list of manifests, usually one for each platform."""

    raw: bytes = field(repr=False)
    media_type: str
    manifests: tuple[Descriptor, ...]
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)
    artifact_type: str = ""
    subject: Descriptor | None = None
    algorithm: str = "sha256"
    """Of the digest that names it: `sha512` if whoever gave it to us called it so."""

    @property
    def descriptor(self) -> Descriptor:
        """The pointer to this index."""
        digest = digest_of(self.raw, self.algorithm)
        return Descriptor(media_type=self.media_type, digest=digest, size=len(self.raw))

    @classmethod
    def build(
        cls,
        *,
        manifests: Iterable[Descriptor],
        annotations: Mapping[str, str] | None = None,
        media_type: str = mediatypes.OCI_INDEX,
    ) -> Index:
        """Make an index and its bytes; the same fields give the same bytes."""
        data: dict[str, Any] = {
            "schemaVersion": 2,
            "mediaType": media_type,
            "manifests": [manifest.to_json() for manifest in manifests],
        }
        if annotations:
            data["annotations"] = dict(sorted(annotations.items()))
        return parse_index(encode(data))


def encode(data: Mapping[str, Any]) -> bytes:
    """Return compact JSON bytes, keys in the order given."""
    return json.dumps(data, separators=(",", ":"), ensure_ascii=False).encode()


def load_object(raw: bytes, what: str) -> dict[str, Any]:
    """Decode a JSON object from outside.

    Raises:
        TooLargeError: more than ``MAX_MANIFEST_BYTES``.
        InvalidDocumentError: not a JSON object, or nested so deeply that it is an attack.
    """
    if len(raw) > MAX_MANIFEST_BYTES:
        raise TooLargeError(what, MAX_MANIFEST_BYTES)
    try:
        data = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise InvalidDocumentError(what, f"is not JSON ({error})") from error
    if not isinstance(data, dict):
        raise InvalidDocumentError(what, "is not a JSON object")
    return data


def parse(
    raw: bytes, media_type: str = "", what: str = "manifest", algorithm: str = "sha256"
) -> Manifest | Index:
    """Read a manifest or an index, told apart by their media type.

    ``media_type`` is what the carrier said (a Content-Type or a descriptor); empty is unknown. Bytes
    that could be read as both kinds are refused (CVE-2021-41190). ``algorithm`` is that of the digest
    under which it was asked for.

    Raises:
        InvalidDocumentError, TooLargeError
    """
    data = load_object(raw, what)
    inside = data.get("mediaType")
    if inside and media_type and inside != media_type:
        raise InvalidDocumentError(what, f'says it is "{inside}" but was sent as "{media_type}"')
    kind = str(inside or media_type)
    if "manifests" in data and ("layers" in data or "config" in data):
        raise InvalidDocumentError(what, "is a manifest and an index at once")
    if mediatypes.is_index(kind) or (not kind and "manifests" in data):
        return parse_index(raw, media_type, what, algorithm)
    if mediatypes.is_manifest(kind) or (not kind and "config" in data):
        return parse_manifest(raw, media_type, what, algorithm)
    raise InvalidDocumentError(what, f'has the unsupported media type "{kind or "none"}"')


def parse_manifest(
    raw: bytes, media_type: str = "", what: str = "manifest", algorithm: str = "sha256"
) -> Manifest:
    """Read one image's manifest. Raises as `parse`."""
    data = load_object(raw, what)
    _check_version(data, what)
    return Manifest(
        raw=raw,
        media_type=str(data.get("mediaType") or media_type or mediatypes.OCI_MANIFEST),
        config=Descriptor.from_json(data.get("config"), f"{what} config"),
        layers=_descriptors(data.get("layers"), f"{what} layer"),
        annotations=string_map(data.get("annotations"), f"{what} annotations"),
        artifact_type=str(data.get("artifactType") or ""),
        subject=_subject(data, what),
        algorithm=algorithm,
    )


def parse_index(
    raw: bytes, media_type: str = "", what: str = "index", algorithm: str = "sha256"
) -> Index:
    """Read an index. Raises as `parse`."""
    data = load_object(raw, what)
    _check_version(data, what)
    return Index(
        raw=raw,
        media_type=str(data.get("mediaType") or media_type or mediatypes.OCI_INDEX),
        manifests=_descriptors(data.get("manifests"), f"{what} entry"),
        annotations=string_map(data.get("annotations"), f"{what} annotations"),
        artifact_type=str(data.get("artifactType") or ""),
        subject=_subject(data, what),
        algorithm=algorithm,
    )


def _check_version(data: Mapping[str, Any], what: str) -> None:
    if data.get("schemaVersion") != 2:  # noqa: PLR2004 - the only version there is
        raise InvalidDocumentError(what, "schemaVersion is not 2")


def _descriptors(value: object, what: str) -> tuple[Descriptor, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise InvalidDocumentError(what, "is not in a list")
    if len(value) > MAX_ENTRIES:
        raise InvalidDocumentError(what, f"is one of {len(value)}; the limit is {MAX_ENTRIES}")
    return tuple(
        Descriptor.from_json(item, f"{what} {number}") for number, item in enumerate(value, 1)
    )


def _subject(data: Mapping[str, Any], what: str) -> Descriptor | None:
    subject = data.get("subject")
    return None if subject is None else Descriptor.from_json(subject, f"{what} subject")
