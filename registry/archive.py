"""Images in one tar: `oci-archive` (a layout in a tar) and `docker-archive` (what `docker save` writes).

Names inside an archive are keys of a dictionary and never paths of the host.

Specs: https://github.com/opencontainers/image-spec/blob/main/image-layout.md and
https://github.com/moby/docker-image-spec/blob/main/spec.md
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import stat
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from registry.compress import SNIFF, decompressing, sniff
from registry.errors import InvalidDocumentError, NotFoundError, StoreError, TooLargeError
from registry.files import replacing, store_errors
from registry.layout import (
    IMAGE_NAME,
    INDEX_NAME,
    MARKER,
    MARKER_NAME,
    check_marker,
    entry_name,
    find_entry,
    find_referrers,
    with_entry,
)
from registry.oci import mediatypes
from registry.oci.config import ImageConfig
from registry.oci.descriptor import Descriptor
from registry.oci.digest import Digest, sha256
from registry.oci.manifest import (
    MAX_ENTRIES,
    MAX_MANIFEST_BYTES,
    Index,
    Manifest,
    parse,
    parse_index,
    parse_manifest,
)
from registry.reference import Reference
from registry.referrers import listed
from registry.store import describe, verifying
from registry.tarheaders import END, Member, header_for, padding, read_members

_DOCKER_NAME = "manifest.json"
_MAX_LINKS = 8
_CHUNK = 1024 * 1024


def open_archive(stream: BinaryIO, where: str, *, spool: Path | None = None) -> Archive:
    """Read an archive of either kind, compressed or not, from a file or a pipe.

    What cannot be read in any order is first written, uncompressed, to an unnamed file in ``spool``.
    ``where`` names the archive in errors. Closing the archive closes the stream.

    Raises:
        InvalidDocumentError: no archive of images. DamagedDataError, TooLargeError, StoreError
    """
    with contextlib.ExitStack() as opened:
        opened.enter_context(stream)
        if not _is_plain_tar(stream):
            with decompressing(stream, SNIFF, where) as plain:
                stream = opened.enter_context(_spooled(plain, spool))
        archive = Archive(stream, where)
        opened.pop_all()
    return archive


class Archive:
    """A source of images. ``index`` lists them, with their names as annotations.

    Made from an uncompressed tar in a file. Several threads may read at once.
    """

    def __init__(self, file: BinaryIO, where: str) -> None:
        self._file = file
        self._where = where
        self._members = dict(read_members(file.fileno(), where))
        self._documents: dict[Digest, bytes] = {}
        self._layers: dict[Digest, Member] = {}
        self.index = self._read_index()

    def resolve(self, tag_or_digest: str) -> Descriptor:
        return find_entry(self.index, tag_or_digest, self._where)

    def open(self, descriptor: Descriptor) -> BinaryIO:
        digest = descriptor.digest
        if digest in self._documents:
            return verifying(io.BytesIO(self._documents[digest]), descriptor)
        return verifying(
            self._read(self._layers.get(digest) or self._find_blob(digest)), descriptor
        )

    def referrers(self, subject: Digest, artifact_type: str = "") -> Iterator[Descriptor]:
        return find_referrers(self, self.index, subject, artifact_type)

    def tags(self) -> Iterator[str]:
        return (name for entry in self.index.manifests if (name := entry_name(entry)))

    def find_blob(self, digest: Digest) -> Descriptor:
        if digest in self._documents:
            size = len(self._documents[digest])
        else:
            size = (self._layers.get(digest) or self._find_blob(digest)).size
        return Descriptor(media_type=mediatypes.OCTETS, digest=digest, size=size)

    def close(self) -> None:
        """Close the file below."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _read_index(self) -> Index:
        is_docker = _DOCKER_NAME in self._members
        if MARKER_NAME in self._members and INDEX_NAME in self._members:
            check_marker(self._small(MARKER_NAME), self._where)
            index = parse_index(self._small(INDEX_NAME), what=f"{INDEX_NAME} of {self._where}")
            seen: set[Digest] = set()
            if not is_docker or all(self._is_whole(entry, seen) for entry in index.manifests):
                return index
        if is_docker:
            return self._read_docker()
        raise InvalidDocumentError(self._where, "is neither an OCI nor a docker archive")

    def _is_whole(self, entry: Descriptor, seen: set[Digest]) -> bool:
        """Say whether the OCI half of a docker archive can be used for ``entry``.

        Docker 25.0 left the layers out of manifests, and an index may name platforms that were
        never pulled.
        """
        if entry.digest in seen:
            return True
        seen.add(entry.digest)
        try:
            document = parse(self._small(_blob_name(entry.digest)), entry.media_type)
            if isinstance(document, Index):
                return all(self._is_whole(child, seen) for child in document.manifests)
            if document.config.media_type not in mediatypes.CONFIGS:
                return True
            config = ImageConfig.parse(self._small(_blob_name(document.config.digest)))
        except (InvalidDocumentError, NotFoundError, TooLargeError, RecursionError):
            return False
        return len(config.diff_ids) == len(document.layers)

    def _read_docker(self) -> Index:
        """Make the OCI documents that a docker archive may lack."""
        what = f"{_DOCKER_NAME} of {self._where}"
        entries: tuple[Descriptor, ...] = ()
        known: dict[Member, Descriptor] = {}
        for image in _parse_docker(self._small(_DOCKER_NAME), what):
            raw = self._small(image.config)
            diff_ids = ImageConfig.parse(raw, f"{image.config} of {self._where}").diff_ids
            if len(diff_ids) != len(image.layers):
                reason = f"lists {len(image.layers)} layers where the config has {len(diff_ids)}"
                raise InvalidDocumentError(what, reason)
            config = Descriptor(media_type=mediatypes.OCI_CONFIG, digest=sha256(raw), size=len(raw))
            manifest = Manifest.build(
                config=config,
                layers=(
                    self._layer(name, diff_id, known)
                    for name, diff_id in zip(image.layers, diff_ids, strict=True)
                ),
            )
            self._documents |= {config.digest: raw, manifest.descriptor.digest: manifest.raw}
            for name in image.tags or ("",):
                entries = with_entry(entries, manifest.descriptor, name)
        return Index.build(manifests=entries)

    def _layer(self, name: str, diff_id: Digest, known: dict[Member, Descriptor]) -> Descriptor:
        member = self._find(name)
        if member in known:
            return known[member]
        compression = sniff(os.pread(self._file.fileno(), min(6, member.size), member.offset))
        if compression not in ("none", "gzip", "zstd"):
            raise InvalidDocumentError(
                f"{name} of {self._where}", f"is compressed as {compression}"
            )
        media_type = mediatypes.layer(compression)
        if compression == "none":
            found = Descriptor(media_type=media_type, digest=diff_id, size=member.size)
        else:
            with self._read(member) as stream:
                found = describe(stream, media_type)
        self._layers[found.digest] = member
        known[member] = found
        return found

    def _find(self, name: str) -> Member:
        """Return a file by its name, through links inside the archive."""
        found = self._members.get(os.path.normpath(name))
        for _ in range(_MAX_LINKS):
            if found is None or not found.link:
                break
            found = self._members.get(found.link)
        if found is None or found.link:
            raise NotFoundError(f'file "{name}"', f"the archive {self._where}")
        return found

    def _find_blob(self, digest: Digest) -> Member:
        try:
            return self._find(_blob_name(digest))
        except NotFoundError:
            raise NotFoundError(f"blob {digest}", self._where) from None

    def _read(self, member: Member) -> BinaryIO:
        return io.BufferedReader(_Section(self._file.fileno(), member), buffer_size=_CHUNK)

    def _small(self, name: str) -> bytes:
        member = self._find(name)
        if member.size > MAX_MANIFEST_BYTES:
            raise TooLargeError(f"{name} of {self._where}", MAX_MANIFEST_BYTES)
        with self._read(member) as stream:
            return stream.read()


