"""The local store: blobs, names of images, layer indexes, build cache; one directory, one lock.

Layout, below a directory of mode 0700 (docs/formats.md has the details):

    blobs/sha256/…   immutable bytes: manifests, configs, layers as pulled, uncompressed layers as built
    images/…         one record a name (or, for images without one, a digest): what the name points to
    origins/…        for a layer of an image from a registry: the repository that has it
    compressed/…     for a layer, codec and level: the descriptor it had when it was last compressed
    indexes/…        a layer's headers, sorted, by diff_id
    cache/…          build results by key
    contexts/…       what is known of the files of build contexts
    referrers/…      by the digest they refer to: descriptors of signatures and the like
    snapshots/…      unpacked trees (`wcbuild.snapshot`)
    mounts/…         caches of `RUN --mount=type=cache` (`wcbuild.solve.cachemounts`)
    ingest/          blobs on their way in, and for a week the beginnings of those that broke off
    tmp/             scratch files of running processes
    store.lock       held shared by every command, exclusively by those that delete

A locally built image is a valid OCI image whose new layers are not compressed; pushing compresses.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from registry.blobs import BlobDirectory
from registry.errors import (
    InvalidDocumentError,
    InvalidReferenceError,
    NotFoundError,
    RegistryError,
    TooLargeError,
)
from registry.files import FileLock, atomic_write, create_temporary, store_errors
from registry.oci import chain, manifest, mediatypes
from registry.oci.config import ImageConfig
from registry.oci.descriptor import Descriptor
from registry.oci.digest import ChainId, DiffId, Digest, sha256
from registry.oci.manifest import Index, Manifest
from registry.reference import Reference
from registry.referrers import of_type, subject_of
from registry.store import BlobSource, read_all
from wcbuild.errors import StoreInUseError

VERSION = "1"
_MIN_ID_PREFIX = 4
_KEEP_FROM = 1024 * 1024
"""Bytes of a blob worth keeping what came of it; a smaller one is soon fetched again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRecord:
    """A name of the store, or an image without one, and what it points to."""

    reference: Reference | None
    descriptor: Descriptor
    """Of a manifest or an index."""
    image_id: Digest
    """The config's digest; for an index or artifact its own."""


