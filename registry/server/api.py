"""The distribution API: which requests there are, what each needs, and what is done.

Spec: https://github.com/opencontainers/distribution-spec/blob/main/spec.md
"""

from __future__ import annotations

import errno
import logging
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import BinaryIO, ClassVar, Protocol
from urllib.parse import quote, urlencode

from registry.errors import (
    DigestMismatchError,
    InvalidDigestError,
    InvalidDocumentError,
    InvalidReferenceError,
    NotFoundError,
    RegistryError,
    SizeMismatchError,
    StoreError,
    TooLargeError,
    UnauthorizedError,
    UnreachableError,
)
from registry.oci import mediatypes
from registry.oci.descriptor import Descriptor
from registry.oci.digest import Digest
from registry.oci.manifest import MAX_MANIFEST_BYTES, Index, Manifest, encode
from registry.remote.api import DELETE, PULL, PUSH
from registry.remote.auth import Scope, repository_scope
from registry.server.access import CATALOG, Gate
from registry.server.messages import (
    Answer,
    ApiError,
    BrokenBodyError,
    FileContent,
    Request,
    StreamContent,
    json_answer,
)
from registry.server.storage import (
    MissingChildrenError,
    Repository,
    Storage,
    check_tag,
    is_name,
    read_document,
)
from registry.server.tokens import TOKEN_PATH, Tokens
from registry.server.uploads import Place, Uploads, range_of

logger = logging.getLogger(__name__)

PAGE = 1000
"""Entries of one page of a list, at most and unless fewer are asked for."""

_PAGE_BYTES = MAX_MANIFEST_BYTES - 8 * 1024
"""Of the entries of one page of referrers; with what is around them it is still a manifest."""

MAX_TAGS_AT_ONCE = 100
"""Tags that one manifest can be pushed with."""


_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})", re.ASCII)
_CONTENT_RANGE = re.compile(r"(?:bytes )?([0-9]{1,18})-([0-9]{1,18})(?:/[0-9*]+)?", re.ASCII)
_NUMBER = re.compile(r"[0-9]{1,9}", re.ASCII)


class Upstream(Protocol):
    """Where a repository gets what it does not have; `registry.server.proxy` has the only one."""

    def manifest(
        self, repository: Repository, tag_or_digest: str
    ) -> tuple[Manifest | Index, Descriptor]:
        """Return a manifest, fetched if need be. Raises as `Repository.manifest`, and as clients do."""
        ...

    def blob(self, repository: Repository, digest: Digest) -> StreamContent | None:
        """Return a blob on its way here; None if it is here already.

        Raises:
            NotFoundError, UnreachableError, UnauthorizedError, ProtocolError
        """
        ...

    def size(self, repository: Repository, digest: Digest) -> int | None:
        """Return the size of a blob that may not be here; None if there is none."""
        ...

    def tags(self, repository: Repository) -> Iterator[str]:
        """Return all tags, sorted."""
        ...

    def referrers(
        self, repository: Repository, subject: Digest, artifact_type: str
    ) -> Iterator[Descriptor]:
        """Return what refers to ``subject``, in the order of digests."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Call:
    """A request to a repository, taken apart."""

    request: Request
    repository: Repository
    rest: str
    """The end of the path, not checked: a tag, a digest, an upload's id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Route:
    pattern: re.Pattern[str]
    methods: dict[str, tuple[Callable[[Api, _Call], Answer], tuple[str, ...]]]
    """By name, what answers it and what it needs."""


