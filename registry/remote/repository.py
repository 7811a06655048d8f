"""One repository of a remote registry, as a source and a target of `registry.copy`."""

from __future__ import annotations

import functools
import io
import json
import random
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO
from urllib.parse import quote

from registry.compress import decompressing
from registry.errors import (
    DigestMismatchError,
    InvalidDigestError,
    InvalidDocumentError,
    InvalidReferenceError,
    NotFoundError,
    ProtocolError,
    RegistryError,
    SizeMismatchError,
    TooLargeError,
    UnauthorizedError,
)
from registry.oci import manifest as manifests
from registry.oci.descriptor import Descriptor
from registry.oci.digest import DiffId, Digest, sha256
from registry.oci.manifest import MAX_MANIFEST_BYTES, Index
from registry.oci.mediatypes import (
    DOCKER_LAYER_GZIP,
    INDEXES,
    MANIFESTS,
    OCI_INDEX,
    OCTETS,
    is_foreign,
)
from registry.referrers import fallback_tag, listed, of_type, with_listed, without_listed
from registry.remote.api import DELETE, PULL, PUSH, Api
from registry.remote.auth import repository_scope
from registry.remote.download import BlobBody, Continued, ForeignUrl
from registry.remote.errors import WEB_PAGE, is_web_page, printable, redact
from registry.remote.schema1 import convert, is_schema1, signed_payload
from registry.remote.transport import Response
from registry.remote.upload import put_blob, put_new_blob
from registry.store import BlobSource, check_bytes, describe, verifying

MAX_PAGES = 1000
"""Of a list; with docker's hundred tags a page more than anybody could read."""

_DOCUMENTS = (*MANIFESTS, *INDEXES)
_ACCEPT = {"Accept": ", ".join(_DOCUMENTS)}
_MAX_KEPT_BYTES = 16 * 1024 * 1024
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", re.ASCII)
_NEXT = re.compile(r"""<([^>]*)>\s*;(?:[^,]*;)?\s*rel\s*=\s*"?next"?""", re.IGNORECASE)
_MAX_LIST_CHANGES = 40
_LIST_SETTLES, _MIN_LIST_PAUSE_S, _MAX_LIST_PAUSE_S = 3, 0.2, 1.0
_OK, _CREATED, _ACCEPTED = 200, 201, 202
_NOT_FOUND, _SERVER_ERROR = 404, 500
_NO_SUCH_API = (400, 404, 405, 406, 501)


