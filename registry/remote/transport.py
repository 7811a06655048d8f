"""HTTP below the registry's words: one request and its redirects, tries and waits, bodies.

`requests` does the talking, by its adapters alone. Its sessions would decide too much: they read the
environment and netrc (which replaces a token), keep cookies, and read the body of a redirect whole.
"""

from __future__ import annotations

import email.utils
import logging
import random
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urljoin, urlsplit

import requests
import urllib3

from registry.errors import ProtocolError, RegistryError, TooLargeError, UnreachableError
from registry.remote.certificates import authority_file, tls_context
from registry.remote.connections import Adapter, read_body_into
from registry.remote.errors import MAX_ERROR_BYTES, map_errors, redact, refusal
from registry.remote.settings import Settings, is_link_local, is_loopback
from registry.streams import FileSlice

logger = logging.getLogger(__name__)

BLOCK = 256 * 1024
"""Bytes given to the socket at once: enough for gigabytes a second; a timeout covers one block."""

MIN_RATE = 1024
"""Bytes a second; who sends less for the whole stall timeout is not sending."""

_MAX_REDIRECTS = 9
_MAX_RETRY_AFTER_S = 60.0
_MAX_WAIT_S = 15.0
_REDIRECTS = frozenset((301, 302, 303, 307, 308))
_METHOD_KEEPING_REDIRECTS = frozenset((307, 308))
_HEADERS: Mapping[str, str] = {
    "User-Agent": "wcbuild",
    # Decompressing would change the bytes that digests are of, and could fill the memory.
    "Accept-Encoding": "identity",
}
RETRIED = frozenset((408, 425, 429, 500, 502, 503, 504))
"""Answers that may be better a moment later."""

Block = memoryview | FileSlice
Body = bytes | Callable[[], Iterable[Block]]
"""Bytes, or a function that starts the body anew. What it returns has a `__len__` if its length is
known, and is sent in chunks otherwise. A block need not last longer than until the next is asked for."""


class Response:
    """An answer: status and headers, and a body that is read at most once."""

    def __init__(self, response: requests.Response, request: str, settings: Settings) -> None:
        self._response = response
        self._settings = settings
        self._since = time.monotonic()
        self._received = 0
        self.request = request
        """The method and the redacted URL, for messages."""
        self.url: str = response.url
        """Where the answer came from, after all redirects."""
        self.status: int = response.status_code
        self.headers: Mapping[str, str] = response.headers
        self.content = b""
        """The whole body, after `load`."""
        self.tries = 1
        """How often was asked until this answer came."""

    @property
    def host(self) -> str:
        """The host (and port) that answered."""
        return urlsplit(self.url).netloc

    def read1(self, size: int) -> bytes:
        """Return the next bytes, at most ``size``, as they were sent; none at the end.

        Raises:
            UnreachableError: the connection broke or stalled.
        """
        with map_errors(self.host, self.request):
            data: bytes = self._response.raw.read1(size, decode_content=False)
        self._count(len(data))
        return data

    def readinto(self, buffer: memoryview) -> int:
        """Read what comes next into ``buffer``; return the number of bytes, 0 at the end.

        Raises: as `read1`.
        """
        with map_errors(self.host, self.request):
            size = read_body_into(self._response.raw, buffer)
        self._count(size)
        return size

    def _count(self, size: int) -> None:
        """Take note that ``size`` bytes came. Raises UnreachableError if they come too slowly."""
        self._received += size
        elapsed = time.monotonic() - self._since
        if elapsed > self._settings.stall_timeout_s:
            if size and self._received < MIN_RATE * elapsed:
                reason = f"only {self._received} bytes in {elapsed:.0f} s ({self.request})"
                raise UnreachableError(self.host, reason)
            self._since, self._received = time.monotonic(), 0

    def load(self, limit: int, what: str) -> None:
        """Read the whole body into `content`.

        Raises:
            TooLargeError: it has more than ``limit`` bytes.
            UnreachableError: the connection broke or stalled.
        """
        parts: list[bytes] = []
        left = limit
        while data := self.read1(BLOCK):
            left -= len(data)
            if left < 0:
                self.close()
                raise TooLargeError(what, limit)
            parts.append(data)
        self.content = b"".join(parts)
        self.close()

    def close(self) -> None:
        """Give the connection back if the body was read, else end it."""
        self._response.close()

    def discard(self) -> None:
        """Read the rest if it is short, so that the connection can be used again."""
        try:
            self.load(MAX_ERROR_BYTES, self.request)
        except RegistryError:
            self.close()

    def refusal(self, host: str, what: str) -> RegistryError:
        """Return the error that this answer to a request for ``what`` at ``host`` amounts to."""
        if not self.content:
            self.discard()
        return refusal(host, self.request, self.status, self.content, what=what, tries=self.tries)


