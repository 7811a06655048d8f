"""Answering a registry's challenges: which credentials, in which form, and to whom.

Spec: RFC 9110 section 11 and https://distribution.github.io/distribution/spec/auth/
"""

from __future__ import annotations

import base64
import json
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode, urlsplit

from registry.errors import ProtocolError, RegistryError, UnauthorizedError
from registry.remote.credentials import Credential, Secret
from registry.remote.errors import WEB_PAGE, is_web_page, printable
from registry.remote.settings import is_loopback
from registry.remote.transport import Response, Transport, check_url

MAX_TOKEN_BYTES = 1024 * 1024
"""Of a token server's answer; tokens that name hundreds of repositories are some 10 KiB."""

_WRONG_PASSWORD = "wrong user name or password"  # noqa: S105 - words
_CLIENT_ID = "wcbuild"
_DEFAULT_EXPIRY_S = 60.0
_EXPIRY_MARGIN_S = 10.0
_OK, _BAD_REQUEST = 200, 400
_NO_SUCH_METHOD = (404, 405)
_MAX_CHALLENGE_CHARS = 16 * 1024
_TOKEN_TEXT = re.compile(r"[\x21-\x7e]+")
_CHALLENGE_PART = re.compile(
    r"""[\s,]* (?:
        (?P<name>[!\#$%&'*+.^`|~\w-]+) \s* = \s*
            (?: "(?P<quoted>(?:[^"\\]|\\.)*)" | (?P<plain>[^\s,"]+) ) (?=[\s,]|$)
      | (?P<scheme>[!\#$%&'*+.^`|~\w-]+) (?= \s | , | $ )
      | (?P<other>[^\s,]+)
    )""",
    re.VERBOSE | re.ASCII,
)

Scope = tuple[str, str]
"""A resource and an action: `("repository:team/app", "pull")`."""


def repository_scope(repository: str, *actions: str) -> frozenset[Scope]:
    """Return the scopes for doing ``actions`` in ``repository``."""
    return frozenset((f"repository:{repository}", action) for action in actions)


def parse_scopes(text: str) -> frozenset[Scope]:
    """Read `repository:a/b:pull,push repository:c:pull`; a name may hold colons, an action may not."""
    found = set()
    for item in text.split():
        resource, _, actions = item.rpartition(":")
        found |= {(resource, action) for action in actions.split(",") if resource and action}
    return frozenset(found)


def format_scopes(scopes: Iterable[Scope]) -> list[str]:
    """Return one text for each resource, everything sorted: the inverse of `parse_scopes`."""
    resources: dict[str, list[str]] = {}
    for resource, action in sorted(scopes):
        resources.setdefault(resource, []).append(action)
    return [f"{resource}:{','.join(actions)}" for resource, actions in resources.items()]


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """One way in that a registry offers: a scheme in lower case, and its parameters."""

    scheme: str
    parameters: Mapping[str, str]


def parse_challenges(header: str) -> tuple[Challenge, ...]:
    """Read a WWW-Authenticate header, or several joined by commas; what makes no sense is skipped."""
    found: list[tuple[str, dict[str, str]]] = []
    for part in _CHALLENGE_PART.finditer(header[:_MAX_CHALLENGE_CHARS]):
        if part["scheme"]:
            found.append((part["scheme"].lower(), {}))
        elif part["name"] and found:
            value = part["plain"] or re.sub(r"\\(.)", r"\1", part["quoted"] or "")
            found[-1][1].setdefault(part["name"].lower(), value)
    return tuple(Challenge(scheme=scheme, parameters=values) for scheme, values in found)


@dataclass(frozen=True, slots=True)
class _Token:
    scopes: frozenset[Scope]
    header: str
    expires: float
    """By the monotonic clock, so that setting the machine's clock changes nothing."""