class RemoteRepository:
    """Manifests, blobs and tags of one repository.

    Safe to use from several threads. It remembers the few manifests that passed through it, so that
    opening what was just resolved, or tagging what was just put, costs no request.
    """

    def __init__(self, api: Api) -> None:
        self._api = api
        self._name = f"{api.registry}/{api.repository}"
        self._kept: OrderedDict[Digest, bytes] = OrderedDict()
        self._made: dict[Digest, bytes] = {}
        """Manifests and configs that no registry has: they were made from Docker's first format."""
        self._sessions: dict[Digest, str] = {}
        self._lock = threading.Lock()
        self._list_lock = threading.Lock()

    def __repr__(self) -> str:
        return f"RemoteRepository({self._name!r})"

    @property
    def name(self) -> str:
        """Registry and repository: `docker.io/library/debian`."""
        return self._name

    def resolve(self, tag_or_digest: str) -> Descriptor:
        """Return the descriptor of a manifest or index.

        Raises:
            NotFoundError, UnauthorizedError, UnreachableError, ProtocolError, InvalidDocumentError
        """
        digest = _digest_of(tag_or_digest)
        # HEAD is small and does not count against rate limits; who cannot answer it well is asked
        # for the manifest itself.
        response = self._api.request(
            "HEAD", self._manifest_url(tag_or_digest), actions=PULL, headers=_ACCEPT
        )
        response.discard()
        described = _described(response, digest) if response.status == _OK else None
        if described is not None:
            return described
        raw, media_type = self._get_manifest(tag_or_digest, digest)
        found = digest if digest and sha256(raw) not in self._made else sha256(raw)
        return Descriptor(media_type=media_type, digest=found, size=len(raw))

    def open(self, descriptor: Descriptor) -> BinaryIO:
        """Return a verified stream; a blob's goes on after broken connections, and can `seek(0)`.

        Raises:
            NotFoundError, UnauthorizedError, UnreachableError, ProtocolError
            DigestMismatchError, SizeMismatchError, InvalidDocumentError: other bytes. For blobs also
                while reading.
        """
        if descriptor.digest in self._made:
            return io.BytesIO(self._made[descriptor.digest])
        if descriptor.media_type in _DOCUMENTS:
            return io.BytesIO(self._manifest(descriptor))
        return verifying(self.body(descriptor), descriptor)  # type: ignore[arg-type]  # RawIOBase reads like a BinaryIO

    def open_after(self, descriptor: Descriptor, kept: BinaryIO) -> BinaryIO:
        """Return a blob's stream as `open` does; it begins with the bytes of ``kept``, which it closes."""
        rest = functools.partial(self.body, descriptor)
        return verifying(Continued(kept, descriptor.size, rest), descriptor)  # type: ignore[arg-type]  # as above

    def body(self, descriptor: Descriptor, offset: int = 0) -> io.RawIOBase:
        """Return a blob's bytes from ``offset`` on, unverified.

        A foreign layer that the registry does not have comes from where its author says it is, and
        nobody there is shown any credentials.

        Raises: as `open`.
        """
        url = self._api.url(f"blobs/{descriptor.digest}")
        try:
            return BlobBody(self._api, descriptor, url, offset)
        except NotFoundError as error:
            if not is_foreign(descriptor.media_type) or not descriptor.urls:
                raise
            for there in descriptor.urls:
                try:
                    return BlobBody(
                        ForeignUrl(self._api.transport, there, url), descriptor, there, offset
                    )
                except RegistryError as failed:
                    error.add_note(f"asked too: {failed}")
            raise

    def has(self, descriptor: Descriptor) -> bool:
        """Say whether the repository holds a blob or manifest. An unclear answer counts as no.

        Raises:
            UnauthorizedError, UnreachableError, ProtocolError
        """
        if descriptor.media_type in _DOCUMENTS:
            url, headers = self._manifest_url(descriptor.digest), _ACCEPT
        else:
            url, headers = self._api.url(f"blobs/{descriptor.digest}"), {}
        response = self._api.request("HEAD", url, actions=PULL, headers=headers)
        if response.status in (401, 403) and self._api.owns(response.url):
            raise self._api.error(response, str(descriptor.digest))
        if response.status >= _SERVER_ERROR:
            raise self._api.error(response, str(descriptor.digest))
        response.discard()
        length = response.headers.get("Content-Length", "")
        # A login page is there whatever was asked for. Some registries say no length, or 0.
        other = length.isdigit() and int(length) not in (0, descriptor.size)
        return response.status == _OK and not other and _media_type(response) != "text/html"

    def find_blob(self, digest: Digest) -> Descriptor:
        """Describe a blob of which only the digest is known.

        Raises:
            NotFoundError, UnauthorizedError, UnreachableError, ProtocolError
        """
        what = f"{self._name}@{digest}"
        response = self._api.request("HEAD", self._api.url(f"blobs/{digest}"), actions=PULL)
        if response.status != _OK:
            raise self._api.error(response, what)
        response.discard()
        length = response.headers.get("Content-Length", "")
        if not length.isdigit():
            raise ProtocolError(response.request, _OK, (), "it does not say how long the blob is")
        return Descriptor(media_type=OCTETS, digest=digest, size=int(length))

    def put(self, stream: BinaryIO, expected: Descriptor) -> None:
        """Upload ``stream``: a manifest under its digest, anything else as a blob.

        A manifest with a `subject` is listed among its referrers, too.

        A stream that can `seek` back lets a broken upload go on where it stopped.

        Raises:
            DigestMismatchError, SizeMismatchError: nothing was stored.
            UnauthorizedError, UnreachableError, ProtocolError
        """
        if expected.media_type in _DOCUMENTS:
            what = f"manifest {expected.digest}"
            raw = stream.read(min(expected.size, MAX_MANIFEST_BYTES) + 1)
            if len(raw) > MAX_MANIFEST_BYTES:
                raise TooLargeError(what, MAX_MANIFEST_BYTES)
            _check(raw, expected, what)
            document = manifests.parse(raw, expected.media_type, what, expected.digest.algorithm)
            answer = self._put_manifest(raw, expected.media_type, expected.digest)
            self._keep(expected.digest, raw)
            # A registry that lists it says so; for others the list is the client's to keep.
            if document.subject is not None and "OCI-Subject" not in answer.headers:
                entry = listed(document)
                self._change_list(document.subject.digest, lambda old: with_listed(old, entry))
            return
        with self._lock:
            session = self._sessions.pop(expected.digest, "")
        put_blob(self._api, stream, expected, session)

    def put_new(self, stream: BinaryIO, media_type: str) -> Descriptor:
        """Upload a blob whose digest is not known before its end, and describe it.

        Raises:
            UnauthorizedError, UnreachableError, ProtocolError: nothing was stored.
        """
        return put_new_blob(self._api, stream, media_type)

    def mount(self, descriptor: Descriptor, source: BlobSource) -> bool:
        """Let the registry take a blob from another of its repositories; False if it will not.

        Raises:
            UnreachableError
        """
        source = getattr(source, "origin", source)  # what mirrors have is the origin's
        if not isinstance(source, RemoteRepository) or source._api.registry != self._api.registry:  # noqa: SLF001 - our own kind
            return False
        theirs = source._api.repository  # noqa: SLF001
        url = self._api.url(f"blobs/uploads/?mount={descriptor.digest}&from={theirs}")
        try:
            response = self._api.request(
                "POST", url, actions=PUSH, also=repository_scope(theirs, "pull")
            )
        except (UnauthorizedError, ProtocolError):
            return False  # perhaps we may not read there; an upload needs only this repository
        response.discard()
        location = response.headers.get("Location")
        if response.status == _ACCEPTED and location:
            # It has begun an ordinary upload instead: `put` uses that one.
            with self._lock:
                self._sessions[descriptor.digest] = self._api.follow(response, location)
        return response.status == _CREATED

    def tag(self, descriptor: Descriptor, tag: str) -> None:
        """Point ``tag`` at a manifest or index that the repository holds.

        Raises:
            NotFoundError, UnauthorizedError, UnreachableError, ProtocolError
        """
        raw = self._manifest(descriptor)
        self._put_manifest(raw, descriptor.media_type, _checked_tag(tag))

    def tags(self) -> Iterator[str]:
        """Yield the repository's tags, in the registry's order.

        Raises:
            NotFoundError, UnauthorizedError, UnreachableError, ProtocolError, TooLargeError
        """
        what = f"tags of {self._name}"
        for page in self._pages(self._api.url("tags/list"), what, {}):
            if page.status != _OK:
                raise self._api.error(page, what)
            yield from _tag_names(page)

    def referrers(self, subject: Digest, artifact_type: str = "") -> Iterator[Descriptor]:
        """Yield what refers to ``subject``: as the registry lists it, or else the fallback tag.

        Raises:
            UnauthorizedError, UnreachableError, ProtocolError, TooLargeError
            InvalidDocumentError: the list is not an index.
        """
        what = f"referrers of {self._name}@{subject}"
        query = f"?artifactType={quote(artifact_type, safe='')}" if artifact_type else ""
        url = self._api.url(f"referrers/{subject}{query}")
        first = True
        for page in self._pages(url, what, {"Accept": OCI_INDEX}):
            if first and _lacks_referrers(page):
                page.discard()
                index = self._read_list(subject)
                yield from of_type(index.manifests if index is not None else (), artifact_type)
                return
            if page.status != _OK:
                raise self._api.error(page, what)
            # The registry may have left the choice to us.
            entries = manifests.parse_index(page.content, OCI_INDEX, what).manifests
            yield from of_type(entries, artifact_type)
            first = False

    def delete(self, descriptor: Descriptor) -> None:
        """Remove a manifest with all its tags and from its subject's referrers, or a blob.

        Raises:
            NotFoundError, UnauthorizedError, UnreachableError
            ProtocolError: the registry does not delete (400, 405).
        """
        what = f"{self._name}@{descriptor.digest}"
        if descriptor.media_type not in _DOCUMENTS:
            self._delete(f"blobs/{descriptor.digest}", what)
            return
        raw = self._manifest(descriptor)
        subject = manifests.parse(raw, descriptor.media_type, what).subject
        self._delete(f"manifests/{descriptor.digest}", what)
        with self._lock:
            self._kept.pop(descriptor.digest, None)
        if subject is not None:
            self._change_list(
                subject.digest, lambda old: old and without_listed(old, descriptor.digest)
            )

    def untag(self, tag: str) -> None:
        """Remove a tag and leave its manifest.

        Raises:
            NotFoundError, UnauthorizedError, UnreachableError
            ProtocolError: the registry cannot; old ones (400, 405) only remove whole manifests.
        """
        self._delete(f"manifests/{_checked_tag(tag)}", f"{self._name}:{tag}")

    def _delete(self, path: str, what: str) -> None:
        response = self._api.request("DELETE", self._api.url(path), actions=DELETE)
        if response.status not in (_OK, _ACCEPTED):
            raise self._api.error(response, what)
        response.discard()

    def _pages(self, url: str, what: str, headers: Mapping[str, str]) -> Iterator[Response]:
        """Yield the answer to ``url`` and the pages that follow it, whatever the first's status."""
        following: str | None = url
        seen: set[str] = set()
        while following is not None:
            if following in seen or len(seen) >= MAX_PAGES:
                raise ProtocolError(f"GET {redact(following)}", _OK, (), "its pages do not end")
            seen.add(following)
            response = self._api.request(
                "GET", following, actions=PULL, headers=headers, limit=MAX_MANIFEST_BYTES, what=what
            )
            yield response
            link = _NEXT.search(response.headers.get("Link", ""))
            following = self._api.follow(response, link[1]) if link else None
            if following is not None and not self._api.owns(following):
                detail = "its next page is at another host"
                raise ProtocolError(response.request, response.status, (), detail)

    def _read_list(self, subject: Digest) -> Index | None:
        """Return the index under the fallback tag, if there is one."""
        tag = fallback_tag(subject)
        try:
            raw, media_type = self._get_manifest(tag, None)
        except NotFoundError:
            return None
        document = manifests.parse(raw, media_type, f"{self._name}:{tag}")
        if not isinstance(document, Index):
            raise InvalidDocumentError(f"{self._name}:{tag}", "is not a list of referrers")
        return document

    def _change_list(self, subject: Digest, change: Callable[[Index | None], Index | None]) -> None:
        """Bring the index under the fallback tag to where ``change`` leaves it as it is.

        Registries cannot change a tag only if it is still what we have read, so a writer who read
        earlier may put its list in the place of ours. The list is read again until it has what we
        want and nobody has changed it for a while; longer than others need from reading to writing.
        """
        seen: bytes | None = None
        for _ in range(_MAX_LIST_CHANGES):
            with self._list_lock:
                began = time.monotonic()
                old = self._read_list(subject)
                new = change(old)
                if new is None or (new is old and seen in (None, new.raw)):
                    return
                if new is not old:
                    self._put_manifest(new.raw, new.media_type, fallback_tag(subject))
                seen = new.raw
                pause = _LIST_SETTLES * (time.monotonic() - began)
            pause = min(max(pause, _MIN_LIST_PAUSE_S), _MAX_LIST_PAUSE_S)
            time.sleep(pause * random.uniform(1, 2))  # noqa: S311 - spreads writers out
        what = f"{self._name}:{fallback_tag(subject)}"
        raise ProtocolError(f"PUT {what}", _CREATED, (), "others change the list all the time")

    def _manifest_url(self, tag_or_digest: str) -> str:
        return self._api.url(f"manifests/{tag_or_digest}")

    def _manifest(self, descriptor: Descriptor) -> bytes:
        """Return a manifest's bytes, kept or fetched, and verified."""
        what = f"manifest {descriptor.digest}"
        with self._lock:
            raw = self._kept.get(descriptor.digest)
        if raw is None:
            raw, media_type = self._get_manifest(descriptor.digest, descriptor.digest)
            if media_type != descriptor.media_type:
                reason = f'is a "{media_type}" and was announced as "{descriptor.media_type}"'
                raise InvalidDocumentError(what, reason)
        _check(raw, descriptor, what)
        return raw

    def _get_manifest(self, tag_or_digest: str, digest: Digest | None) -> tuple[bytes, str]:
        """Fetch a manifest; return its bytes and media type, both checked."""
        what = f"{self._name}{'@' if digest else ':'}{tag_or_digest}"
        response = self._api.request(
            "GET",
            self._manifest_url(tag_or_digest),
            actions=PULL,
            headers=_ACCEPT,
            limit=MAX_MANIFEST_BYTES,
            what=what,
        )
        if response.status != _OK:
            raise self._api.error(response, what)
        raw = response.content
        if is_web_page(raw):
            raise ProtocolError(response.request, response.status, (), WEB_PAGE, what=what)
        stated = _stated_digest(response)
        if is_schema1(raw):
            payload = signed_payload(raw, what)
            for expected in (digest, stated):
                if expected is not None:
                    check_bytes(payload, expected, what)
            return self._convert(raw, what)
        for expected in (digest, stated):
            if expected is not None:
                check_bytes(raw, expected, what)
        content_type = _media_type(response)
        media_type = manifests.parse(
            raw, content_type if content_type in _DOCUMENTS else "", what
        ).media_type
        self._keep(digest or sha256(raw), raw)
        return raw, media_type

    def _convert(self, raw: bytes, what: str) -> tuple[bytes, str]:
        """Make today's documents of Docker's first format; return the manifest's bytes and media type.

        All layers are read for it, because that format says neither their sizes nor their diff_ids.
        """
        manifest, config = convert(raw, what, self._describe_layer)
        self._made[manifest.config.digest] = config
        self._made[manifest.descriptor.digest] = manifest.raw
        return manifest.raw, manifest.media_type

    def _describe_layer(self, digest: Digest) -> tuple[int, DiffId]:
        what = f"blob {digest}"
        response = self._api.request("HEAD", self._api.url(f"blobs/{digest}"), actions=PULL)
        length = response.headers.get("Content-Length", "")
        if response.status != _OK:
            raise self._api.error(response, what)
        response.discard()
        if not length.isdigit():
            raise ProtocolError(response.request, response.status, (), "it does not say the length")
        blob = Descriptor(media_type=DOCKER_LAYER_GZIP, digest=digest, size=int(length))
        with decompressing(self.open(blob), "gzip", what) as tar:
            return blob.size, DiffId(describe(tar, "").digest)

    def _put_manifest(self, raw: bytes, media_type: str, tag_or_digest: str) -> Response:
        what = f"{self._name}{'@' if ':' in tag_or_digest else ':'}{tag_or_digest}"
        response = self._api.request(
            "PUT",
            self._manifest_url(tag_or_digest),
            actions=PUSH,
            headers={"Content-Type": media_type},
            body=raw,
            timeout_s=self._api.transport.settings.commit_timeout_s,
        )
        if response.status not in (_CREATED, _OK, _ACCEPTED):
            raise self._api.error(response, what)
        response.discard()
        if (stored := _stated_digest(response)) is not None:
            check_bytes(raw, stored, what)
        return response

    def _keep(self, digest: Digest, raw: bytes) -> None:
        with self._lock:
            self._kept[digest] = raw
            self._kept.move_to_end(digest)
            while sum(map(len, self._kept.values())) > _MAX_KEPT_BYTES:
                self._kept.popitem(last=False)


