"""Token authentication: a gate that takes tokens, and the endpoint that gives them.

Tokens are JSON Web Tokens, signed with a key that lies beside the repositories; both ends are here, so
nobody else needs it. What a token allows is what was asked for and what the rules allow.

Spec: https://distribution.github.io/distribution/spec/auth/
"""

from __future__ import annotations

import re
import secrets
import time
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from registry.files import atomic_write, read_limited, store_errors
from registry.remote.auth import Scope, format_scopes, parse_scopes
from registry.server.access import CATALOG, Passwords, Rule, allowed, basic_pair
from registry.server.messages import Answer, ApiError, Request, json_answer

TOKEN_PATH = "/token"  # noqa: S105 - a path
LIFETIME_S = 300
"""Seconds that a token is good for; long pushes ask for another."""

MAX_FORM_BYTES = 64 * 1024
MAX_SCOPE_CHARS = 16 * 1024
"""Of the scopes of one token, some two hundred repositories."""

_MAX_KEY_BYTES = 64 * 1024
_ALGORITHM = "ES256"
_SERVICE = "wcbuild"
_HOST = re.compile(r"[A-Za-z0-9._\-\[\]:]{1,255}", re.ASCII)


class Tokens:
    """Gives tokens to users and reads them again.

    ``key`` is the file of the signing key, made when it is not there, unless ``read_only``: then
    the key is good for this process.

    Raises:
        StoreError
    """

    def __init__(
        self, key: Path, passwords: Passwords, rules: tuple[Rule, ...], *, read_only: bool = False
    ) -> None:
        # Imported here, as what only token authentication needs.
        from cryptography.hazmat.primitives import serialization  # noqa: PLC0415
        from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415

        self._passwords = passwords
        self._rules = rules
        self._private: Any = ec.generate_private_key(ec.SECP256R1())
        with store_errors(key):
            if key.exists():
                pem = read_limited(key, _MAX_KEY_BYTES, str(key))
                self._private = serialization.load_pem_private_key(pem, None)
            elif not read_only:
                atomic_write(
                    key,
                    self._private.private_bytes(
                        serialization.Encoding.PEM,
                        serialization.PrivateFormat.PKCS8,
                        serialization.NoEncryption(),
                    ),
                )
        self._public: Any = self._private.public_key()

    def answer(self, request: Request) -> Answer:
        """Answer a request to the token endpoint.

        Raises:
            ApiError: a wrong password, or a request that makes no sense.
        """
        if request.method == "POST":
            user, asked = self._from_form(request)
        elif request.method == "GET":
            user, asked = self._from_query(request)
        else:
            raise ApiError(405, "UNSUPPORTED", "ask for a token with GET or POST")
        granted = [scope for scope in asked if allowed(self._rules, user, scope)]
        token = self._sign(user, format_scopes(granted))
        body = {
            "token": token,
            "access_token": token,
            "expires_in": LIFETIME_S,
            "issued_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "scope": " ".join(format_scopes(granted)),
        }
        return replace(json_answer(body, headers={"Cache-Control": "no-store"}), user=user)

    def read(self, token: str) -> tuple[str, frozenset[Scope]] | None:
        """Return whose token it is and what it allows; None if it is not one of ours, or too old."""
        import jwt  # noqa: PLC0415 - as above

        try:
            claims = jwt.decode(
                token,
                self._public,
                algorithms=[_ALGORITHM],
                audience=_SERVICE,
                issuer=_SERVICE,
                options={"require": ["exp", "nbf", "iss", "aud", "sub", "access"]},
            )
        except jwt.PyJWTError:
            return None
        return claims["sub"], frozenset(
            (f"{entry['type']}:{entry['name']}", action)
            for entry in claims["access"]
            for action in entry["actions"]
        )

    def would_allow(self, user: str, scope: Scope) -> bool:
        """Say whether ``user`` could get a token for ``scope``."""
        return allowed(self._rules, user, scope)

    def _sign(self, user: str, granted: list[str]) -> str:
        import jwt  # noqa: PLC0415 - as above

        now = int(time.time())
        access = []
        for scope in granted:
            resource, _, actions = scope.rpartition(":")
            kind, _, name = resource.partition(":")
            access.append({"type": kind, "name": name, "actions": actions.split(",")})
        claims = {
            "iss": _SERVICE,
            "aud": _SERVICE,
            "sub": user,
            "iat": now,
            "nbf": now - 10,
            "exp": now + LIFETIME_S,
            "jti": secrets.token_hex(8),
            "access": access,
        }
        return jwt.encode(claims, self._private, algorithm=_ALGORITHM)

    def _from_query(self, request: Request) -> tuple[str, frozenset[Scope]]:
        self._check_service(request.parameter("service"))
        user = ""
        if request.header("authorization"):
            pair = basic_pair(request)
            if pair is None or not self._passwords.check(*pair):
                raise _wrong()
            user = pair[0]
        return user, _scopes(" ".join(request.query.get("scope", ())))

    def _from_form(self, request: Request) -> tuple[str, frozenset[Scope]]:
        raw = b""
        while len(raw) <= MAX_FORM_BYTES and (data := request.body.read(MAX_FORM_BYTES + 1)):
            raw += data
        if len(raw) > MAX_FORM_BYTES:
            raise ApiError(413, "SIZE_INVALID", "that is not a request for a token")
        form = dict(parse_qsl(raw.decode("utf-8", "replace"), max_num_fields=100))
        self._check_service(form.get("service"))
        if form.get("grant_type") != "password":
            raise ApiError(400, "UNSUPPORTED", "only passwords are exchanged for tokens")
        user = form.get("username", "")
        if not self._passwords.check(user, form.get("password", "")):
            raise _wrong()
        return user, _scopes(form.get("scope", ""))

    def _check_service(self, service: str | None) -> None:
        if service not in (None, _SERVICE):
            raise ApiError(400, "UNSUPPORTED", f'tokens here are for the service "{_SERVICE}"')


