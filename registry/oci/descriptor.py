"""Descriptors: typed pointers to bytes held in some store.

Spec: https://github.com/opencontainers/image-spec/blob/main/descriptor.md
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from registry.errors import InvalidDigestError, InvalidDocumentError
from registry.oci.digest import Digest
from registry.oci.platform import Platform

_KNOWN = frozenset(
    ("mediaType", "digest", "size", "urls", "annotations", "platform", "data", "artifactType")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptor:
    """Media type, digest and size of some bytes, and what else its author said about them."""

    media_type: str
    digest: Digest
    size: int
    """Length in bytes of the content exactly as stored, so compressed for most layers."""
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)
    urls: tuple[str, ...] = ()
    platform: Platform | None = None
    data: bytes | None = None
    artifact_type: str = ""
    unknown: Mapping[str, object] = field(default_factory=dict, hash=False, repr=False)
    """Fields this version does not know; written back unchanged."""

    @classmethod
    def from_json(cls, data: object, what: str = "descriptor") -> Descriptor:
        """Read one descriptor object.

        Raises:
            InvalidDocumentError: a field is missing or of the wrong kind; ``what`` names the place.
        """
        if not isinstance(data, Mapping):
            raise InvalidDocumentError(what, "is not an object")
        media_type, size = data.get("mediaType"), data.get("size")
        if not isinstance(media_type, str) or not media_type:
            raise InvalidDocumentError(what, "has no mediaType")
        if not isinstance(size, int) or isinstance(size, bool) or size < 0:
            raise InvalidDocumentError(what, "has no size that is a number of bytes")
        try:
            digest = Digest(str(data.get("digest", "")))
        except InvalidDigestError as error:
            raise InvalidDocumentError(what, str(error)) from error
        platform, urls = data.get("platform"), data.get("urls")
        if urls is not None and not isinstance(urls, list):
            raise InvalidDocumentError(f"{what} urls", "is not a list")
        return cls(
            media_type=media_type,
            digest=digest,
            size=size,
            annotations=string_map(data.get("annotations"), f"{what} annotations"),
            urls=tuple(str(url) for url in urls or ()),
            platform=Platform.from_json(platform) if isinstance(platform, Mapping) else None,
            data=_embedded(data.get("data"), what),
            artifact_type=str(data.get("artifactType") or ""),
            unknown={key: value for key, value in data.items() if key not in _KNOWN},
        )

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object in the specification's order, empty fields left out."""
        data: dict[str, Any] = {
            "mediaType": self.media_type,
            "digest": str(self.digest),
            "size": self.size,
        }
        if self.urls:
            data["urls"] = list(self.urls)
        if self.annotations:
            data["annotations"] = dict(self.annotations)
        if self.data is not None:
            data["data"] = base64.b64encode(self.data).decode()
        if self.platform is not None:
            data["platform"] = self.platform.to_json()
        if self.artifact_type:
            data["artifactType"] = self.artifact_type
        return data | dict(self.unknown)


def string_map(value: object, what: str) -> dict[str, str]:
    """Read an object of strings; absent and null are empty.

    Raises:
        InvalidDocumentError: anything else.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(
        isinstance(key, str) and isinstance(text, str) for key, text in value.items()
    ):
        raise InvalidDocumentError(what, "is not an object of strings")
    return dict(value)


def _embedded(value: object, what: str) -> bytes | None:
    if value is None:
        return None
    try:
        return base64.b64decode(str(value), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidDocumentError(f"{what} data", "is not base64") from error
