"""Attaching files to an image: an artifact whose layers are the files and whose subject is the image.

Titles are those of ORAS, so that other tools find the files' names.

Spec: https://github.com/opencontainers/image-spec/blob/main/manifest.md#guidelines-for-artifact-usage
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Self

from registry.errors import InvalidDocumentError, StoreError
from registry.files import store_errors
from registry.image import put_document
from registry.oci.descriptor import Descriptor
from registry.oci.digest import sha256
from registry.oci.manifest import Manifest
from registry.oci.mediatypes import OCI_EMPTY, OCTETS
from registry.store import BlobSink, describe

TITLE = "org.opencontainers.image.title"

_EMPTY = Descriptor(media_type=OCI_EMPTY, digest=sha256(b"{}"), size=2, data=b"{}")
_MEDIA_TYPE = re.compile(r"[A-Za-z0-9][\w!#$&^.+-]{0,126}/[A-Za-z0-9][\w!#$&^.+-]{0,126}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachedFile:
    """A file to be a layer of an artifact."""

    path: Path
    media_type: str = OCTETS

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `FILE[:MEDIATYPE]`.

        Raises:
            InvalidDocumentError: what follows the last colon has a slash, but is no media type.
        """
        path, colon, media_type = text.rpartition(":")
        if not colon or "/" not in media_type or os.path.lexists(text):
            return cls(path=Path(text))
        return cls(path=Path(path), media_type=check_media_type(media_type))

    @property
    def title(self) -> str:
        """What readers call the file: its path, if that stays inside a folder, else its name."""
        path = PurePosixPath(self.path)
        inside = not path.is_absolute() and ".." not in path.parts
        return str(path) if inside else path.name


def attach(
    target: BlobSink,
    subject: Descriptor,
    files: Iterable[AttachedFile],
    *,
    artifact_type: str,
    annotations: Mapping[str, str] | None = None,
) -> Descriptor:
    """Put an artifact with ``files`` that refers to ``subject``; return its descriptor.

    The same files give the same artifact, which is then there once.

    Raises:
        InvalidDocumentError: the artifact type is no media type, or two files have one title.
        StoreError: a file cannot be read. And whatever ``target`` raises.
    """
    check_media_type(artifact_type)
    chosen = tuple(files)
    titles = [file.title for file in chosen]
    for title in titles:
        if titles.count(title) > 1:
            raise InvalidDocumentError("the artifact", f'would have two files called "{title}"')
    # All are read before any is sent: a file that is not there is told first.
    layers = [_described(file) for file in chosen]
    for file, layer in zip(chosen, layers, strict=True):
        if not target.has(layer):
            with store_errors(file.path), open(file.path, "rb") as stream:
                target.put(stream, layer)
    if not target.has(_EMPTY):
        target.put(io.BytesIO(b"{}"), _EMPTY)
    manifest = Manifest.build(
        config=_EMPTY,
        layers=layers or (_EMPTY,),
        annotations=annotations,
        artifact_type=artifact_type,
        subject=Descriptor(media_type=subject.media_type, digest=subject.digest, size=subject.size),
    )
    return put_document(target, manifest)


def check_media_type(text: str) -> str:
    """Return ``text`` if it is a media type by RFC 6838.

    Raises:
        InvalidDocumentError: it is not.
    """
    if not _MEDIA_TYPE.fullmatch(text):
        raise InvalidDocumentError(f'"{text}"', "is not a media type, such as example/sbom+json")
    return text


def _described(file: AttachedFile) -> Descriptor:
    if file.path.is_dir():
        raise StoreError(str(file.path), "is a folder; files are attached one by one")
    with store_errors(file.path), open(file.path, "rb") as stream:
        return replace(describe(stream, file.media_type), annotations={TITLE: file.title})
