"""Who may do what: users with their passwords, rules, and the two ways to ask for them.

A *gate* looks at a request and says who it comes from, or refuses it. Without users everybody may do
everything.
"""

from __future__ import annotations

import base64
import binascii
import fnmatch
import hmac
import os
import re
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from registry.errors import StoreError
from registry.files import read_limited, store_errors
from registry.remote.auth import Scope
from registry.server.messages import ApiError, Request

ACTIONS = ("pull", "push", "delete")
CATALOG = ("registry:catalog", "*")

MAX_FILE_BYTES = 4 * 1024 * 1024
"""Of a file of users or rules."""

_BCRYPT = re.compile(rb"\$2[aby]\$[0-9]{2}\$[./A-Za-z0-9]{53}")
_MAX_BCRYPT_BYTES = 72
_MAX_REMEMBERED = 1000


class Passwords:
    """The users of an htpasswd file, which is read again when it changes. Only bcrypt is understood.

    Raises:
        StoreError: the file cannot be read, or has another kind of hash.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._stamp: object = None
        self._hashes: dict[str, bytes] = {}
        self._key = os.urandom(32)
        self._right: set[bytes] = set()
        self._decoy = b""
        self._load()

    def check(self, user: str, password: str) -> bool:
        """Say whether it is the user's password.

        Takes about as long for a user who does not exist, so that names cannot be guessed; a right
        answer is remembered, keyed, because each costs a good part of a second.
        """
        import bcrypt  # noqa: PLC0415 - only who has users needs it

        self._load()
        with self._lock:
            stored = self._hashes.get(user)
        secret = password.encode()
        if stored is not None:
            message = b"\0".join((user.encode(), stored, secret))
            fingerprint = hmac.digest(self._key, message, "sha256")
            with self._lock:
                if fingerprint in self._right:
                    return True
        # What is longer never counted: neither for htpasswd nor for other registries.
        right = bcrypt.checkpw(secret[:_MAX_BCRYPT_BYTES], stored or self._decoy)
        if stored is None or not right:
            return False
        with self._lock:
            if len(self._right) >= _MAX_REMEMBERED:
                self._right.clear()
            self._right.add(fingerprint)
        return True

    def _load(self) -> None:
        with store_errors(self._path):
            status = os.stat(self._path)
            stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
            with self._lock:
                if stamp == self._stamp:
                    return
            raw = read_limited(self._path, MAX_FILE_BYTES, str(self._path))
        hashes = {}
        for number, line in enumerate(raw.splitlines(), 1):
            if not line.strip() or line.lstrip().startswith(b"#"):
                continue
            name, _, hashed = line.strip().partition(b":")
            if not name or not _BCRYPT.fullmatch(hashed):
                reason = (
                    f"line {number} is not a user with a bcrypt hash; `htpasswd -B` writes those"
                )
                raise StoreError(str(self._path), reason)
            hashes[name.decode("utf-8", "replace")] = hashed
        with self._lock:
            self._stamp, self._hashes = stamp, hashes
            self._right.clear()
            # Hashes nothing; it costs what the others cost.
            self._decoy = next(iter(hashes.values()), b"$2b$12$" + b"." * 22)[:29] + b"." * 31


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """``users`` may do ``actions`` in repositories whose name matches ``pattern``."""

    user: str
    """A name; `*` is everybody who has proved one, and `anonymous` everybody at all."""
    pattern: str
    """As in a shell, but `*` also matches slashes."""
    actions: frozenset[str]


ANONYMOUS = "anonymous"
EVERYBODY = (Rule(user="*", pattern="*", actions=frozenset(ACTIONS)),)
"""Who has a password may do everything."""


def parse_rules(text: str, where: str) -> tuple[Rule, ...]:
    """Read rules, one a line: `USER PATTERN ACTION[,ACTION]`; what no rule allows is refused.

    Raises:
        StoreError: a line is not a rule.
    """
    rules = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        actions = frozenset(words[-1].split(","))
        if len(words) != len(("user", "pattern", "actions")) or not actions <= {*ACTIONS, "*"}:
            raise StoreError(where, f"line {number}: write USER PATTERN pull,push,delete")
        user, pattern, _ = words
        rules.append(
            Rule(
                user=user,
                pattern=pattern,
                actions=frozenset(ACTIONS) if "*" in actions else actions,
            )
        )
    return tuple(rules)


def allowed(rules: Iterable[Rule], user: str, scope: Scope) -> bool:
    """Say whether ``user`` (empty for nobody known) may do one thing."""
    resource, action = scope
    if scope == CATALOG:
        return bool(user) or any(rule.user == ANONYMOUS for rule in rules)
    kind, _, name = resource.partition(":")
    return kind == "repository" and any(
        action in rule.actions
        and (rule.user in (user, ANONYMOUS) or (rule.user == "*" and user))
        and fnmatch.fnmatchcase(name, rule.pattern)
        for rule in rules
    )


class Gate(Protocol):
    """Looks at requests before anything is done."""

    def admit(
        self, request: Request, needed: frozenset[Scope], wished: frozenset[Scope] = frozenset()
    ) -> str:
        """Return who asks, empty for nobody known, if they may do what is ``needed``.

        What is ``wished`` for would be of use, too; who has to ask for a token should have it in there.

        Raises:
            ApiError: they may not; it says how to prove who one is.
        """
        ...

    def may(self, request: Request, scope: Scope) -> bool:
        """Say whether who asks may also do ``scope``. To be asked after `admit`."""
        ...


class OpenGate:
    """Lets everybody do everything."""

    def admit(self, *_: object) -> str:
        return ""

    def may(self, *_: object) -> bool:
        return True


class BasicGate:
    """Asks for a user name and a password with each request."""

    def __init__(self, passwords: Passwords, rules: tuple[Rule, ...], realm: str) -> None:
        self._passwords = passwords
        self._rules = rules
        self._challenge = {"WWW-Authenticate": f'Basic realm="{realm}", charset="UTF-8"'}

    def admit(
        self,
        request: Request,
        needed: frozenset[Scope],
        wished: frozenset[Scope] = frozenset(),  # noqa: ARG002 - a password is good for all
    ) -> str:
        user = self._user(request)
        # The bare /v2/, which needs nothing, is where clients try a password.
        welcome = bool(needed or user) or any(rule.user == ANONYMOUS for rule in self._rules)
        if welcome and all(allowed(self._rules, user, scope) for scope in needed):
            return user
        if not user:
            raise self._unauthorized("say who you are")
        raise ApiError(403, "DENIED", f"{user} may not do that", detail=described(needed))

    def may(self, request: Request, scope: Scope) -> bool:
        return allowed(self._rules, self._user(request), scope)

    def _user(self, request: Request) -> str:
        if not request.header("authorization"):
            return ""
        pair = basic_pair(request)
        if pair is None or not self._passwords.check(*pair):
            raise self._unauthorized("wrong user name or password")
        return pair[0]

    def _unauthorized(self, message: str) -> ApiError:
        return ApiError(401, "UNAUTHORIZED", message, headers=self._challenge)


def basic_pair(request: Request) -> tuple[str, str] | None:
    """Return the user name and password that a request brings, if it brings any."""
    scheme, _, encoded = request.header("authorization").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, colon, password = (
            base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
        )
    except (binascii.Error, ValueError):
        return None
    return (user, password) if colon and user else None


def described(scopes: Iterable[Scope]) -> list[dict[str, str]]:
    """Return scopes as the detail of an error, in docker's words."""
    found = []
    for resource, action in sorted(scopes):
        kind, _, name = resource.partition(":")
        found.append({"Type": kind, "Name": name, "Action": action})
    return found