class Authorizer:
    """Knows what to send to one registry on behalf of one repository's work.

    Nothing is sent before the registry has asked. Safe to share between threads: one of them
    fetches a token, the others wait for it.
    """

    def __init__(
        self,
        registry: str,
        transport: Transport,
        find: Callable[[], Credential | None],
        *,
        offline: bool = False,
    ) -> None:
        """``offline`` asks for an identity token besides, to be used instead of the password."""
        self._registry = registry
        self._offline = offline
        self.identity_token: Secret | None = None
        """The newest that a token server gave."""
        self._transport = transport
        self._find = find
        self._lock = threading.Lock()
        self._looked = False
        self._credential: Credential | None = None
        self._challenge: Challenge | None = None
        self._challenger = ""
        self._withheld = ""
        self._tokens: list[_Token] = []

    def header(self, scopes: frozenset[Scope]) -> str | None:
        """Return the Authorization for a request that needs ``scopes``; None before the first challenge.

        Raises:
            UnauthorizedError, UnreachableError, ProtocolError: no token could be had.
        """
        with self._lock:
            return None if self._challenge is None else self._header(scopes)

    def answer(self, refused: Response, scopes: frozenset[Scope], sent: str | None) -> str:
        """Return the Authorization to try after a request with ``sent`` was ``refused`` with 401.

        Raises:
            UnauthorizedError: there is nothing (else) to try.
            UnreachableError, ProtocolError: no token could be had.
        """
        wanted = format_scopes(scopes)
        what = printable(" ".join(wanted)) or "the registry"
        challenges = parse_challenges(refused.headers.get("WWW-Authenticate", ""))
        with self._lock:
            self._tokens = [token for token in self._tokens if token.header != sent]
            challenge = self._choose(challenges)
            if challenge is None:
                reason = "it asks for an authentication that is not supported"
                raise UnauthorizedError(self._registry, what, reason)
            self._challenge, self._challenger = challenge, refused.url
            header = self._header(scopes | parse_scopes(challenge.parameters.get("scope", "")))
            if header is None:
                raise UnauthorizedError(self._registry, what, self._no_credentials())
            if header == sent:
                raise UnauthorizedError(self._registry, what, _WRONG_PASSWORD)
            return header

    def explain(self) -> str:
        """Return what may help when a registry goes on refusing; empty if nothing comes to mind."""
        with self._lock:
            if self._withheld or self._challenge is None:
                return self._withheld
            if self._credential is None:
                return self._no_credentials()
            return _WRONG_PASSWORD if self._challenge.scheme == "basic" else ""

    def _no_credentials(self) -> str:
        return f"no credentials for it; try `wcbuild login {self._registry}`"

    def _choose(self, challenges: Iterable[Challenge]) -> Challenge | None:
        by_scheme = {challenge.scheme: challenge for challenge in reversed(list(challenges))}
        bearer = by_scheme.get("bearer")
        if bearer is not None and bearer.parameters.get("realm"):
            return bearer
        return by_scheme.get("basic")

    def _header(self, scopes: frozenset[Scope]) -> str | None:
        """Return what answers the current challenge; None if it takes credentials that we lack."""
        assert self._challenge is not None  # noqa: S101 - both callers have seen one
        credential = self._lookup()
        if self._challenge.scheme == "basic":
            return _basic(credential)
        if credential is not None and credential.registry_token is not None:
            return f"Bearer {credential.registry_token.reveal()}"
        now = time.monotonic()
        self._tokens = [token for token in self._tokens if token.expires > now]
        for token in self._tokens:
            if scopes <= token.scopes:
                return token.header
        token = self._fetch(self._challenge, scopes, credential, now)
        self._tokens.append(token)
        return token.header

    def _lookup(self) -> Credential | None:
        if not self._looked:
            self._credential = self._find()
            self._looked = True
        return self._credential

    def _fetch(
        self,
        challenge: Challenge,
        scopes: frozenset[Scope],
        credential: Credential | None,
        now: float,
    ) -> _Token:
        realm = challenge.parameters["realm"]
        parts = check_url(realm, self._transport.settings, sender=urlsplit(self._challenger))
        asker = urlsplit(self._challenger).hostname or ""
        self._withheld = ""
        if credential is not None and not may_receive(parts.hostname or "", asker):
            self._withheld = (
                f"its token server is {printable(parts.netloc)}, a stranger to {asker},"
                " so the credentials were not sent there"
            )
            credential = None
        service = challenge.parameters.get("service", "")
        response = self._ask(realm, service, scopes, credential)
        if response.status != _OK:
            raise self._token_refused(response, parts.netloc, scopes, credential)
        token, expires_in, self.identity_token = _read_token(response)
        if self.identity_token is not None and credential is not None and credential.identity_token:
            # Some servers take each refresh token once, and give the next with every answer.
            self._credential = replace(credential, identity_token=self.identity_token)
        lifetime = max(expires_in - _EXPIRY_MARGIN_S, expires_in / 2)
        return _Token(scopes, f"Bearer {token}", now + lifetime)

    def _token_refused(
        self,
        response: Response,
        host: str,
        scopes: frozenset[Scope],
        credential: Credential | None,
    ) -> RegistryError:
        """Return what it means that a token server did not answer with a token."""
        wanted = printable(" ".join(format_scopes(scopes)))
        error = response.refusal(host, wanted)
        reason = self._withheld
        if credential is not None and credential.identity_token is not None:
            if response.status in (*_NO_SUCH_METHOD, _BAD_REQUEST, 401, 403):
                reason = (
                    "its token server does not accept the identity token;"
                    f" try `wcbuild login {self._registry}`"
                )
        elif isinstance(error, UnauthorizedError) and not reason:
            reason = _WRONG_PASSWORD if credential else self._no_credentials()
        if not reason or not (400 <= response.status < 500):  # noqa: PLR2004 - client errors
            return error
        return UnauthorizedError(self._registry, wanted or "the registry", reason)

    def _ask(
        self, realm: str, service: str, scopes: frozenset[Scope], credential: Credential | None
    ) -> Response:
        """Ask a token server: with the identity token if there is one, else by name and password."""
        wanted = format_scopes(scopes)
        form = {"service": service, "client_id": _CLIENT_ID, "scope": " ".join(wanted)}
        if credential is not None and credential.identity_token is not None:
            token = credential.identity_token.reveal()
            return self._post(
                realm, {"grant_type": "refresh_token", **form, "refresh_token": token}
            )
        query = [("service", service)] if service else []
        query += [("scope", scope) for scope in wanted]
        query.append(("client_id", _CLIENT_ID))
        headers = {"Accept": "application/json"}
        basic = _basic(credential)
        if basic is not None and credential is not None:
            query.append(("account", credential.username))
            headers["Authorization"] = basic
            if self._offline:
                query.append(("offline_token", "true"))
        url = f"{realm}{'&' if urlsplit(realm).query else '?'}{urlencode(query)}"
        response = self._exchange("GET", url, headers, None)
        if response.status not in _NO_SUCH_METHOD or credential is None or not credential.password:
            return response
        # A server that knows OAuth2 alone.
        response.discard()
        form |= {"username": credential.username, "password": credential.password.reveal()}
        access = {"access_type": "offline"} if self._offline else {}
        return self._post(realm, {"grant_type": "password", **form, **access})

    def _post(self, realm: str, form: Mapping[str, str]) -> Response:
        headers = {
            "Accept": "application/json",
            "Content-Type": "application/x-www-form-urlencoded",
        }
        return self._exchange("POST", realm, headers, urlencode(form).encode())

    def _exchange(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None
    ) -> Response:
        def attempt() -> Response:
            # A redirect is not followed: it could carry the password to anyone.
            response = self._transport.exchange(
                method, url, headers=headers, body=body, follow=False
            )
            if response.status == _OK:
                response.load(MAX_TOKEN_BYTES, "token")
            return response

        return self._transport.retrying(attempt)