class Api:
    """Answers requests from ``storage``. Safe to use from several threads."""

    def __init__(
        self,
        storage: Storage,
        uploads: Uploads,
        gate: Gate,
        *,
        tokens: Tokens | None = None,
        upstream: Upstream | None = None,
        deletes: bool = True,
    ) -> None:
        self._storage = storage
        self._uploads = uploads
        self._gate = gate
        self._tokens = tokens
        self._upstream = upstream
        self._deletes = deletes

    def handle(self, request: Request) -> Answer:
        """Return the answer to ``request``.

        Raises:
            BrokenBodyError, TimeoutError: its body did not come.
        """
        try:
            answer = self._dispatch(request)
        except (BrokenBodyError, TimeoutError):
            raise
        except (ApiError, RegistryError) as error:
            answer = _told(error)
        except Exception:
            logger.exception("request.failed %s %s", request.method, request.path)
            answer = ApiError(500, "UNKNOWN", "an internal error; the log says more").answer()
        return replace(
            answer, headers={"Docker-Distribution-Api-Version": "registry/2.0", **answer.headers}
        )

    def _dispatch(self, request: Request) -> Answer:
        if request.path == TOKEN_PATH and self._tokens is not None:
            return self._tokens.answer(request)
        if request.path in ("/v2/", "/v2"):
            user = self._gate.admit(request, frozenset())
            _check_method(request, ("GET", "HEAD"))
            return replace(json_answer({}), user=user)
        if request.path == "/v2/_catalog":
            user = self._gate.admit(request, frozenset((CATALOG,)))
            _check_method(request, ("GET", "HEAD"))
            return replace(self._catalog(request), user=user)
        for route in self._ROUTES:
            if match := route.pattern.fullmatch(request.path):
                return self._route(request, route, match["name"], match["rest"] or "")
        raise ApiError(404, "UNSUPPORTED", "there is nothing of that name in the API")

    def _route(self, request: Request, route: _Route, name: str, rest: str) -> Answer:
        try:
            repository = self._storage.repository(name)
        except InvalidReferenceError as error:
            raise ApiError(400, "NAME_INVALID", error.reason, detail=name[:255]) from error
        _check_method(request, route.methods)
        handler, actions = route.methods[request.method]
        source = request.parameter("from") or ""
        wished = repository_scope(source, *PULL) if is_name(source) else frozenset[Scope]()
        user = self._gate.admit(request, repository_scope(name, *actions), wished)
        if actions != PULL:
            self._check_writable(actions)
        try:
            answer = handler(self, _Call(request=request, repository=repository, rest=rest))
        except (ApiError, RegistryError) as error:
            answer = _told(error)
        return replace(answer, user=user)

    def _check_writable(self, actions: tuple[str, ...]) -> None:
        if self._storage.read_only:
            raise ApiError(405, "UNSUPPORTED", "this registry is read-only")
        if self._upstream is not None:
            raise ApiError(405, "UNSUPPORTED", "this registry only hands on what another one has")
        if actions == DELETE and not self._deletes:
            raise ApiError(405, "UNSUPPORTED", "this registry deletes nothing")

    # -- lists

    def _catalog(self, request: Request) -> Answer:
        names = [
            name
            for name in self._storage.names()
            if self._gate.may(request, (f"repository:{name}", "pull"))
        ]
        page, headers = _page(request, names)
        return json_answer({"repositories": page}, headers=headers)

    def _list_tags(self, call: _Call) -> Answer:
        tags = (
            call.repository.tags()
            if self._upstream is None
            else self._upstream.tags(call.repository)
        )
        page, headers = _page(call.request, list(tags))
        return json_answer({"name": call.repository.name, "tags": page}, headers=headers)

    def _list_referrers(self, call: _Call) -> Answer:
        artifact_type = call.request.parameter("artifactType") or ""
        subject, count = Digest(call.rest), _count(call.request)
        if self._upstream is None:
            found = call.repository.referrers(subject, artifact_type)
        else:
            found = self._upstream.referrers(call.repository, subject, artifact_type)
        entries: dict[Digest, bytes] = {}
        size, headers = 0, dict[str, str]()
        last = call.request.parameter("last") or ""
        for entry in found:
            if entry.digest <= last:
                continue
            raw = encode(entry.to_json())
            size += len(raw)
            # Annotations may be large: what clients read of an index is limited.
            if len(entries) >= count or (entries and size > _PAGE_BYTES):
                headers = _next_page(call.request, len(entries), next(reversed(entries), ""))
                break
            entries[entry.digest] = raw
        if artifact_type:
            headers["OCI-Filters-Applied"] = "artifactType"
        head = {"schemaVersion": 2, "mediaType": mediatypes.OCI_INDEX, "manifests": []}
        index = encode(head).removesuffix(b"]}") + b",".join(entries.values()) + b"]}"
        return Answer(
            status=200, headers={"Content-Type": mediatypes.OCI_INDEX, **headers}, content=index
        )

    # -- manifests

    def _get_manifest(self, call: _Call) -> Answer:
        if self._upstream is None:
            document, descriptor = call.repository.manifest(call.repository.digest_of(call.rest))
        else:
            document, descriptor = self._upstream.manifest(call.repository, call.rest)
        headers = {
            "Content-Type": descriptor.media_type,
            "Docker-Content-Digest": descriptor.digest,
            "ETag": f'"{descriptor.digest}"',
        }
        if call.request.header("if-none-match") == headers["ETag"]:
            return Answer(status=304, headers=headers)
        return Answer(status=200, headers=headers, content=document.raw)

    def _put_manifest(self, call: _Call) -> Answer:
        digest, tags = self._named(call.request, call.rest)
        # Parameters of a media type say nothing here; it is compared with what the manifest says.
        media_type = call.request.header("content-type").partition(";")[0].strip()
        with self._uploads.slot():
            document = read_document(_read_small(call.request), media_type, "manifest")
            if digest is None:
                digest = document.descriptor.digest
            call.repository.put_manifest(document, digest, tags)
        headers = {
            "Location": f"/v2/{call.repository.name}/manifests/{digest}",
            "Docker-Content-Digest": digest,
        }
        if document.subject is not None:
            headers["OCI-Subject"] = document.subject.digest
        if ":" in call.rest and tags:
            headers["OCI-Tag"] = ", ".join(tags)
        return Answer(status=201, headers=headers)

    def _named(self, request: Request, rest: str) -> tuple[Digest | None, tuple[str, ...]]:
        """Return the digest and the tags that a manifest is pushed under."""
        if ":" not in rest:
            return None, (check_tag(rest),)
        tags = tuple(dict.fromkeys(request.query.get("tag", ())))
        if len(tags) > MAX_TAGS_AT_ONCE:
            raise ApiError(414, "UNSUPPORTED", f"{MAX_TAGS_AT_ONCE} tags at once are the limit")
        return Digest(rest), tuple(check_tag(tag) for tag in tags)

    def _delete_manifest(self, call: _Call) -> Answer:
        if ":" in call.rest:
            _, descriptor = call.repository.manifest(Digest(call.rest))
            call.repository.delete(descriptor)
        else:
            call.repository.untag(check_tag(call.rest))
        return Answer(status=202)

    # -- blobs

    def _get_blob(self, call: _Call) -> Answer:
        digest = Digest(call.rest)
        headers = {
            "Content-Type": mediatypes.OCTETS,
            "Docker-Content-Digest": digest,
            "Accept-Ranges": "bytes",
            "ETag": f'"{digest}"',
        }
        if call.request.method == "HEAD":
            size = call.repository.size(digest)
            if size is None and self._upstream is not None:
                size = self._upstream.size(call.repository, digest)
            if size is None:
                raise NotFoundError(f"blob {digest}", call.repository.name)
            return Answer(status=200, headers={**headers, "Content-Length": str(size)})
        if self._upstream is not None and (stream := self._upstream.blob(call.repository, digest)):
            return Answer(status=200, headers=headers, content=stream)
        return _file_answer(call.request, call.repository.open_blob(digest), headers)

    def _delete_blob(self, call: _Call) -> Answer:
        call.repository.delete(call.repository.find_blob(Digest(call.rest)))
        return Answer(status=202)

    # -- uploads

    def _post_upload(self, call: _Call) -> Answer:
        if call.rest:
            raise ApiError(404, "BLOB_UPLOAD_UNKNOWN", "uploads are begun at their folder")
        if (mounted := call.request.parameter("mount")) is not None:
            digest = Digest(mounted)
            if self._mount(call.request, call.repository, digest):
                return _stored(call.repository, digest)
        elif (text := call.request.parameter("digest")) is not None:
            digest = Digest(text)
            upload = self._uploads.start(call.repository, digest.algorithm)
            try:
                self._uploads.finish(call.repository, upload, call.request.body, Place(), digest)
            except BaseException:
                # Nobody knows its id, so nobody can go on with it.
                _suppressed(lambda: self._uploads.cancel(call.repository, upload))
                raise
            return _stored(call.repository, digest)
        algorithm = call.request.parameter("digest-algorithm") or "sha256"
        upload = self._uploads.start(call.repository, algorithm)
        return _accepted(call.repository, upload, 0)

    def _mount(self, request: Request, repository: Repository, digest: Digest) -> bool:
        """Take a blob from another repository, if who asks could read it there."""
        name = request.parameter("from")
        if name is None:
            # Any repository will do, where everybody may read them all.
            anywhere = self._gate.may(request, ("repository:*", "pull"))
            return anywhere and repository.take(digest, None)
        try:
            source = self._storage.repository(name)
        except InvalidReferenceError:
            return False
        if not self._gate.may(request, (f"repository:{name}", "pull")):
            return False
        return repository.take(digest, source)

    def _get_upload(self, call: _Call) -> Answer:
        size = self._uploads.size(call.repository, call.rest)
        return replace(_accepted(call.repository, call.rest, size), status=204)

    def _patch_upload(self, call: _Call) -> Answer:
        size = self._uploads.append(
            call.repository, call.rest, call.request.body, _place(call.request)
        )
        return _accepted(call.repository, call.rest, size)

    def _put_upload(self, call: _Call) -> Answer:
        text = call.request.parameter("digest")
        if text is None:
            raise ApiError(400, "DIGEST_INVALID", "an upload ends with ?digest=")
        digest = Digest(text)
        self._uploads.finish(
            call.repository, call.rest, call.request.body, _place(call.request), digest
        )
        return _stored(call.repository, digest)

    def _delete_upload(self, call: _Call) -> Answer:
        self._uploads.cancel(call.repository, call.rest)
        return Answer(status=204)

    _ROUTES: ClassVar = (
        _Route(
            pattern=re.compile(r"/v2/(?P<name>.+)/blobs/uploads(?:/(?P<rest>[^/]*))?"),
            methods={
                "POST": (_post_upload, PUSH),
                "GET": (_get_upload, PUSH),
                "PATCH": (_patch_upload, PUSH),
                "PUT": (_put_upload, PUSH),
                "DELETE": (_delete_upload, PUSH),
            },
        ),
        _Route(
            pattern=re.compile(r"/v2/(?P<name>.+)/blobs/(?P<rest>[^/]+)"),
            methods={
                "GET": (_get_blob, PULL),
                "HEAD": (_get_blob, PULL),
                "DELETE": (_delete_blob, DELETE),
            },
        ),
        _Route(
            pattern=re.compile(r"/v2/(?P<name>.+)/manifests/(?P<rest>[^/]+)"),
            methods={
                "GET": (_get_manifest, PULL),
                "HEAD": (_get_manifest, PULL),
                "PUT": (_put_manifest, PUSH),
                "DELETE": (_delete_manifest, DELETE),
            },
        ),
        _Route(
            pattern=re.compile(r"/v2/(?P<name>.+)/tags/(?P<rest>list)"),
            methods={"GET": (_list_tags, PULL)},
        ),
        _Route(
            pattern=re.compile(r"/v2/(?P<name>.+)/referrers/(?P<rest>[^/]+)"),
            methods={"GET": (_list_referrers, PULL)},
        ),
    )


