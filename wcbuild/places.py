"""Places of images as people write them, and the stores that they mean.

docker://REF              a repository of a registry; so is a bare name
oci:DIR[:TAG][@DIGEST]    an OCI image layout in a folder
oci-archive:FILE[:TAG]    the same in a tar
docker-archive:FILE[:REF] what `docker save` writes
store:REF                 the local store
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from registry.archive import archive_file, open_archive
from registry.errors import InvalidReferenceError
from registry.layout import OciLayout
from registry.oci.descriptor import Descriptor
from registry.oci.digest import Digest
from registry.reference import Reference
from registry.store import Readable, Repository, Source, Target
from wcbuild.errors import UsageError
from wcbuild.store import LocalRepository, LocalStore

if TYPE_CHECKING:
    from registry.remote.client import Client
    from registry.sign import Policy

DOCKER, OCI, STORE = "docker://", "oci:", "store:"
DOCKER_ARCHIVE, OCI_ARCHIVE = "docker-archive:", "oci-archive:"
KINDS = (DOCKER, OCI, DOCKER_ARCHIVE, OCI_ARCHIVE, STORE)
_ELSEWHERE = ("dir:", "docker-daemon:", "containers-storage:", "ocidir:", "ostree:")
"""What other tools write for places that are none here; some of it could be read as an image's name."""
HELP = "docker://REF, oci:DIR[:TAG], docker-archive:FILE, oci-archive:FILE or store:REF"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A store, and perhaps something in it."""

    kind: str
    """One of ``KINDS``."""
    path: str
    """A repository's canonical name, a folder or file, or the text after `store:`."""
    name: str
    """A tag, or empty."""
    digest: Digest | None = None

    @classmethod
    def parse(cls, text: str, default: str = DOCKER) -> Place:
        """Parse a place; text that names no kind is of kind ``default``.

        Raises:
            InvalidReferenceError: not a reference where one belongs. InvalidDigestError
        """
        if text.startswith(_ELSEWHERE):
            raise InvalidReferenceError(text, f"places are {HELP}")
        kind = next((kind for kind in KINDS if text.startswith(kind)), "")
        rest = text.removeprefix(kind)
        kind = kind or default
        if kind == DOCKER:
            reference = Reference.parse(rest)
            return cls(kind=kind, path=reference.name, name=reference.tag, digest=reference.digest)
        if kind == STORE:
            if rest.startswith("sha256:"):
                return cls(kind=kind, path=rest, name="")
            reference = Reference.parse(rest)
            return cls(kind=kind, path=rest, name=reference.tag, digest=reference.digest)
        path, digest = rest, None
        if kind == DOCKER_ARCHIVE:
            path, _, name = rest.partition(":")
            return cls(kind=kind, path=path, name=name)
        if kind == OCI and "@" in rest:
            path, _, encoded = rest.rpartition("@")
            digest = Digest(encoded)
        folder, colon, tag = path.rpartition(":")
        if colon and "/" not in tag:
            return cls(kind=kind, path=folder, name=tag, digest=digest)
        return cls(kind=kind, path=path, name="", digest=digest)

    @property
    def is_repository(self) -> bool:
        """Say whether it can be changed piece by piece, as archives cannot."""
        return self.kind not in (DOCKER_ARCHIVE, OCI_ARCHIVE)

    @property
    def wanted(self) -> str:
        """What to resolve: the digest, or the tag; empty is what the store takes for meant."""
        if self.kind == DOCKER and not self.name and self.digest is None:
            return "latest"
        return str(self.digest or self.name)

    @property
    def tag(self) -> str:
        """The tag to write.

        Raises:
            UsageError: it names a digest or an image id, which cannot be chosen.
        """
        if self.digest is not None:
            raise UsageError(f'cannot write to "{self}": a target has a tag, not a digest')
        if self.kind == STORE and self.path.startswith("sha256:"):
            raise UsageError(f'cannot write to "{self}": a target has a name, not an id')
        return self.name or "latest"

    def __str__(self) -> str:
        text = self.path
        if self.kind != STORE:
            text += f":{self.name}" if self.name else ""
            text += f"@{self.digest}" if self.digest else ""
        return text if self.kind == DOCKER else self.kind + text


class Places:
    """Opens places. The local store and registries are reached for only when a place needs them."""

    def __init__(
        self,
        *,
        store: Callable[[], LocalStore],
        client: Callable[[], Client],
        policy: Callable[[], Policy | None],
    ) -> None:
        """``policy`` decides what may be copied from a registry or a layout."""
        self._store = store
        self._client = client
        self._policy = policy

    @property
    def store(self) -> LocalStore:
        """The local store, opened now if it was not."""
        return self._store()

    def repository(self, place: Place) -> Repository:
        """Return a place that can be read and written.

        Raises:
            UsageError: an archive, which cannot be changed.
        """
        if place.kind == DOCKER:
            return self._client().repository(Reference.parse(place.path))
        if place.kind == OCI:
            return OciLayout(Path(place.path))
        if place.kind == STORE:
            return LocalRepository(self.store, place.path)
        raise UsageError(f'"{place}" is an archive, which can only be written as a whole')

    def find(self, source: Source, place: Place) -> Descriptor:
        """Return what a place names, if the policy allows to copy it. ``source`` is the place, opened.

        Raises:
            PolicyError: it does not. NotFoundError, and whatever ``source`` raises.
        """
        found, policy = source.resolve(place.wanted), self._policy()
        if policy is not None and place.kind == DOCKER:
            reference = replace(Reference.parse(place.path), tag=place.name, digest=place.digest)
            policy.check(reference.with_default_tag(), (found,), lambda: source)
        elif policy is not None and place.kind == OCI:
            policy.check_layout(Path(place.path), place.name, (found,), lambda: source)
        return found

    @contextlib.contextmanager
    def reading(self, place: Place) -> Iterator[Readable]:
        """Open a place for reading.

        Raises:
            OSError: there is no such archive. InvalidDocumentError, DamagedDataError, TooLargeError
        """
        if not place.is_repository:
            spool = self.store.root / "tmp"
            with open_archive(open(place.path, "rb"), place.path, spool=spool) as archive:
                yield archive
        elif place.kind == DOCKER:
            yield self._client().source(Reference.parse(place.path))
        else:
            yield self.repository(place)

    @contextlib.contextmanager
    def writing(self, place: Place) -> Iterator[Target]:
        """Open a place for writing; an archive appears when all went well.

        Raises:
            UsageError: a digest, which cannot be chosen. StoreError
        """
        _ = place.tag  # refuses what cannot be named, before an archive is begun
        if not place.is_repository:
            path = Path(place.path).absolute()
            with archive_file(path, docker=place.kind == DOCKER_ARCHIVE) as archive:
                yield archive
        else:
            yield self.repository(place)
