"""The OCI image layout: a folder with `oci-layout`, `index.json` and `blobs/`.

Spec: https://github.com/opencontainers/image-spec/blob/main/image-layout.md
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from registry.blobs import BlobDirectory
from registry.errors import (
    InvalidDigestError,
    InvalidDocumentError,
    InvalidReferenceError,
    NotFoundError,
)
from registry.files import atomic_write, locked_directory, read_limited, store_errors
from registry.image import read_document
from registry.oci.descriptor import Descriptor
from registry.oci.digest import Digest
from registry.oci.manifest import MAX_MANIFEST_BYTES, Index, encode, load_object, parse, parse_index
from registry.reference import Reference
from registry.referrers import fallback_tag, found_in, of_type, subject_of
from registry.store import BlobSource

REF_NAME = "org.opencontainers.image.ref.name"
IMAGE_NAME = "io.containerd.image.name"
"""The whole reference, which docker and containerd write beside the tag."""

MARKER_NAME = "oci-layout"
INDEX_NAME = "index.json"
MARKER = encode({"imageLayoutVersion": "1.0.0"})


class OciLayout:
    """A store in a folder. It is made when first written to; several processes may write at once.

    ``durable`` content survives a power cut; otherwise an export is as safe as any copied file.
    """

    def __init__(self, path: Path, *, durable: bool = False) -> None:
        self._path = path
        self._durable = durable
        # Half-written blobs lie in the folder itself, so that no empty one is left in it.
        self._blobs = BlobDirectory(path / "blobs", ingest=path, durable=durable)

    def has(self, descriptor: Descriptor) -> bool:
        return self._blobs.holds(descriptor)

    def open(self, descriptor: Descriptor) -> BinaryIO:
        return self._blobs.open(descriptor)

    def put(self, stream: BinaryIO, expected: Descriptor) -> None:
        self._prepare()
        self._blobs.put(stream, expected)
        # Nothing else leads to a referrer, so it is listed for its own sake.
        found = subject_of(self, expected)
        if found is not None:
            self._change(lambda entries: with_entry(entries, found[1], ""))

    def put_new(self, stream: BinaryIO, media_type: str) -> Descriptor:
        self._prepare()
        return self._blobs.put_new(stream, media_type)

    def index(self) -> Index:
        """Return what the layout lists.

        Raises:
            NotFoundError: not a layout. InvalidDocumentError, TooLargeError, StoreError
        """
        with store_errors(self._path):
            try:
                marker = self._read(MARKER_NAME)
                check_marker(marker, str(self._path))
                return parse_index(self._read(INDEX_NAME), what=str(self._path / INDEX_NAME))
            except (FileNotFoundError, NotADirectoryError) as error:
                raise NotFoundError("OCI image layout", str(self._path)) from error

    def resolve(self, tag_or_digest: str) -> Descriptor:
        """Return what a tag or digest names; empty means the only image, or `latest`.

        Raises:
            NotFoundError, InvalidDocumentError, TooLargeError, StoreError
        """
        index = self.index()
        try:
            return find_entry(index, tag_or_digest, str(self._path))
        except NotFoundError:
            # What only another index lists is found by its digest.
            with contextlib.suppress(InvalidDigestError, FileNotFoundError):
                what = f"manifest {tag_or_digest}"
                digest = Digest(tag_or_digest)
                raw = read_limited(self._blobs.path(digest), MAX_MANIFEST_BYTES, what)
                return parse(raw, what=what, algorithm=digest.algorithm).descriptor
            raise

    def tag(self, descriptor: Descriptor, tag: str) -> None:
        """List ``descriptor`` as ``tag``, as `with_entry` does."""
        self._prepare()
        self._change(lambda entries: with_entry(entries, descriptor, tag))

    def referrers(self, subject: Digest, artifact_type: str = "") -> Iterator[Descriptor]:
        """Yield what refers to ``subject`` and is in the layout's list.

        Raises:
            InvalidDocumentError, TooLargeError, StoreError
        """
        try:
            index = self.index()
        except NotFoundError:
            return iter(())
        return find_referrers(self, index, subject, artifact_type)

    def tags(self) -> Iterator[str]:
        # The whole name that may stand beside a tag says of what repository it was.
        return filter(None, (tag or name for tag, name in map(_names, self.index().manifests)))

    def find_blob(self, digest: Digest) -> Descriptor:
        return self._blobs.find(digest)

    def untag(self, tag: str) -> None:
        """Take a name off the list; what it named stays in the folder.

        Raises:
            NotFoundError, InvalidDocumentError, TooLargeError, StoreError
        """
        self._unlist(lambda entry: tag in _names(entry), f'image "{tag}"')

    def delete(self, descriptor: Descriptor) -> None:
        """Remove a blob, or a manifest with all its names. Blobs that it alone needed stay.

        Raises:
            NotFoundError, InvalidDocumentError, TooLargeError, StoreError
        """
        if not self.has(descriptor):
            raise NotFoundError(f"blob {descriptor.digest}", str(self._path))
        with contextlib.suppress(NotFoundError):
            self._unlist(lambda entry: entry.digest == descriptor.digest, descriptor.digest)
        self._blobs.remove(descriptor.digest)

    def _unlist(self, is_meant: Callable[[Descriptor], bool], what: str) -> None:
        def change(entries: tuple[Descriptor, ...]) -> tuple[Descriptor, ...]:
            kept = tuple(entry for entry in entries if not is_meant(entry))
            if len(kept) == len(entries):
                raise NotFoundError(what, str(self._path))
            return kept

        self.index()  # raises for what is no layout, and is not made one
        self._change(change)

    def _change(self, change: Callable[[tuple[Descriptor, ...]], tuple[Descriptor, ...]]) -> None:
        """Replace the layout's list by what ``change`` makes of it; fields we do not know stay."""
        with store_errors(self._path), locked_directory(self._path):
            try:
                data = load_object(self._read(INDEX_NAME), str(self._path / INDEX_NAME))
            except FileNotFoundError:
                data = load_object(Index.build(manifests=()).raw, INDEX_NAME)
            entries = parse_index(encode(data), what=str(self._path / INDEX_NAME)).manifests
            data["manifests"] = [entry.to_json() for entry in change(entries)]
            atomic_write(self._path / INDEX_NAME, encode(data), mode=0o644, durable=self._durable)

    def _read(self, name: str) -> bytes:
        path = self._path / name
        return read_limited(path, MAX_MANIFEST_BYTES, str(path))

    def _prepare(self) -> None:
        with store_errors(self._path):
            if not (self._path / MARKER_NAME).exists():
                self._path.mkdir(parents=True, exist_ok=True)
                atomic_write(self._path / MARKER_NAME, MARKER, mode=0o644, durable=self._durable)


