"""A repository read through its mirrors: each is asked in turn, the registry itself at last."""

from __future__ import annotations

import functools
import io
import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, TypeVar

from registry.errors import (
    DigestMismatchError,
    NotFoundError,
    RegistryError,
    SizeMismatchError,
    UnreachableError,
)
from registry.oci.descriptor import Descriptor
from registry.oci.digest import Digest
from registry.oci.mediatypes import INDEXES, MANIFESTS
from registry.referrers import is_derived_tag
from registry.remote.download import Continued
from registry.remote.errors import printable
from registry.remote.repository import RemoteRepository
from registry.remote.transport import BLOCK
from registry.store import verifying
from registry.streams import Layered, Rewindable, read_into

logger = logging.getLogger(__name__)

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One repository that may have the images, and what it is asked for."""

    repository: RemoteRepository
    tags: bool = True
    digests: bool = True


class MirroredRepository:
    """Reads one repository wherever it can be had; for writing there is ``origin``.

    What is asked for by digest is verified, whoever sent it. Who answers for a tag is believed, as a
    mirror is there for; `resolved_by` says who that was. A mirror that sent wrong bytes, or
    could not be reached, is not asked again by this object.
    """

    def __init__(self, origin: RemoteRepository, places: tuple[Place, ...]) -> None:
        """``places`` are asked in order; the last is where the registry itself is."""
        self.origin = origin
        """Where the name says that the repository is."""
        self.resolved_by = ""
        """Registry and repository that said what the last tag means."""
        self._places = places
        self._bad: set[str] = set()
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"MirroredRepository({self.origin.name!r})"

    @property
    def name(self) -> str:
        """Registry and repository as people name it, wherever it is read: `docker.io/library/debian`."""
        return self.origin.name

    def resolve(self, tag_or_digest: str) -> Descriptor:
        """Return the descriptor of a manifest or index. Raises as `RemoteRepository.resolve`."""
        # Signatures lie under tags made from digests. They are where the image is, and most images
        # have none: a registry that cannot be reached must not be in the way of those that can.
        derived = is_derived_tag(tag_or_digest)
        by_digest = derived or ":" in tag_or_digest

        def resolve(repository: RemoteRepository) -> Descriptor:
            found = repository.resolve(tag_or_digest)
            self.resolved_by = repository.name
            return found

        return self._first(resolve, by_digest=by_digest, may_be_missing=derived)

    def open(self, descriptor: Descriptor) -> BinaryIO:
        """Return a verified stream. Raises as `RemoteRepository.open`."""
        if descriptor.media_type in (*MANIFESTS, *INDEXES):
            return self._first(lambda repository: repository.open(descriptor), by_digest=True)
        return self._verified(descriptor, lambda used: self._chain(descriptor, used, 0))

    def open_after(self, descriptor: Descriptor, kept: BinaryIO) -> BinaryIO:
        """Return a blob's stream that begins with the bytes of ``kept``, which it closes."""

        def continued(used: list[RemoteRepository]) -> io.RawIOBase:
            rest = functools.partial(self._chain, descriptor, used)
            return Continued(kept, descriptor.size, rest)

        return self._verified(descriptor, continued)

    def find_blob(self, digest: Digest) -> Descriptor:
        """Return a descriptor of a blob. Raises as `RemoteRepository.find_blob`."""
        return self._first(lambda repository: repository.find_blob(digest), by_digest=True)

    def referrers(self, subject: Digest, artifact_type: str = "") -> Iterator[Descriptor]:
        """Yield what refers to ``subject`` at any place: a mirror need not have been given all of it.

        Who cannot be reached knows of nothing, if another could be: that is how images are read, too.

        Raises as `RemoteRepository.referrers`, if nobody knows of anything and one refused to say so.
        """
        entries: dict[Digest, Descriptor] = {}
        failures: list[RegistryError] = []
        answered = False
        for repository in self._candidates(by_digest=True):
            try:
                for entry in repository.referrers(subject, artifact_type):
                    entries.setdefault(entry.digest, entry)
                answered = True
            except RegistryError as error:
                failures.append(error)
        unreachable = all(isinstance(failure, UnreachableError) for failure in failures)
        if failures and not entries and not (answered and unreachable):
            raise _told(failures)
        return iter(entries.values())

    def tags(self) -> Iterator[str]:
        """Yield the registry's own tags, of which a mirror has only a part.

        Raises as `RemoteRepository.tags`.
        """
        return self._places[-1].repository.tags()

    def _verified(
        self,
        descriptor: Descriptor,
        make: Callable[[list[RemoteRepository]], io.RawIOBase],
    ) -> BinaryIO:
        used: list[RemoteRepository] = []
        stream = verifying(make(used), descriptor)  # type: ignore[arg-type]  # RawIOBase reads like a BinaryIO
        return io.BufferedReader(_Judging(stream, functools.partial(self._distrust, used)), BLOCK)

    def _distrust(self, used: list[RemoteRepository]) -> None:
        with self._lock:
            self._bad.update(repository.name for repository in used)

    def _candidates(self, *, by_digest: bool) -> Iterator[RemoteRepository]:
        *mirrors, last = self._places
        for place in mirrors:
            asked = place.digests if by_digest else place.tags
            if asked and place.repository.name not in self._bad:
                yield place.repository
        yield last.repository

    def _chain(self, descriptor: Descriptor, used: list[RemoteRepository], offset: int) -> _Chain:
        failures: list[RegistryError] = []

        def bodies() -> Iterator[Callable[[int], io.RawIOBase]]:
            for repository in self._candidates(by_digest=True):
                used.append(repository)
                yield functools.partial(repository.body, descriptor)
                if isinstance(failures[-1], UnreachableError):
                    self._distrust([repository])

        return _Chain(bodies(), failures, offset)

    def _first(
        self,
        ask: Callable[[RemoteRepository], _Result],
        *,
        by_digest: bool,
        may_be_missing: bool = False,
    ) -> _Result:
        """Return the first answer; if there is none raise the last error, the others as its notes."""
        failures: list[RegistryError] = []
        for repository in self._candidates(by_digest=by_digest):
            try:
                return ask(repository)
            except RegistryError as error:
                failures.append(error)
                if isinstance(error, DigestMismatchError | SizeMismatchError | UnreachableError):
                    self._distrust([repository])
            logger.debug("mirror.failed %s: %s", repository.name, printable(str(failures[-1])))
        raise _told(failures, may_be_missing=may_be_missing)