class ArchiveTarget:
    """A target that writes one tar to ``stream``; ``docker`` adds what `docker load` looks for.

    Manifests with a subject are listed when they are put, except in docker's format, which has no
    place for them.

    Several threads may write; the blobs follow one another. As a context manager it finishes the
    tar unless an exception passes. What has no known size is first kept in an unnamed file in
    ``spool``. The same blobs in the same order give the same bytes.
    """

    sequential = True

    def __init__(
        self,
        stream: BinaryIO,
        *,
        docker: bool = False,
        where: Path = Path("standard output"),
        spool: Path | None = None,
    ) -> None:
        self._stream = stream
        self._where = where
        self._docker = docker
        self._spool = spool
        self._lock = threading.Lock()
        self._written: set[Digest] = set()
        self._manifests: dict[Digest, bytes] = {}
        self._entries: tuple[Descriptor, ...] = ()
        self._failed = False
        self._add(MARKER_NAME, MARKER)
        for folder in ("blobs/", "blobs/sha256/"):
            self._write(header_for(folder, 0, folder=True))

    def has(self, descriptor: Descriptor) -> bool:
        return descriptor.digest in self._written

    def put(self, stream: BinaryIO, expected: Descriptor) -> None:
        if mediatypes.is_document(expected.media_type):
            raw = verifying(stream, expected).read(MAX_MANIFEST_BYTES)
            stream = io.BytesIO(raw)
            document = parse(raw, expected.media_type, algorithm=expected.digest.algorithm)
            if isinstance(document, Manifest):
                self._manifests[expected.digest] = raw
            if document.subject is not None and not self._docker:
                self._entries = with_entry(self._entries, listed(document), "")
        with self._lock:
            if expected.digest in self._written:
                return
            self._write(header_for(_blob_name(expected.digest), expected.size))
            # The header has promised bytes; if they do not come, the whole tar is worthless.
            self._failed = True
            checked = verifying(stream, expected)
            while data := checked.read(_CHUNK):
                with store_errors(self._where):
                    self._stream.write(data)
            self._failed = False
            self._write(padding(expected.size))
            self._written.add(expected.digest)

    def put_new(self, stream: BinaryIO, media_type: str) -> Descriptor:
        with _spooled(stream, self._spool) as copy:
            descriptor = describe(copy, media_type)
            copy.seek(0)
            self.put(copy, descriptor)
        return descriptor

    def tag(self, descriptor: Descriptor, tag: str) -> None:
        """List ``descriptor`` as a tag or whole reference; docker shows only whole references."""
        self._entries = with_entry(self._entries, descriptor, tag)

    def finish(self) -> None:
        """Write the lists of images and the end.

        Raises:
            InvalidDocumentError: docker's format cannot hold an index. StoreError: a blob failed.
        """
        self._add(INDEX_NAME, Index.build(manifests=self._entries).raw)
        if self._docker:
            self._add(_DOCKER_NAME, json.dumps(self._docker_list(), separators=(",", ":")).encode())
        self._write(END)
        with store_errors(self._where):
            self._stream.flush()

    def _docker_list(self) -> list[dict[str, object]]:
        tags: dict[Digest, list[str]] = {}
        for entry in self._entries:
            names = tags.setdefault(entry.digest, [])
            if IMAGE_NAME in entry.annotations:
                names.append(Reference.parse(entry.annotations[IMAGE_NAME]).familiar)
        images: list[dict[str, object]] = []
        for digest, names in tags.items():
            if digest not in self._manifests:
                raise InvalidDocumentError(
                    f"docker archive of {digest}",
                    "the format holds single images; choose a platform",
                )
            manifest = parse_manifest(self._manifests[digest])
            images.append(
                {
                    "Config": _blob_name(manifest.config.digest),
                    "RepoTags": names,
                    "Layers": [_blob_name(layer.digest) for layer in manifest.layers],
                }
            )
        return images

    def _add(self, name: str, data: bytes) -> None:
        self._write(header_for(name, len(data)) + data + padding(len(data)))

    def _write(self, data: bytes) -> None:
        if self._failed:
            raise StoreError(str(self._where), "is incomplete: a blob before this one failed")
        with store_errors(self._where):
            self._stream.write(data)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.finish()


