"""Making and changing indexes: each change is a new value, and fields that we do not know stay."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from registry.errors import InvalidDocumentError, NotFoundError
from registry.image import read_document
from registry.oci import mediatypes
from registry.oci.config import ImageConfig
from registry.oci.descriptor import Descriptor
from registry.oci.digest import Digest
from registry.oci.manifest import MAX_MANIFEST_BYTES, Index, encode, parse_index
from registry.oci.platform import Platform
from registry.store import BlobSource, Source, read_all

ATTESTED = "vnd.docker.reference.digest"
"""On BuildKit's attestations, entries of an index: the entry that they are about."""


def read_index(source: Source, tag_or_digest: str) -> Index:
    """Read the index of that name.

    Raises:
        InvalidDocumentError: it is a manifest. NotFoundError, and whatever ``source`` raises.
    """
    document = read_document(source, source.resolve(tag_or_digest))
    if not isinstance(document, Index):
        raise InvalidDocumentError(f'"{tag_or_digest}"', "is one image's manifest, not an index")
    return document


def entries_for(source: BlobSource, descriptor: Descriptor) -> tuple[Descriptor, ...]:
    """Return how an index lists ``descriptor``: a manifest with its platform, an index's entries.

    Raises:
        InvalidDocumentError, TooLargeError, and whatever ``source`` raises.
    """
    document = read_document(source, descriptor)
    if isinstance(document, Index):
        return document.manifests
    config = document.config
    platform = None
    if config.media_type in mediatypes.CONFIGS and config.size <= MAX_MANIFEST_BYTES:
        found = ImageConfig.parse(read_all(source, config), f"image config {config.digest}")
        platform = found.platform
    return (replace(document.descriptor, platform=platform, artifact_type=document.artifact_type),)


def create_index(
    entries: Iterable[Descriptor], annotations: Mapping[str, str] | None = None
) -> Index:
    """Make an index; an entry given twice is in it once.

    Raises:
        InvalidDocumentError: two entries for one platform, of which only one would ever be used.
    """
    listed = tuple({entry.digest: entry for entry in entries}.values())
    seen: dict[Platform, Descriptor] = {}
    for entry in filter(_runs, listed):
        platform = entry.platform
        assert platform is not None  # noqa: S101 - `_runs` says so
        other = seen.setdefault(platform.normalized(), entry)
        if other is not entry:
            reason = f"would have two images for {platform}, {other.digest} and {entry.digest}"
            raise InvalidDocumentError("the index", reason)
    return Index.build(manifests=listed, annotations=annotations)


def with_entries(index: Index, entries: Iterable[Descriptor]) -> tuple[Index, tuple[Digest, ...]]:
    """Return ``index`` with more entries, and the digests of those whose place they took.

    An image takes the place of one for the same platform, whose attestations go too.
    """
    new = {entry.digest: entry for entry in entries}
    platforms = {e.platform.normalized() for e in new.values() if e.platform and _runs(e)}
    replaced = [
        entry.digest
        for entry in index.manifests
        if _runs(entry)
        and entry.platform
        and entry.platform.normalized() in platforms
        and entry.digest not in new
    ]
    kept = without_entries(index, replaced) if replaced else index
    known = {entry.digest for entry in kept.manifests}
    added = [entry.to_json() for entry in new.values() if entry.digest not in known]
    data = _data(kept)
    data["manifests"] = [*(data.get("manifests") or []), *added]
    return _parse(data, index), tuple(replaced)


def without_entries(index: Index, digests: Iterable[Digest]) -> Index:
    """Return ``index`` without the entries of these digests and their attestations."""
    gone = set(digests)
    data = _data(index)
    data["manifests"] = [
        item
        for item, entry in zip(data["manifests"], index.manifests, strict=True)
        if entry.digest not in gone and entry.annotations.get(ATTESTED) not in gone
    ]
    return _parse(data, index)


def annotated(
    index: Index,
    *,
    entry: Digest | None = None,
    annotations: Mapping[str, str],
    removed: Iterable[str] = (),
    platform: Platform | None = None,
) -> Index:
    """Return ``index`` with annotations set and removed, on itself or on one entry.

    ``platform`` becomes that entry's.
    """
    data = _data(index)
    changed = data
    if entry is not None:
        numbers = [n for n, each in enumerate(index.manifests) if each.digest == entry]
        changed = data["manifests"][numbers[0]]
        if platform is not None:
            changed["platform"] = platform.to_json()
    texts = dict(changed.get("annotations") or {}) | dict(annotations)
    for name in removed:
        texts.pop(name, None)
    changed.pop("annotations", None)
    if texts:
        changed["annotations"] = dict(sorted(texts.items()))
    return _parse(data, index)


def find_entries(index: Index, text: str) -> tuple[Digest, ...]:
    """Return the digests of the entries that a digest or a platform means.

    Raises:
        NotFoundError: none; the message lists what there is. InvalidDocumentError: no platform.
    """
    if ":" in text:
        found = [entry.digest for entry in index.manifests if entry.digest == text]
    else:
        platform = Platform.parse(text)
        found = [
            entry.digest
            for entry in index.manifests
            if entry.platform is not None and platform.names(entry.platform)
        ]
    if not found:
        offered = ", ".join(str(entry.platform or entry.digest) for entry in index.manifests)
        raise NotFoundError(text, f"the index, which has {offered or 'no entries'}")
    return tuple(dict.fromkeys(found))


def _runs(entry: Descriptor) -> bool:
    """Say whether an entry is an image for a platform, and not an attestation."""
    return entry.platform is not None and ATTESTED not in entry.annotations


def _data(index: Index) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(index.raw)
    return data


def _parse(data: Mapping[str, Any], index: Index) -> Index:
    return parse_index(encode(data), index.media_type)