class LocalStore:
    """Everything below one root directory.

    Use `open_store`, which takes the lock. Blobs and images may be written by several processes at
    once; deleting needs `exclusively`.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        # Made durable all at once, when an image that needs them gets a name.
        self.blobs = BlobDirectory(root / "blobs", durable=False, keep_from=_KEEP_FROM)
        self.compressed = CompressedMemo(root / "compressed")
        self._images = root / "images"
        self._repositories: Callable[[Reference], BlobSource] | None = None
        self._referrers = root / "referrers"
        self._lock = FileLock(root / "store.lock")

    # -- registry.store protocols

    def open(self, descriptor: Descriptor) -> BinaryIO:
        """Return a verifying stream of a blob; one that was left in its registry is brought here first."""
        if not self.has(descriptor):
            origin = self.origin(descriptor)
            if origin is not None:
                with origin.open(descriptor) as stream:
                    self.put(stream, descriptor)
        return self.blobs.open(descriptor)

    def has(self, descriptor: Descriptor) -> bool:
        """Say whether a blob is here."""
        return self.blobs.holds(descriptor)

    def put(self, stream: BinaryIO, expected: Descriptor) -> None:
        """Store a blob; a manifest with a subject stays for as long as its subject does."""
        self.blobs.put(stream, expected)
        found = subject_of(self, expected)
        if found is not None:
            subject, entry = found
            folder = self._referrers / subject.hex
            with store_errors(folder):
                self.blobs.make_durable(self.closure(entry))
                folder.mkdir(parents=True, exist_ok=True)
                atomic_write(folder / entry.digest.hex, json.dumps(entry.to_json()).encode())

    def referrers(self, subject: Digest, artifact_type: str = "") -> Iterator[Descriptor]:
        """Yield what refers to ``subject``.

        Raises:
            InvalidDocumentError: the store is damaged.
        """
        folder = self._referrers / subject.hex
        try:
            paths = sorted(folder.iterdir())
        except FileNotFoundError:
            return iter(())
        entries = [
            Descriptor.from_json(manifest.load_object(path.read_bytes(), str(path)), str(path))
            for path in paths
            if path.name[0] != "."
        ]
        return of_type(entries, artifact_type)

    def kept(self, expected: Descriptor) -> BinaryIO | None:
        """Return the beginning of a blob that came in an earlier try."""
        return self.blobs.kept(expected)

    def resolve(self, tag_or_digest: str) -> Descriptor:
        """Return what a name or an image id points to, as `find` does.

        Raises:
            NotFoundError: nothing of that name.
        """
        return self.find(tag_or_digest).descriptor

    def tag(self, descriptor: Descriptor, tag: str) -> None:
        """Point a reference, in any spelling, at a manifest or index that the store holds."""
        self.name_image(descriptor, Reference.parse(tag).with_default_tag())

    # -- blobs that may be elsewhere

    def fetch_from(self, repositories: Callable[[Reference], BlobSource]) -> None:
        """Let missing blobs be fetched from where `note_origin` says; ``repositories`` opens those."""
        self._repositories = repositories

    def note_origin(self, descriptors: Iterable[Descriptor], reference: Reference) -> None:
        """Remember that a repository has some blobs, which need not be here."""
        for descriptor in descriptors:
            path = self.root / "origins" / descriptor.digest.hex
            with store_errors(path):
                path.parent.mkdir(exist_ok=True)
                atomic_write(path, reference.name.encode(), durable=False)

    def origin(self, descriptor: Descriptor) -> BlobSource | None:
        """Return the repository that a blob came from, if it is known and can be asked."""
        if self._repositories is None:
            return None
        try:
            name = (self.root / "origins" / descriptor.digest.hex).read_text()
            return self._repositories(Reference.parse(name).with_default_tag())
        except (OSError, ValueError, InvalidReferenceError):
            return None

    # -- images

    def name_image(self, descriptor: Descriptor, reference: Reference | None) -> ImageRecord:
        """Record an image; without a reference it stays until `prune`, as docker's dangling ones do."""
        image_id = descriptor.digest
        if mediatypes.is_manifest(descriptor.media_type):
            config = self.manifest(descriptor).config
            # Artifacts mostly have the empty config, which tells none from another.
            if config.media_type in mediatypes.CONFIGS:
                image_id = config.digest
        record = ImageRecord(reference=reference, descriptor=descriptor, image_id=image_id)
        name = str(reference) if reference else str(descriptor.digest)
        data = {
            "reference": str(reference) if reference else "",
            "descriptor": descriptor.to_json(),
            "imageId": image_id,
        }
        path, raw = self._images / _file_name(name), json.dumps(data).encode()
        with store_errors(self._images):
            if path.exists() and path.read_bytes() == raw:
                return record
            # Last of all, and after its blobs are durable: a name leads to whole images only.
            self.blobs.make_durable(self.closure(descriptor))
            atomic_write(path, raw)
        return record

    def closure(self, descriptor: Descriptor) -> Iterator[Digest]:
        """Yield the digests of all blobs here that an image or index is made of."""
        return (blob.digest for blob in self._parts(descriptor) if self.has(blob))

    def _parts(self, descriptor: Descriptor) -> Iterator[Descriptor]:
        """Yield all that an image or index is made of and that documents here name."""
        yield descriptor
        if not self.has(descriptor):
            return
        if mediatypes.is_index(descriptor.media_type):
            for child in self.index(descriptor).manifests:
                yield from self._parts(child)
        elif mediatypes.is_manifest(descriptor.media_type):
            image = self.manifest(descriptor)
            yield from (image.config, *image.layers)
        for entry in self.referrers(descriptor.digest):
            yield from self._parts(entry)

    def images(self) -> list[ImageRecord]:
        """Return all records, by name, those without a name last."""
        records = [
            self._read_record(path) for path in self._images.iterdir() if path.name[0] != "."
        ]
        known = [record for record in records if record is not None]
        return sorted(known, key=lambda record: (record.reference is None, str(record.reference)))

    def find(self, name: str) -> ImageRecord:
        """Find an image by reference, digest, image id or the beginning of one.

        Raises:
            NotFoundError: nothing of that name, or more than one thing.
            InvalidReferenceError: not a name at all.
        """
        by_id = self._find_id(name)
        if by_id is not None:
            return by_id
        reference = Reference.parse(name).with_default_tag()
        record = self._read_record(self._images / _file_name(str(reference)))
        if record is None and reference.digest is not None:
            for each in self.images():
                if each.descriptor.digest == reference.digest:
                    return each
        if record is None:
            raise NotFoundError(f"image {reference.familiar}", "the local store")
        return record

    def _find_id(self, name: str) -> ImageRecord | None:
        text = name.removeprefix("sha256:")
        if len(text) < _MIN_ID_PREFIX or not set(text) <= set("0123456789abcdef"):
            return None
        found = [
            record
            for record in self.images()
            if record.image_id.hex.startswith(text) or record.descriptor.digest.hex.startswith(text)
        ]
        if len({record.image_id for record in found}) > 1:
            raise NotFoundError(f"one image whose id begins with {name}", "the local store")
        return found[0] if found else None

    def remove_name(self, record: ImageRecord) -> None:
        """Forget a record; its blobs go with the next `collect`."""
        name = str(record.reference) if record.reference else str(record.descriptor.digest)
        with store_errors(self._images), contextlib.suppress(FileNotFoundError):
            (self._images / _file_name(name)).unlink()

    def _read_record(self, path: Path) -> ImageRecord | None:
        try:
            data = json.loads(path.read_bytes())
            reference = str(data["reference"])
            return ImageRecord(
                reference=Reference.parse(reference) if reference else None,
                descriptor=Descriptor.from_json(data["descriptor"]),
                image_id=Digest(data["imageId"]),
            )
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, RegistryError) as error:
            raise InvalidDocumentError(str(path), f"is not an image record ({error})") from error

    def manifest(self, descriptor: Descriptor) -> Manifest:
        """Read one image's manifest."""
        raw, algorithm = read_all(self, descriptor), descriptor.digest.algorithm
        return manifest.parse_manifest(raw, descriptor.media_type, algorithm=algorithm)

    def index(self, descriptor: Descriptor) -> Index:
        """Read an index."""
        raw, algorithm = read_all(self, descriptor), descriptor.digest.algorithm
        return manifest.parse_index(raw, descriptor.media_type, algorithm=algorithm)

    # -- layers

    def layer_index_path(self, diff_id: DiffId, os: str = "linux") -> Path:
        """Return where a layer's headers are kept, whether they are there or not.

        ``os`` is that of the image: Windows knows the same paths by other spellings.
        """
        return self.root / "indexes" / (diff_id.hex if os == "linux" else f"{diff_id.hex}.{os}")

    def context_index_path(self, name: str) -> Path:
        """Return where what is known of a build context is kept; ``name`` is any text."""
        return self.root / "contexts" / sha256(os.fsencode(name)).hex

    def scratch_file(self) -> Path:
        """Return a new empty file that goes when the store is next alone, if not before."""
        with store_errors(self.root):
            fd, path = create_temporary(self.root / "tmp", "")
        os.close(fd)
        return Path(path)

    def scratch_folder(self) -> Path:
        """Return a new empty folder that goes when the store is next alone, if not before."""
        path = self.scratch_file()
        path.unlink()
        path.mkdir(0o700)
        return path

    # -- deleting

    @contextlib.contextmanager
    def exclusively(self, *, wait: bool = False) -> Iterator[None]:
        """Hold the store alone for the `with` block.

        Raises:
            StoreInUseError: another process uses it, and ``wait`` is false.
        """
        if not self._lock.acquire(shared=False, wait=wait):
            # The kernel gives up the old lock before it tries for the new one.
            self._lock.acquire(shared=True, wait=True)
            raise StoreInUseError(str(self.root), _holders(self.root / "store.lock"))
        try:
            yield
        finally:
            self._lock.acquire(shared=True, wait=True)

    def collect(
        self, cached: Callable[[DiffId], bool], *, derived: bool
    ) -> tuple[int, frozenset[ChainId]]:
        """Delete what no image needs; return bytes freed and the chain ids of the images.

        ``cached`` says which layers are kept for the build cache's sake. With ``derived``, what can be
        made again of an image's compressed layers (their tars) is kept, too. The caller holds the
        store exclusively.
        """
        blobs: set[Digest] = set()
        wanted: set[str] = set()
        layers: set[DiffId] = set()
        chains: set[ChainId] = set()
        for record in self.images():
            parts = list(self._parts(record.descriptor))
            blobs.update(part.digest for part in parts if self.has(part))
            wanted.update(part.digest.hex for part in parts)
            for config in self._configs(record.descriptor):
                layers.update(config.diff_ids)
                parent: ChainId | None = None
                for diff_id in config.diff_ids:
                    parent = chain.extend(parent, diff_id)
                    chains.add(parent)
        freed = 0
        self._forget_referrers(blobs)
        for digest in list(self.blobs):
            needed = digest in blobs or (derived and digest in layers)
            if not needed and not cached(DiffId(digest)):
                freed += self.blobs.path(digest).stat().st_size
                self.blobs.remove(digest)
        for folder in ("indexes", "compressed"):
            for path in (self.root / folder).iterdir():
                diff_id = DiffId(Digest(f"sha256:{path.name.partition('.')[0]}"))
                if diff_id not in layers and not cached(diff_id):
                    freed += path.stat().st_size
                    path.unlink()
        with contextlib.suppress(FileNotFoundError):
            for path in (self.root / "origins").iterdir():
                if path.name not in wanted:
                    path.unlink()
        return freed, frozenset(chains)

    def _forget_referrers(self, kept: set[Digest]) -> None:
        """Forget the referrers of what goes."""
        if not self._referrers.exists():
            return
        subjects = {digest.hex for digest in kept}
        for folder in self._referrers.iterdir():
            if folder.name not in subjects:
                for path in folder.iterdir():
                    path.unlink()
                folder.rmdir()

    def _configs(self, descriptor: Descriptor) -> Iterator[ImageConfig]:
        """Yield the configs here that an image or index leads to."""
        if mediatypes.is_index(descriptor.media_type):
            for child in self.index(descriptor).manifests:
                if self.has(child):
                    yield from self._configs(child)
        elif mediatypes.is_manifest(descriptor.media_type):
            config = self.manifest(descriptor).config
            if config.media_type in mediatypes.CONFIGS and self.has(config):
                yield ImageConfig.parse(read_all(self, config))

    def close(self) -> None:
        """Give back the lock."""
        self._lock.release()