@contextlib.contextmanager
def archive_file(path: Path, *, docker: bool = False) -> Iterator[ArchiveTarget]:
    """Write the archive ``path``; it appears whole at the end, or not at all.

    Raises:
        StoreError
    """
    with (
        replacing(path) as stream,
        ArchiveTarget(stream, docker=docker, where=path, spool=path.parent) as target,
    ):
        yield target


@dataclass(frozen=True, slots=True, kw_only=True)
class _DockerImage:
    """One image of `manifest.json`: names of files in the archive, and references."""

    config: str
    layers: tuple[str, ...]
    tags: tuple[str, ...]


def _parse_docker(raw: bytes, what: str) -> list[_DockerImage]:
    try:
        items = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise InvalidDocumentError(what, f"is not JSON ({error})") from error
    if not isinstance(items, list) or len(items) > MAX_ENTRIES:
        raise InvalidDocumentError(what, f"is not a list of at most {MAX_ENTRIES} images")
    images = []
    for item in items:
        config = item.get("Config") if isinstance(item, Mapping) else None
        if not isinstance(config, str):
            raise InvalidDocumentError(what, "has an image without a Config")
        layers, tags = item.get("Layers") or [], item.get("RepoTags") or []
        for names in (layers, tags):
            if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
                raise InvalidDocumentError(what, "has Layers or RepoTags that are not names")
        if len(layers) > MAX_ENTRIES:
            raise InvalidDocumentError(what, f"has an image of more than {MAX_ENTRIES} layers")
        # Parsed here, so that nothing but a reference gets out.
        references = tuple(str(Reference.parse(tag).with_default_tag()) for tag in tags)
        images.append(_DockerImage(config=config, layers=tuple(layers), tags=references))
    return images