def _digest_of(tag_or_digest: str) -> Digest | None:
    """Return a checked digest, or None for a checked tag: both become part of a URL."""
    if ":" in tag_or_digest:
        return Digest(tag_or_digest)
    _checked_tag(tag_or_digest)
    return None


def _checked_tag(tag: str) -> str:
    if not _TAG.fullmatch(tag):
        raise InvalidReferenceError(tag, "is not a tag")
    return tag


def _check(raw: bytes, descriptor: Descriptor, what: str) -> None:
    if len(raw) != descriptor.size:
        raise SizeMismatchError(descriptor.size, len(raw), what)
    check_bytes(raw, descriptor.digest, what)


def _media_type(response: Response) -> str:
    return response.headers.get("Content-Type", "").partition(";")[0].strip().lower()


def _lacks_referrers(response: Response) -> bool:
    """Say whether a registry, or a proxy before it, has no API for referrers."""
    if response.status == _OK:
        return _media_type(response) != OCI_INDEX
    return response.status in _NO_SUCH_API


def _stated_digest(response: Response) -> Digest | None:
    """Return Docker-Content-Digest, if the registry says it.

    Raises:
        ProtocolError: it says something else there.
    """
    text = response.headers.get("Docker-Content-Digest")
    try:
        return Digest(text) if text else None
    except InvalidDigestError as error:
        said = printable(f'"{text}" is no digest: {error.reason}')
        raise ProtocolError(response.request, response.status, (), said) from error


def _described(response: Response, digest: Digest | None) -> Descriptor | None:
    """Return what a HEAD says of a manifest, if it says all that is needed."""
    media_type, length = _media_type(response), response.headers.get("Content-Length", "")
    stated = _stated_digest(response)
    if digest and stated and stated.algorithm == digest.algorithm and stated != digest:
        raise DigestMismatchError(digest, stated, f"manifest {digest}")
    known = digest or stated
    if known is None or media_type not in _DOCUMENTS or not length.isdigit():
        return None
    return Descriptor(media_type=media_type, digest=known, size=int(length))


def _tag_names(response: Response) -> list[str]:
    try:
        answer: Any = json.loads(response.content)
        names = answer.get("tags") or []
    except (ValueError, AttributeError, RecursionError):
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        said = WEB_PAGE if is_web_page(response.content) else "it is not a list of tags"
        raise ProtocolError(response.request, response.status, (), said)
    # A name that is no tag is not one we could ask for; it may be meant for the terminal.
    return [name for name in names if _TAG.fullmatch(name)]