class Backoff:
    """The waits between the tries of one thing: growing, jittered, bounded in number and time."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._deadline = time.monotonic() + settings.retry_budget_s
        self.tries = 1

    def wait(self, retry_after: str | None = None) -> bool:
        """Wait before the next try; False at once if there should be none.

        ``retry_after`` is what the other side asked for: seconds, a date, or nonsense, which counts
        as nothing.
        """
        pause = min(self._settings.retry_wait_s * 2 ** (self.tries - 1), _MAX_WAIT_S)
        pause *= random.uniform(0.5, 1.0)  # noqa: S311 - spreads clients out, hides nothing
        pause = max(pause, min(_seconds(retry_after), _MAX_RETRY_AFTER_S))
        if self.tries >= self._settings.attempts or time.monotonic() + pause > self._deadline:
            return False
        self.tries += 1
        time.sleep(pause)
        return True


def _seconds(retry_after: str | None) -> float:
    """Return what a Retry-After header asks for."""
    if not retry_after:
        return 0.0
    if retry_after.strip().isascii() and retry_after.strip().isdigit():
        return float(retry_after.strip()[:9])
    try:
        return email.utils.parsedate_to_datetime(retry_after).timestamp() - time.time()
    except (ValueError, OverflowError):
        return 0.0


@dataclass(frozen=True, slots=True)
class _Line:
    """The connections to one origin."""

    adapter: Adapter
    verify: bool
    proxy: str
    """The URL of the one that leads there, with its user and password; or empty."""
    authority: Path | None
    """The file in which an authority would be believed that nobody knows yet."""


class Transport:
    """Sends requests.

    Each origin has connections of its own, so that nothing set for one host (certificates not
    checked, above all) reaches another.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._lines: dict[str, _Line] = {}
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close all idle connections."""
        with self._lock:
            for line in self._lines.values():
                line.adapter.close()
            self._lines.clear()

    def backoff(self) -> Backoff:
        """Start counting tries."""
        return Backoff(self.settings)

    def exchange(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: Body | None = None,
        follow: bool = True,
        timeout_s: float | None = None,
    ) -> Response:
        """Send one request and return the answer, whatever its status; follow redirects if asked.

        Authorization goes to the origin of ``url`` and is dropped for good at the first redirect to
        another. ``timeout_s`` bounds every silence; the settings' stall timeout is the default.

        Raises:
            UnreachableError: no answer, or a redirect that must not be followed.
        """
        parts = check_url(url, self.settings)
        for _ in range(_MAX_REDIRECTS + 1):
            response = self._once(method, url, headers=headers, body=body, timeout_s=timeout_s)
            location = response.headers.get("Location")
            if not follow or response.status not in _REDIRECTS or not location:
                return response
            if method not in ("GET", "HEAD") and response.status not in _METHOD_KEEPING_REDIRECTS:
                return response
            response.discard()
            url = join(url, location)
            target = check_url(url, self.settings, sender=parts)
            if origin(target) != origin(parts):
                headers = {k: v for k, v in headers.items() if k.lower() != "authorization"}
            parts = target
        raise UnreachableError(
            parts.netloc,
            f"more than {_MAX_REDIRECTS} redirects ({response.request})",
            transient=False,
        )

    def retrying(self, attempt: Callable[[], Response]) -> Response:
        """Return the answer of ``attempt``, made again while that may help.

        Raises:
            UnreachableError: the last try's.
        """
        backoff = self.backoff()
        while True:
            try:
                response = attempt()
            except UnreachableError as error:
                if not error.transient or not backoff.wait():
                    raise after_tries(error, backoff.tries) from error
                continue
            if response.status not in RETRIED or not backoff.wait(
                response.headers.get("Retry-After")
            ):
                response.tries = backoff.tries
                return response
            response.discard()

    def _once(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: Body | None,
        timeout_s: float | None,
    ) -> Response:
        parts = urlsplit(url)
        shown = f"{method} {redact(url)}"
        data: Any = body() if callable(body) else body
        timeouts = (self.settings.connect_timeout_s, timeout_s or self.settings.stall_timeout_s)
        logger.debug("request.started %s", shown)
        with map_errors(parts.netloc, shown):
            line = self._line(parts)
        with map_errors(parts.netloc, shown, line.proxy, line.authority):
            prepared = requests.Request(method, url, {**_HEADERS, **headers}, data=data).prepare()
            answer = line.adapter.send(
                prepared,
                stream=True,
                timeout=timeouts,
                verify=line.verify,
                proxies={parts.scheme: line.proxy} if line.proxy else {},
            )
        logger.debug("request.answered %s status=%d", shown, answer.status_code)
        return Response(answer, shown, self.settings)

    def _line(self, parts: SplitResult) -> _Line:
        key, host = origin(parts), parts.netloc
        with self._lock:
            if key not in self._lines:
                verify = not self.settings.is_insecure(host)
                if not verify:
                    # The user has said so; a warning for each request would be too many.
                    urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
                tls = parts.scheme == "https"
                context = tls_context(self.settings, host) if tls else None
                proxy = self.settings.proxy(parts.scheme, host)
                authority = authority_file(self.settings, host) if tls else None
                self._lines[key] = _Line(Adapter(context), verify, proxy, authority)
            return self._lines[key]


def after_tries(error: UnreachableError, tries: int) -> UnreachableError:
    """Return what ``error`` is at the end, with the number of tries in its words, if there were several."""
    reason = f"{error.reason}, {tries} tries" if tries > 1 else error.reason
    return UnreachableError(error.host, reason, transient=False)


def origin(parts: SplitResult) -> str:
    """Return scheme, host and port as one comparable text."""
    port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    return f"{parts.scheme}://{parts.hostname}:{port}"


def join(base: str, location: str) -> str:
    """Resolve a Location or Link relative to ``base``.

    Raises:
        ProtocolError: it cannot be a URL.
    """
    try:
        return urljoin(base, location)
    except ValueError as error:
        raise ProtocolError(redact(base), 200, (), "it points at an impossible URL") from error


def check_url(url: str, settings: Settings, *, sender: SplitResult | None = None) -> SplitResult:
    """Split a URL that may be asked; ``sender`` is who sent us there, if not the user.

    Refused: other schemes, plain HTTP to hosts that are not allowed it or after HTTPS, users and
    passwords, characters that URL parsers disagree about; and, unless the user named them, link-local
    addresses (where clouds keep their secrets) and this machine, if it is another that sends us there.

    Raises:
        UnreachableError
    """
    shown = redact(url)
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host, parts = None, urlsplit("")
    if not host or parts.scheme not in ("http", "https"):
        raise _refused(shown, "is not an HTTP URL", sender)
    if any(c <= " " or c in "\\\x7f" for c in url) or "@" in parts.netloc:
        raise _refused(shown, "has characters that are not allowed there", sender)
    if parts.scheme == "http":
        if sender is not None and sender.scheme == "https":
            raise _refused(shown, "would leave HTTPS for plain HTTP", sender)
        if not settings.may_be_plain(parts.netloc):
            raise _refused(shown, "is plain HTTP; allow it with --insecure-registry", sender)
    if sender is not None and is_link_local(parts.netloc) and not settings.is_insecure(host):
        raise _refused(shown, "is a link-local address", sender)
    if (
        sender is not None
        and is_loopback(parts.netloc)
        and not is_loopback(sender.netloc)
        and not settings.is_insecure(parts.netloc)
    ):
        raise _refused(shown, "is this machine", sender)
    return parts


def _refused(shown: str, reason: str, sender: SplitResult | None) -> UnreachableError:
    if sender is None:
        return UnreachableError(shown, reason, transient=False)
    return UnreachableError(sender.netloc, f"it points at {shown}, which {reason}", transient=False)