def check_marker(raw: bytes, where: str) -> None:
    """Refuse a layout of a version that does not exist yet."""
    version = load_object(raw, f"{MARKER_NAME} of {where}").get("imageLayoutVersion")
    if version != "1.0.0":
        raise InvalidDocumentError(where, f'has the unknown OCI layout version "{version}"')


def entry_name(entry: Descriptor) -> str:
    """Return the fullest name of an entry; empty if it has none."""
    return entry.annotations.get(IMAGE_NAME) or entry.annotations.get(REF_NAME, "")


def find_referrers(
    source: BlobSource, index: Index, subject: Digest, artifact_type: str
) -> Iterator[Descriptor]:
    """Yield what refers to ``subject`` and is in a layout's list, or that of its fallback tag."""
    entries = list(index.manifests)
    for entry in index.manifests:
        # Some tools keep here what they would write to a registry without referrers.
        if entry.annotations.get(REF_NAME) == fallback_tag(subject):
            document = read_document(source, entry)
            entries += document.manifests if isinstance(document, Index) else ()
    return of_type(found_in(source, entries, subject), artifact_type)


def _names(entry: Descriptor) -> tuple[str | None, str | None]:
    return entry.annotations.get(REF_NAME), entry.annotations.get(IMAGE_NAME)


def with_entry(
    entries: Iterable[Descriptor], descriptor: Descriptor, tag: str
) -> tuple[Descriptor, ...]:
    """Return ``entries`` with ``descriptor`` listed as ``tag`` and nothing else under that name.

    ``tag`` may be a whole reference, whose name is then noted as docker and containerd do. Empty
    lists it without a name.
    """
    # A name that the descriptor brings along is one that it had elsewhere.
    annotations = {
        key: text
        for key, text in descriptor.annotations.items()
        if key not in (REF_NAME, IMAGE_NAME)
    }
    if "/" in tag or ":" in tag:
        reference = Reference.parse(tag).with_default_tag()
        annotations[IMAGE_NAME] = str(reference)
        tag = reference.tag
    if tag:
        annotations[REF_NAME] = tag
    new = replace(descriptor, annotations=annotations)
    return (*(entry for entry in entries if not _replaces(new, entry)), new)


def _replaces(new: Descriptor, old: Descriptor) -> bool:
    if new.annotations.get(REF_NAME) != old.annotations.get(REF_NAME):
        return False
    if REF_NAME not in new.annotations and new.digest != old.digest:
        return False
    names = {entry.annotations.get(IMAGE_NAME) for entry in (new, old)}
    return len(names) == 1 or None in names


def find_entry(index: Index, name: str, where: str) -> Descriptor:
    """Return the entry of a tag, reference or digest; an empty name means the only one, or `latest`.

    Raises:
        NotFoundError: there is none; the message lists the names. InvalidDocumentError: several.
    """
    # What says its artifact type and has no name is there for the sake of its subject.
    alone = {
        entry.digest: entry
        for entry in index.manifests
        if entry_name(entry) or not entry.artifact_type
    }
    if not name and len(alone) == 1:
        return next(iter(alone.values()))
    wanted = {name or "latest"}
    with contextlib.suppress(InvalidReferenceError):
        wanted.add(str(Reference.parse(name).with_default_tag()))
    found = {
        entry.digest: entry
        for entry in index.manifests
        if not wanted.isdisjoint((entry.digest, *_names(entry)))
    }
    if len(found) == 1:
        return next(iter(found.values()))
    if found:
        raise InvalidDocumentError(where, f'has several images named "{name or "latest"}"')
    names = ", ".join(dict.fromkeys(entry_name(each) or each.digest for each in index.manifests))
    raise NotFoundError(f'image "{name or "latest"}"', f"{where}, which has {names or 'none'}")