def _check_method(request: Request, methods: Iterable[str]) -> None:
    if request.method not in methods:
        raise ApiError(
            405,
            "UNSUPPORTED",
            f"{request.method} is not one of its methods",
            headers={"Allow": ", ".join(methods)},
        )


def _page(request: Request, entries: list[str]) -> tuple[list[str], dict[str, str]]:
    """Return the entries of the page that is asked for, and the headers that lead to the next."""
    last, count = request.parameter("last"), _count(request)
    left = [entry for entry in entries if last is None or entry > last]
    page = left[:count]
    if len(left) <= count:
        return page, {}
    return page, _next_page(request, count, page[-1] if page else "")


def _count(request: Request) -> int:
    """Return how many entries a page may have."""
    text = request.parameter("n")
    if text is not None and not _NUMBER.fullmatch(text):
        raise ApiError(400, "PAGINATION_NUMBER_INVALID", "n is not a number")
    return min(PAGE, PAGE if text is None else int(text))


def _next_page(request: Request, count: int, last: str) -> dict[str, str]:
    """Return the header that leads to the page after ``last``; none if it would be this one again."""
    if not last:
        return {}
    query = {name: values[0] for name, values in request.query.items()}
    query |= {"n": str(count), "last": last}
    return {"Link": f'<{quote(request.path)}?{urlencode(query)}>; rel="next"'}


