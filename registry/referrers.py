"""Referrers: manifests that name another as their `subject`, such as signatures and SBOMs.

A registry lists them by an API of its own. Where it has none, the client keeps the list itself, in an
index under the fallback tag.

Spec: https://github.com/opencontainers/distribution-spec/blob/main/spec.md#referrers-tag-schema
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace

from registry.errors import RegistryError
from registry.image import read_document
from registry.oci import mediatypes
from registry.oci.descriptor import Descriptor
from registry.oci.digest import Digest
from registry.oci.manifest import Index, Manifest
from registry.store import BlobSource

_MAX_ALGORITHM, _MAX_ENCODED = 32, 64
_DERIVED_TAG = re.compile(r"sha(?:256|512)-[0-9a-f]{64}(?:\..+)?", re.ASCII)


def fallback_tag(subject: Digest) -> str:
    """Return the tag that lists the referrers of ``subject``: `sha256-<hex>`."""
    return f"{subject.algorithm[:_MAX_ALGORITHM]}-{subject.hex[:_MAX_ENCODED]}"


def is_derived_tag(tag: str) -> bool:
    """Say whether ``tag`` is a fallback tag, or one that a tool makes from it: cosign's end in `.sig`."""
    return _DERIVED_TAG.fullmatch(tag) is not None


def listed(document: Manifest | Index) -> Descriptor:
    """Return how a list of referrers names ``document``: with its type and its annotations."""
    artifact_type = document.artifact_type
    if not artifact_type and isinstance(document, Manifest):
        artifact_type = document.config.media_type
    return replace(
        document.descriptor, artifact_type=artifact_type, annotations=document.annotations
    )


def with_listed(index: Index | None, entry: Descriptor) -> Index:
    """Return a fallback index that lists ``entry``: ``index`` itself if it does already."""
    entries = index.manifests if index is not None else ()
    if index is not None and any(known.digest == entry.digest for known in entries):
        return index
    return Index.build(
        manifests=(*entries, entry), annotations=index.annotations if index is not None else None
    )


def without_listed(index: Index, digest: Digest) -> Index:
    """Return a fallback index that does not list ``digest``: ``index`` itself if it does not."""
    entries = tuple(known for known in index.manifests if known.digest != digest)
    if len(entries) == len(index.manifests):
        return index
    return Index.build(manifests=entries, annotations=index.annotations)


def of_type(entries: Iterable[Descriptor], artifact_type: str) -> Iterator[Descriptor]:
    """Yield the entries of one artifact type; of all types if it is empty."""
    return (each for each in entries if artifact_type in ("", each.artifact_type))


def subject_of(source: BlobSource, descriptor: Descriptor) -> tuple[Digest, Descriptor] | None:
    """Return what ``descriptor`` refers to, and how it is listed there; None if it is no referrer.

    Raises:
        InvalidDocumentError, TooLargeError, and whatever ``source`` raises.
    """
    if not mediatypes.is_document(descriptor.media_type):
        return None
    document = read_document(source, descriptor)
    return None if document.subject is None else (document.subject.digest, listed(document))


def found_in(
    source: BlobSource, entries: Iterable[Descriptor], subject: Digest
) -> Iterator[Descriptor]:
    """Yield, listed, those manifests among ``entries`` whose subject is ``subject``.

    For stores that have no list of referrers, but few manifests. What cannot be read is no referrer.
    """
    for entry in {entry.digest: entry for entry in entries}.values():
        with contextlib.suppress(RegistryError):
            found = subject_of(source, entry)
            if found is not None and found[0] == subject:
                yield found[1]
