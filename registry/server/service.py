"""A registry that runs: settings in, a URL out."""

from __future__ import annotations

import contextlib
import logging
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from registry.errors import RegistryError, StoreError, UnreachableError
from registry.files import read_limited, store_errors
from registry.remote.client import Client
from registry.server.access import (
    ANONYMOUS,
    EVERYBODY,
    MAX_FILE_BYTES,
    BasicGate,
    Gate,
    OpenGate,
    Passwords,
    Rule,
    parse_rules,
)
from registry.server.api import Api
from registry.server.garbage import GRACE_S, UPLOAD_EXPIRY_S, Collected, collect
from registry.server.http import Emit, Server
from registry.server.proxy import PullThrough
from registry.server.storage import Storage
from registry.server.tokens import TokenGate, Tokens
from registry.server.uploads import Uploads

logger = logging.getLogger(__name__)

GIB = 1024**3


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """How a registry serves; the defaults are for one developer on one machine."""

    address: str = "127.0.0.1"
    port: int = 0
    """0 is any that is free."""
    tls_certificate: Path | None = None
    """PEM, with the certificates that lead to the authority after its own."""
    tls_key: Path | None = None
    """PEM; None if the certificate's file has it."""
    htpasswd: Path | None = None
    """Users; None lets everybody do everything."""
    access: Path | None = None
    """Rules (see `access.parse_rules`); None lets every user do everything."""
    anonymous_pull: bool = False
    """Everybody may pull, and users may do everything: a rule that needs no file."""
    tokens: bool = False
    """Users get tokens for their passwords, instead of sending them with each request."""
    url: str = ""
    """How clients reach us, if not under the name they say, for example through a proxy."""
    read_only: bool = False
    deletes: bool = True
    threads: int = 64
    """Requests at a time. Connections that wait for their next request need none."""
    max_uploads: int = 32
    """Requests that upload, at a time; others are told to come back."""
    max_blob_bytes: int = 64 * GIB
    idle_timeout_s: int = 30
    """Silence, or less than `http.MIN_RATE` bytes a second, for this long ends a connection."""
    grace_s: int = 5
    """How long requests under way may take when the registry stops."""
    gc_interval_s: float = 3600.0
    """0 collects no garbage by itself."""
    gc_grace_s: float = GRACE_S
    upload_expiry_s: float = UPLOAD_EXPIRY_S
    """Uploads that nobody went on with for this long are forgotten."""
    upstream: str = ""
    """The host to pull from what is not here; nothing can be pushed then."""


class Registry:
    """A registry that is running."""

    def __init__(
        self, server: Server, storage: Storage, uploads: Uploads, settings: ServerSettings
    ) -> None:
        self._server = server
        self._storage = storage
        self._uploads = uploads
        self._settings = settings
        self.url = settings.url or server.url
        """Where it is reached."""

    @property
    def host(self) -> str:
        """Host and port, as references begin with them."""
        return self.url.partition("://")[2]

    def collect(self) -> Collected:
        """Collect garbage now, whatever goes on.

        Raises:
            StoreError
        """
        collected = collect(
            self._storage,
            grace_s=self._settings.gc_grace_s,
            upload_expiry_s=self._settings.upload_expiry_s,
        )
        self._uploads.forget_removed()
        return collected


@contextlib.contextmanager
def serve(
    root: Path,
    settings: ServerSettings | None = None,
    *,
    emit: Emit | None = None,
    client: Client | None = None,
) -> Iterator[Registry]:
    """Serve the repositories below ``root`` for the `with` block.

        with serve(Path("registry")) as registry:
            print(registry.url)

    At its end, requests under way may finish. ``emit`` is told of each request, from several threads;
    ``client`` reaches the upstream, if there is one.

    Raises:
        StoreError: the folder, the certificate, users or rules cannot be used, or another process
            serves this folder.
        UnreachableError: the address cannot be listened on.
    """
    settings = settings or ServerSettings()
    storage = Storage(root, read_only=settings.read_only)
    uploads = Uploads(at_once=settings.max_uploads, max_bytes=settings.max_blob_bytes)
    gate, tokens = _gate(storage, settings)
    upstream = None
    if settings.upstream:
        if client is None:
            raise ValueError("an upstream needs a client")
        upstream = PullThrough(client, settings.upstream)
    api = Api(storage, uploads, gate, tokens=tokens, upstream=upstream, deletes=settings.deletes)
    server = Server(
        (settings.address, settings.port),
        api.handle,
        emit,
        threads=settings.threads,
        idle_timeout_s=settings.idle_timeout_s,
        grace_s=settings.grace_s,
        tls=_tls(settings),
    )
    with storage.serving():
        try:
            server.prepare()
        except OSError as error:
            where = f"{settings.address}:{settings.port}"
            # cheroot packs what the system said: "... -- (('::1', 5000): [Errno 98] Address ...)"
            reason = str(error).rpartition("] ")[2].rstrip(")").lower()
            raise UnreachableError(where, f"cannot listen there: {reason}") from error
        registry = Registry(server, storage, uploads, settings)
        stopping = threading.Event()
        threads = [threading.Thread(target=server.serve, name="registry")]
        if settings.gc_interval_s and not settings.read_only:
            threads.append(
                threading.Thread(
                    target=_maintain,
                    args=(registry, settings.gc_interval_s, stopping),
                    name="registry gc",
                )
            )
        for thread in threads:
            thread.start()
        try:
            yield registry
        finally:
            stopping.set()
            server.stop()
            for thread in threads:
                thread.join()


def _maintain(registry: Registry, interval_s: float, stopping: threading.Event) -> None:
    while not stopping.wait(interval_s):
        try:
            logger.info("gc.done %s", registry.collect())
        except RegistryError as error:
            logger.warning("gc.failed %s", error)


def _gate(storage: Storage, settings: ServerSettings) -> tuple[Gate, Tokens | None]:
    if settings.htpasswd is None:
        if settings.access is not None or settings.tokens or settings.anonymous_pull:
            raise StoreError("the registry's users", "rules and tokens need an htpasswd file")
        return OpenGate(), None
    passwords = Passwords(settings.htpasswd)
    rules: tuple[Rule, ...] = EVERYBODY
    if settings.access is not None:
        with store_errors(settings.access):
            raw = read_limited(settings.access, MAX_FILE_BYTES, str(settings.access))
        rules = parse_rules(raw.decode("utf-8", "replace"), str(settings.access))
    if settings.anonymous_pull:
        rules = (*rules, Rule(user=ANONYMOUS, pattern="*", actions=frozenset(("pull",))))
    if not settings.tokens:
        return BasicGate(passwords, rules, "wcbuild"), None
    key = storage.root / "token.key"
    tokens = Tokens(key, passwords, rules, read_only=storage.read_only)
    tls = settings.tls_certificate is not None
    return TokenGate(tokens, url=settings.url, tls=tls), tokens


def _tls(settings: ServerSettings) -> ssl.SSLContext | None:
    if settings.tls_certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(settings.tls_certificate, settings.tls_key)
    except (OSError, ValueError) as error:
        reason = f"is not a certificate with its key ({error})"
        raise StoreError(str(settings.tls_certificate), reason) from error
    return context