def _read_small(request: Request) -> bytes:
    """Return a manifest's bytes."""
    if (request.body.length or 0) > MAX_MANIFEST_BYTES:
        raise TooLargeError("manifest", MAX_MANIFEST_BYTES)
    parts, size = [], 0
    while data := request.body.read(MAX_MANIFEST_BYTES):
        size += len(data)
        if size > MAX_MANIFEST_BYTES:
            raise TooLargeError("manifest", MAX_MANIFEST_BYTES)
        parts.append(data)
    return b"".join(parts)


def _file_answer(request: Request, file: BinaryIO, headers: dict[str, str]) -> Answer:
    """Answer with a file, or the range of it that is asked for."""
    size = file.seek(0, 2)
    match = _RANGE.fullmatch(request.header("range").replace(" ", ""))
    valid = request.header("if-range") in ("", headers["ETag"])
    # Several ranges, and what is not understood, may be answered with everything.
    if match is None or not valid or not (match[1] or match[2]):
        return Answer(
            status=200, headers=headers, content=FileContent(file=file, offset=0, size=size)
        )
    first, last = match[1], match[2]
    start = int(first) if first else max(size - int(last), 0)
    end = min(int(last), size - 1) if first and last else size - 1
    if first and last and int(last) < start:
        return Answer(
            status=200, headers=headers, content=FileContent(file=file, offset=0, size=size)
        )
    if start > end:
        file.close()
        raise ApiError(
            416,
            "SIZE_INVALID",
            f"the blob has {size} bytes",
            headers={"Content-Range": f"bytes */{size}"},
        )
    return Answer(
        status=206,
        headers={**headers, "Content-Range": f"bytes {start}-{end}/{size}"},
        content=FileContent(file=file, offset=start, size=end - start + 1),
    )