class _Section(io.RawIOBase):
    """One member's bytes, read by position: any number of threads share the descriptor."""

    def __init__(self, fd: int, member: Member) -> None:
        self._fd = fd
        self._position = member.offset
        self._end = member.offset + member.size

    def readable(self) -> bool:
        """Say yes, as `io` asks."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # typeshed: WriteableBuffer
        """Read into ``buffer``; 0 is the end."""
        size = min(len(buffer), self._end - self._position)
        size = os.preadv(self._fd, [memoryview(buffer)[:size]], self._position) if size else 0
        self._position += size
        return size


def _blob_name(digest: Digest) -> str:
    return f"blobs/{digest.algorithm}/{digest.hex}"


def _is_plain_tar(stream: BinaryIO) -> bool:
    """Say whether ``stream`` is an uncompressed file from its start, which needs no copy."""
    try:
        fd = stream.fileno()
    except (OSError, AttributeError):
        return False
    if not stat.S_ISREG(os.fstat(fd).st_mode) or stream.tell() != 0:
        return False
    return sniff(os.pread(fd, 6, 0)) == "none"


def _spooled(stream: BinaryIO, spool: Path | None) -> BinaryIO:
    """Return an unnamed file with all of ``stream``, at its start."""
    import tempfile  # noqa: PLC0415 - costs more than a cached build can spare

    with store_errors(spool or Path(tempfile.gettempdir())):
        copy = tempfile.TemporaryFile(dir=spool, buffering=0)  # noqa: SIM115 - the caller closes it
    try:
        while data := stream.read(_CHUNK):
            with store_errors(spool or Path(tempfile.gettempdir())):
                copy.write(data)
        copy.seek(0)
    except BaseException:
        copy.close()
        raise
    return copy