class LocalRepository:
    """The images of the local store whose names begin with that of ``text``, as a repository.

    ``text`` is a reference, an image id or the beginning of one; the empty name means that image.
    """

    def __init__(self, store: LocalStore, text: str) -> None:
        self._store = store
        self._text = text

    def open(self, descriptor: Descriptor) -> BinaryIO:
        return self._store.open(descriptor)

    def has(self, descriptor: Descriptor) -> bool:
        return self._store.has(descriptor)

    def put(self, stream: BinaryIO, expected: Descriptor) -> None:
        self._store.put(stream, expected)

    def referrers(self, subject: Digest, artifact_type: str = "") -> Iterator[Descriptor]:
        return self._store.referrers(subject, artifact_type)

    def find_blob(self, digest: Digest) -> Descriptor:
        return self._store.blobs.find(digest)

    def resolve(self, tag_or_digest: str) -> Descriptor:
        if ":" in tag_or_digest:
            descriptor = self.find_blob(Digest(tag_or_digest))
            what = f"manifest {tag_or_digest}"
            if descriptor.size > manifest.MAX_MANIFEST_BYTES:
                raise TooLargeError(what, manifest.MAX_MANIFEST_BYTES)
            return manifest.parse(read_all(self, descriptor), what=what).descriptor
        if tag_or_digest:
            return self._store.find(f"{self._name}:{tag_or_digest}").descriptor
        return self._store.find(self._text).descriptor

    def tags(self) -> Iterator[str]:
        name = self._name
        return (
            record.reference.tag
            for record in self._store.images()
            if record.reference is not None
            and record.reference.name == name
            and record.reference.tag
        )

    def tag(self, descriptor: Descriptor, tag: str) -> None:
        self._store.tag(descriptor, f"{self._name}:{tag}")

    @property
    def _name(self) -> str:
        return Reference.parse(self._text).name