class _Chain(Rewindable):
    """One run of bytes: when one body fails, the next goes on where it stopped."""

    def __init__(
        self,
        bodies: Iterator[Callable[[int], io.RawIOBase]],
        failures: list[RegistryError],
        offset: int,
    ) -> None:
        """``failures`` receives what each body failed with, before the next is asked for."""
        super().__init__(offset)
        self._bodies = bodies
        self._body: io.RawIOBase | None = None
        self._failures = failures
        self._opened()

    def restart(self) -> None:
        self._opened().seek(0)

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # typeshed: WriteableBuffer
        while True:
            try:
                size = read_into(self._opened(), buffer)  # type: ignore[arg-type]  # RawIOBase reads like a BinaryIO
            except RegistryError as error:
                self._next(error)
                continue
            self._position += size
            return size

    def close(self) -> None:
        if self._body is not None:
            self._body.close()
        super().close()

    def _opened(self) -> io.RawIOBase:
        while self._body is None:
            opener = next(self._bodies, None)
            if opener is None:
                raise _told(self._failures)
            try:
                self._body = opener(self._position)
            except RegistryError as error:
                self._next(error)
        return self._body

    def _next(self, error: RegistryError) -> None:
        self._failures.append(error)
        logger.debug("mirror.failed %s", printable(str(error)))
        if self._body is not None:
            self._body.close()
            self._body = None


class _Judging(Layered):
    """Reads a verified stream through and tells when its bytes are found wrong."""

    same_bytes = True

    def __init__(self, stream: BinaryIO, found_wrong: Callable[[], None]) -> None:
        super().__init__(stream)
        self._found_wrong = found_wrong

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # typeshed: WriteableBuffer
        try:
            size = read_into(self._below, buffer)
        except (DigestMismatchError, SizeMismatchError):
            self._found_wrong()
            raise
        self._position += size
        return size


def _told(failures: list[RegistryError], *, may_be_missing: bool = False) -> RegistryError:
    """Return the last failure, the registry's own, with the others as its notes.

    With ``may_be_missing`` what one does not have is not there, whoever else cannot be reached.
    """
    told = failures[-1]
    if may_be_missing and isinstance(told, UnreachableError):
        told = next((each for each in failures if isinstance(each, NotFoundError)), told)
    for failure in failures:
        if failure is not told:
            told.add_note(f"asked too: {failure}")
    return told
