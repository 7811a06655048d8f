"""Requests to the distribution API: authorized, and tried again while that may help."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from registry.errors import RegistryError, UnauthorizedError, UnreachableError
from registry.remote.auth import Authorizer, Scope, format_scopes, repository_scope
from registry.remote.credentials import Credential, Secret
from registry.remote.errors import printable, was_refused
from registry.remote.settings import is_loopback
from registry.remote.transport import Body, Response, Transport, check_url, join, origin

logger = logging.getLogger(__name__)

PULL = ("pull",)
PUSH = ("pull", "push")
DELETE = ("delete",)

_API_HOSTS = {"docker.io": "registry-1.docker.io"}
_BAD_REQUEST, _UNAUTHORIZED = 400, 401
_WARNING = re.compile(r'299 - "((?:[^"\\]|\\.)*)"')
_MAX_WARNING_CHARS = 4096
_MAX_WARNINGS = 10
"""Of one registry; who has more to say is not heard."""


class Endpoint:
    """Where one registry's API is."""

    def __init__(self, registry: str, transport: Transport) -> None:
        self.registry = registry
        """The name people use, which is not always the API's host."""
        self.transport = transport
        self._host = _API_HOSTS.get(registry, registry)
        self._base = ""
        self._warnings: set[str] = set()
        self._lock = threading.Lock()

    @property
    def base(self) -> str:
        """Scheme and host: HTTPS, except where plain HTTP is allowed and spoken.

        Raises:
            UnreachableError: the name is not one of a host.
        """
        with self._lock:
            if not self._base:
                self._base = f"{self._find_scheme()}://{self._host}"
            return self._base

    def owns(self, url: str) -> bool:
        """Say whether ``url`` is at the origin that credentials are meant for."""
        return origin(urlsplit(url)) == origin(urlsplit(self.base))

    def pass_on_warnings(self, response: Response) -> None:
        """Log what the registry has to say to the user, each text once; nothing else depends on it.

        Spec: https://github.com/opencontainers/distribution-spec/blob/main/spec.md#warnings
        """
        for text in _WARNING.findall(response.headers.get("Warning", "")[:_MAX_WARNING_CHARS]):
            words = printable(re.sub(r"\\(.)", r"\1", text))
            with self._lock:
                if words in self._warnings or len(self._warnings) == _MAX_WARNINGS:
                    continue
                self._warnings.add(words)
            logger.warning("%s warns: %s", self.registry, words)

    def _find_scheme(self) -> str:
        settings = self.transport.settings
        if not settings.may_be_plain(self._host):
            return "https"
        # This machine's registries are mostly plain; another host is asked for TLS first.
        first, second = ("http", "https") if is_loopback(self._host) else ("https", "http")
        try:
            answer = self.transport.exchange("GET", f"{first}://{self._host}/v2/", headers={})
        except UnreachableError as error:
            # Nobody there at all is told by the request proper, after its tries. Whoever hangs up
            # on plain HTTP may speak TLS.
            return "http" if was_refused(error) else second
        answer.discard()
        # What Go's servers say to plain HTTP on a TLS port is a 400.
        return second if answer.status == _BAD_REQUEST else first


class Api:
    """The API of one repository; with an empty repository, that of the registry as a whole."""

    def __init__(
        self,
        endpoint: Endpoint,
        repository: str,
        find: Callable[[], Credential | None],
        *,
        offline: bool = False,
    ) -> None:
        """``offline`` asks for an `identity_token` besides."""
        self.registry = endpoint.registry
        self.repository = repository
        self.transport = endpoint.transport
        self._endpoint = endpoint
        self._authorizer = Authorizer(endpoint.registry, endpoint.transport, find, offline=offline)

    @property
    def identity_token(self) -> Secret | None:
        """The newest that a token server gave."""
        return self._authorizer.identity_token

    def url(self, path: str) -> str:
        """Return the URL of ``path`` in this repository: `manifests/latest`.

        Raises:
            UnreachableError
        """
        parts = ("v2", self.repository, path) if self.repository else ("v2", path)
        return "/".join((self._endpoint.base, *parts))

    def owns(self, url: str) -> bool:
        """Say whether ``url`` is the registry's own, not one of a storage host."""
        return self._endpoint.owns(url)

    def request(
        self,
        method: str,
        url: str,
        *,
        actions: tuple[str, ...],
        also: frozenset[Scope] = frozenset(),
        headers: Mapping[str, str] | None = None,
        body: Body | None = None,
        retry: bool = True,
        limit: int | None = None,
        what: str = "",
        timeout_s: float | None = None,
    ) -> Response:
        """Return the answer to a request that needs ``actions`` here and ``also``, whatever its status.

        Made again while that may help, if ``retry``. With ``limit`` the body of a 200 is read too (as
        one try with the request) and may be so long; ``what`` names it.

        Raises:
            UnauthorizedError, UnreachableError, ProtocolError, TooLargeError, CredentialsError
        """
        scopes = also
        if self.repository:
            scopes |= repository_scope(self.repository, *actions)

        def exchange(authorization: str | None) -> Response:
            sent = dict(headers or {})
            if authorization is not None:
                sent["Authorization"] = authorization
            return self.transport.exchange(
                method, url, headers=sent, body=body, timeout_s=timeout_s
            )

        def attempt() -> Response:
            # A URL that the registry gave us may lead to a storage host: it is told nothing.
            own = self.owns(url)
            sent = self._authorizer.header(scopes) if own else None
            response = exchange(sent)
            if response.status == _UNAUTHORIZED and own and self.owns(response.url):
                response.discard()
                sent = self._authorizer.answer(response, scopes, sent)
                response = exchange(sent)
                refused = response.status == _UNAUTHORIZED and self.owns(response.url)
                if refused and (hint := self._authorizer.explain()):
                    response.discard()
                    wanted = " ".join(format_scopes(scopes)) or "the registry"
                    raise UnauthorizedError(self.registry, wanted, hint)
            if self.owns(response.url):
                self._endpoint.pass_on_warnings(response)
            if limit is not None and response.status == 200:  # noqa: PLR2004 - OK
                response.load(limit, what)
            return response

        return self.transport.retrying(attempt) if retry else attempt()

    def follow(self, response: Response, location: str) -> str:
        """Return the absolute URL of a Location or Link in ``response``.

        Raises:
            UnreachableError, ProtocolError: it leads where nothing may be sent.
        """
        url = join(response.url, location)
        check_url(url, self.transport.settings, sender=urlsplit(response.url))
        return url

    def error(self, response: Response, what: str) -> RegistryError:
        """Return the error that ``response`` to a request for ``what`` amounts to."""
        return response.refusal(self.registry, what)