def _place(request: Request) -> Place:
    """Return where a piece of an upload belongs."""
    text = request.header("content-range")
    if not text:
        return Place()
    match = _CONTENT_RANGE.fullmatch(text)
    if match is None or int(match[2]) < int(match[1]):
        raise ApiError(416, "BLOB_UPLOAD_INVALID", "Content-Range is not FIRST-LAST")
    return Place(start=int(match[1]), length=int(match[2]) - int(match[1]) + 1)


def _accepted(repository: Repository, upload: str, size: int) -> Answer:
    return Answer(
        status=202,
        headers={
            "Location": f"/v2/{repository.name}/blobs/uploads/{upload}",
            "Range": range_of(size),
            "Docker-Upload-UUID": upload,
        },
    )


def _stored(repository: Repository, digest: Digest) -> Answer:
    return Answer(
        status=201,
        headers={
            "Location": f"/v2/{repository.name}/blobs/{digest}",
            "Docker-Content-Digest": digest,
        },
    )


def _suppressed(action: Callable[[], None]) -> None:
    try:
        action()
    except (ApiError, RegistryError):
        logger.debug("cleaning up failed", exc_info=True)


def _told(error: ApiError | RegistryError) -> Answer:
    """Return the answer that tells a client of ``error``."""
    if isinstance(error, StoreError):
        logger.warning("store.failed %s", error)
    return (error if isinstance(error, ApiError) else _refusal(error)).answer()


def _refusal(error: RegistryError) -> ApiError:
    """Return what a client is told of ``error``."""
    match error:
        case MissingChildrenError():
            detail = [{"digest": digest} for digest in error.missing[:100]]
            message = "the manifest names what this repository does not have"
            return ApiError(400, "MANIFEST_BLOB_UNKNOWN", message, detail=detail)
        case NotFoundError():
            return ApiError(404, _unknown_code(error.what), f"{error.what} is not in {error.where}")
        case InvalidDigestError():
            return ApiError(400, "DIGEST_INVALID", error.reason)
        case DigestMismatchError():
            return ApiError(400, "DIGEST_INVALID", str(error))
        case SizeMismatchError():
            return ApiError(400, "SIZE_INVALID", str(error))
        case TooLargeError():
            return ApiError(413, "SIZE_INVALID", str(error))
        case InvalidDocumentError():
            return ApiError(400, "MANIFEST_INVALID", str(error))
        case InvalidReferenceError():
            return ApiError(400, "TAG_INVALID", error.reason)
        case StoreError():
            full = getattr(error.__cause__, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
            message = "the disk is full" if full else "the storage failed; the log says more"
            return ApiError(507 if full else 500, "UNKNOWN", message)
        case UnauthorizedError():
            return ApiError(403, "DENIED", "the other registry refused")
        case UnreachableError():
            return ApiError(502, "UNKNOWN", f"the other registry cannot be reached: {error}")
        case _:
            return ApiError(502, "UNKNOWN", str(error))


def _unknown_code(what: str) -> str:
    kind = what.partition(" ")[0]
    return {"blob": "BLOB_UNKNOWN", "repository": "NAME_UNKNOWN"}.get(kind, "MANIFEST_UNKNOWN")
