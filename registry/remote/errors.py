"""Turning answers and accidents into this package's errors, with nothing secret in their text.

What a registry says is cut to one line of printable characters: it may be a proxy's HTML, or an
escape sequence meant for the terminal.
"""

from __future__ import annotations

import contextlib
import errno
import json
import re
import socket
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3

from registry.errors import (
    NotFoundError,
    ProtocolError,
    RegistryError,
    UnauthorizedError,
    UnreachableError,
)

MAX_ERROR_BYTES = 64 * 1024
"""Read of an error's body; more is never needed to say what is wrong."""

WEB_PAGE = "a web page came instead of an answer, perhaps from a proxy or a login page"

_TUNNEL_FAILED = "Tunnel connection failed: "  # `http.client`'s words
_MAX_DETAIL = 300
_SHOWN_QUERY = frozenset(
    ("artifactType", "digest", "from", "last", "mount", "n", "scope", "service")
)
_PAIR = re.compile(r"([^&=]+)=([^&]*)")
_ERRNO_REASONS = {
    errno.ECONNREFUSED: "connection refused",
    errno.ECONNRESET: "the connection was reset",
    errno.EPIPE: "the connection was closed",
    errno.ENETUNREACH: "the network is unreachable",
    errno.EHOSTUNREACH: "the host is unreachable",
    errno.ETIMEDOUT: "the connection timed out",
}


def redact(url: str) -> str:
    """Return ``url`` fit for logs: no user, no password, no signature or state in the query."""
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return "(an impossible URL)"
    query = _PAIR.sub(
        lambda pair: pair[0] if pair[1] in _SHOWN_QUERY else f"{pair[1]}=***", parts.query
    )
    return printable(parts._replace(netloc=host, query=query, fragment="").geturl(), limit=1000)


def printable(text: str, *, limit: int = _MAX_DETAIL) -> str:
    """Return ``text`` as one line without control characters, at most ``limit`` characters long."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def is_web_page(body: bytes) -> bool:
    """Say whether ``body`` is made for browsers: whatever it says is not a registry's answer."""
    # XML with its declaration is what storage hosts say.
    return body.lstrip().startswith(b"<") and not body.lstrip().startswith(b"<?xml")


def error_codes(body: bytes) -> tuple[tuple[str, ...], str]:
    """Return the codes and the words of an error body, whatever it is made of."""
    if is_web_page(body):
        return (), WEB_PAGE
    try:
        listed = json.loads(body)["errors"]
        entries: list[Mapping[str, Any]] = [entry for entry in listed if isinstance(entry, Mapping)]
    except (ValueError, KeyError, TypeError, RecursionError):
        text = body.decode(errors="replace")
        return (), "" if text.lstrip().startswith("<") else printable(text)
    codes = tuple(printable(str(entry.get("code", "")), limit=64) for entry in entries[:5])
    words = "; ".join(str(entry["message"]) for entry in entries[:5] if entry.get("message"))
    return codes, printable(words)


def refusal(
    host: str, request: str, status: int, body: bytes, *, what: str, tries: int = 1
) -> RegistryError:
    """Return the error that says that ``host`` answered ``request`` with ``status``.

    ``what`` names the thing that was asked for, in the last of so many ``tries``.
    """
    codes, words = error_codes(body)
    if status in (requests.codes.unauthorized, requests.codes.forbidden):
        said = ", ".join(codes) + (f": {words}" if codes and words else words)
        return UnauthorizedError(host, what, said or f"the registry answered {status}")
    if status == requests.codes.not_found:
        return NotFoundError(what, host)
    if status == requests.codes.request_entity_too_large and words in ("", WEB_PAGE):
        words = "it does not take anything as large as this"
    return ProtocolError(request, status, codes, words, tries=tries)


@contextlib.contextmanager
def map_errors(
    host: str, request: str, proxy: str = "", authority: Path | None = None
) -> Iterator[None]:
    """Translate what HTTP libraries and sockets raise into an UnreachableError.

    ``proxy`` is the URL of the one on the way, which may be what failed. ``authority`` is the file in
    which a certificate would be believed that nobody known has signed.

    Raises:
        UnreachableError: saying why, and during which ``request``.
    """
    try:
        yield
    except (
        requests.RequestException,
        urllib3.exceptions.HTTPError,
        OSError,
        UnicodeError,
    ) as error:
        reason, transient = _reason(error)
        causes = list(_causes(error))
        if proxy and any(isinstance(cause, _PROXY_ERRORS) for cause in causes):
            reason = f"the proxy {redact(proxy)}: {reason}"
        elif authority is not None and any(_is_signed_by_a_stranger(cause) for cause in causes):
            reason += f'; if you trust its authority, put that into "{authority}"'
        # Without its cause: libraries put whole URLs, signatures and all, into their words.
        raise UnreachableError(host, f"{reason} ({request})", transient=transient) from None


_STRANGERS = (18, 19, 20, 21)
"""OpenSSL's X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT, _SELF_SIGNED_CERT_IN_CHAIN,
_UNABLE_TO_GET_ISSUER_CERT_LOCALLY and _UNABLE_TO_VERIFY_LEAF_SIGNATURE."""

_PROXY_ERRORS = (urllib3.exceptions.ProxyError, requests.exceptions.ProxyError)


def _is_signed_by_a_stranger(error: BaseException) -> bool:
    """Say whether a certificate is wrong only in that its authority is not known."""
    return isinstance(error, ssl.SSLCertVerificationError) and error.verify_code in _STRANGERS


def was_refused(error: UnreachableError) -> bool:
    """Say whether nobody listens there."""
    return any(isinstance(cause, ConnectionRefusedError) for cause in _causes(error))


def _reason(error: BaseException) -> tuple[str, bool]:
    """Say in a few words what is at the bottom of ``error``, and whether another try may help."""
    causes = list(_causes(error))
    for cause in causes:
        match cause:
            case ssl.SSLCertVerificationError():
                return f"its certificate is not trusted: {printable(cause.verify_message)}", False
            case ssl.SSLEOFError() | ssl.SSLZeroReturnError():
                return "the connection was closed", True
            case ssl.SSLError():
                return f"no TLS connection: {printable(cause.reason or str(cause))}", False
            case socket.gaierror():
                return "no such host", cause.errno == socket.EAI_AGAIN
            case OSError(errno=int(number)) if number in _ERRNO_REASONS:
                return _ERRNO_REASONS[number], True
    for cause in causes:
        match cause:
            case OSError(args=(str(text),)) if text.startswith(_TUNNEL_FAILED):
                status = printable(text.removeprefix(_TUNNEL_FAILED))
                return f"answered {status}", status.startswith("5")
            case (
                requests.exceptions.InvalidURL()
                | requests.exceptions.InvalidHeader()
                | UnicodeError()  # of a header beyond Latin-1
            ):
                return "is not something that can be asked", False
            case urllib3.exceptions.TimeoutError() | requests.Timeout() | TimeoutError():
                return "no answer in time", True
            case urllib3.exceptions.IncompleteRead() | urllib3.exceptions.ProtocolError():
                return "the connection was closed before the answer was complete", True
            case OSError(strerror=str(text)):
                return printable(text), True
    return printable(str(error)), True


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield what ``error`` was made of, innermost first: libraries hide the cause in many places."""
    seen: list[BaseException] = []
    todo: list[object] = [error]
    while todo:
        item = todo.pop(0)
        if isinstance(item, BaseException) and item not in seen:
            seen.append(item)
            todo += [item.__cause__, item.__context__, getattr(item, "reason", None), *item.args]
    return reversed(seen)