class TokenGate:
    """Asks for a token of ``tokens`` with each request.

    ``url`` is where clients reach us, if not under the name that they say themselves.
    """

    def __init__(self, tokens: Tokens, *, url: str, tls: bool) -> None:
        self._tokens = tokens
        self._url = url
        self._scheme = "https" if tls else "http"

    def admit(
        self, request: Request, needed: frozenset[Scope], wished: frozenset[Scope] = frozenset()
    ) -> str:
        found = self._read(request)
        if found is None:
            problem = "invalid_token" if request.header("authorization") else ""
            raise self._challenge(request, needed | wished, problem)
        user, scopes = found
        if not needed <= scopes:
            raise self._challenge(request, needed | wished, "insufficient_scope")
        return user

    def may(self, request: Request, scope: Scope) -> bool:
        found = self._read(request)
        if found is None:
            return False
        user, scopes = found
        # Who may list the repositories sees those that a token for them could be had for.
        return scope in scopes or (CATALOG in scopes and self._tokens.would_allow(user, scope))

    def _read(self, request: Request) -> tuple[str, frozenset[Scope]] | None:
        scheme, _, token = request.header("authorization").partition(" ")
        return self._tokens.read(token.strip()) if scheme.lower() == "bearer" else None

    def _challenge(self, request: Request, needed: frozenset[Scope], problem: str) -> ApiError:
        host = request.header("host")
        if not _HOST.fullmatch(host):
            raise ApiError(400, "UNSUPPORTED", "the Host header is not one of a host")
        scope = " ".join(format_scopes(needed))
        parts = [
            f'Bearer realm="{self._url or f"{self._scheme}://{host}"}{TOKEN_PATH}"',
            f'service="{_SERVICE}"',
        ]
        if scope:
            parts.append(f'scope="{scope}"')
        if problem:
            parts.append(f'error="{problem}"')
        return ApiError(
            401,
            "UNAUTHORIZED",
            "a token is needed" if not problem else f"another token is needed: {problem}",
            headers={"WWW-Authenticate": ",".join(parts)},
        )


def _scopes(text: str) -> frozenset[Scope]:
    if len(text) > MAX_SCOPE_CHARS:
        raise ApiError(400, "UNSUPPORTED", "those are more scopes than one token can have")
    return parse_scopes(text)


def _wrong() -> ApiError:
    return ApiError(
        401,
        "UNAUTHORIZED",
        "wrong user name or password",
        headers={"WWW-Authenticate": f'Basic realm="{_SERVICE}"'},
    )