def _basic(credential: Credential | None) -> str | None:
    if credential is None or credential.password is None:
        return None
    pair = f"{credential.username}:{credential.password.reveal()}"
    return f"Basic {base64.b64encode(pair.encode()).decode()}"


def _read_token(response: Response) -> tuple[str, float, Secret | None]:
    """Return the token, its seconds of life, and the identity token that may come with it.

    Raises:
        ProtocolError: there is none, or one that could not stand in a header.
    """
    refresh = None
    try:
        answer: Any = json.loads(response.content)
        token = answer.get("token") or answer.get("access_token")
        expires_in = float(answer.get("expires_in") or _DEFAULT_EXPIRY_S)
        refresh = answer.get("refresh_token")
    except (ValueError, TypeError, AttributeError, RecursionError):
        token, expires_in = None, _DEFAULT_EXPIRY_S
    if not isinstance(token, str) or not _TOKEN_TEXT.fullmatch(token):
        said = WEB_PAGE if is_web_page(response.content) else "there is no token in it"
        raise ProtocolError(response.request, response.status, (), said)
    identity = Secret(refresh) if isinstance(refresh, str) and refresh else None
    return token, expires_in, identity


def may_receive(realm_host: str, registry_host: str) -> bool:
    """Say whether credentials for a registry may go to its token server on ``realm_host``.

    They may if both are one host, or belong to one organisation's domain: `auth.docker.io` and
    `registry-1.docker.io`. Below a country's two letters a short second label (`co.uk`) belongs to
    nobody, so three labels must be the same.
    """
    ours, theirs = registry_host.lower().split("."), realm_host.lower().split(".")
    if ours == theirs:
        return True
    if is_loopback(registry_host) or ours[-1].isdigit():
        return is_loopback(registry_host) and is_loopback(realm_host)
    shared = 0
    for one, other in zip(reversed(ours), reversed(theirs), strict=False):
        if one != other:
            break
        shared += 1
    second = ours[-2] if len(ours) > 1 else ""
    return shared >= (3 if len(ours[-1]) == 2 and len(second) <= 3 else 2)  # noqa: PLR2004