class CompressedMemo:
    """Remembers, for `registry.copy`, which blob a layer's tar became when it was last compressed."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def find(self, diff_id: DiffId, encoder: str) -> Descriptor | None:
        """Return the descriptor remembered under both, if any."""
        try:
            return Descriptor.from_json(json.loads(self._path(diff_id, encoder).read_bytes()))
        except (OSError, ValueError, RegistryError):
            return None

    def remember(self, diff_id: DiffId, encoder: str, descriptor: Descriptor) -> None:
        """Keep ``descriptor``."""
        data = json.dumps(descriptor.to_json()).encode()
        atomic_write(self._path(diff_id, encoder), data, durable=False)

    def _path(self, diff_id: DiffId, encoder: str) -> Path:
        return self._root / f"{diff_id.hex}.{_file_name(encoder)}"


def default_root(environment: Mapping[str, str]) -> Path:
    """Return where state lives: `$WCBUILD_ROOT`, the system's place for root, or the user's own.

    To be asked before the process becomes root in a user namespace.
    """
    if environment.get("WCBUILD_ROOT"):
        return Path(environment["WCBUILD_ROOT"])
    if os.geteuid() == 0:
        return Path("/var/lib/wcbuild")
    data = environment.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
    return Path(data) / "wcbuild"


def open_store(root: Path) -> LocalStore:
    """Open, or make, the store below ``root`` and take its lock, shared.

    A process that finds itself alone clears away what others, killed, left behind.

    Raises:
        StoreError: the directory cannot be made or written.
        InvalidDocumentError: a newer wcbuild wrote it.
    """
    with store_errors(root):
        if not (root / "version").exists():
            _create(root)
        version = (root / "version").read_text().strip()
    if version != VERSION:
        raise InvalidDocumentError(
            f"store {root}", f"has version {version}; this wcbuild reads version {VERSION}"
        )
    store = LocalStore(root)
    with store_errors(root):
        store._lock.acquire(shared=True, wait=True)  # noqa: SLF001 - this is its constructor
    return store


def _create(root: Path) -> None:
    root.mkdir(parents=True, exist_ok=True)
    os.chmod(root, 0o700)
    for name in (
        "blobs",
        "images",
        "compressed",
        "indexes",
        "cache",
        "contexts",
        "snapshots",
        "tmp",
    ):
        (root / name).mkdir(exist_ok=True)
    # Last: its presence says that the rest is there.
    atomic_write(root / "version", f"{VERSION}\n".encode())


def sweep(store: LocalStore, clean_snapshots: Callable[[], object]) -> None:
    """Remove what killed processes left behind, if no other process uses the store now."""
    try:
        with store.exclusively():
            store.blobs.sweep()
            for path in (store.root / "tmp").iterdir():
                if path.is_dir():
                    import shutil  # noqa: PLC0415 - few leave folders

                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)
            clean_snapshots()
    except StoreInUseError:
        return


def _file_name(text: str) -> str:
    """Return a name for a file of its own; different texts give different names."""
    return text.replace("%", "%25").replace("/", "%2F")


def _holders(lock: Path) -> tuple[int, ...]:
    """Return the processes that hold a flock on ``lock``, as the kernel lists them."""
    try:
        inode = lock.stat().st_ino
        lines = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return ()
    found = []
    for line in lines:
        fields = line.split()
        if len(fields) > 5 and fields[1] == "FLOCK" and fields[5].endswith(f":{inode}"):  # noqa: PLR2004
            found.append(int(fields[4]))
    return tuple(sorted({pid for pid in found if pid != os.getpid()}))
