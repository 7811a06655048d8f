"""`wcbuild registry serve` and `wcbuild registry gc`."""

from __future__ import annotations

import argparse
import contextlib
import logging
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from registry.reference import is_host
from wcbuild.access import open_client
from wcbuild.cli.main import Invocation, add_actions
from wcbuild.cli.render.text import clean
from wcbuild.dockerfile.duration import parse_duration
from wcbuild.errors import UsageError
from wcbuild.sizes import format_size, parse_size

if TYPE_CHECKING:
    from registry.server import Exchange, ServerSettings

_DEFAULT_PORT = 5000
_MAX_PORT = 65535


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare flags and arguments."""
    actions = add_actions(
        parser,
        {
            "serve": "serve a registry until it is told to end",
            "gc": "remove what no manifest needs, also while the registry serves",
        },
    )
    serve, gc = actions["serve"], actions["gc"]
    serve.add_argument(
        "--listen",
        default=f"127.0.0.1:{_DEFAULT_PORT}",
        metavar="HOST:PORT",
        help="port 0 is any (default: %(default)s)",
    )
    serve.add_argument(
        "--tls-cert", type=Path, metavar="FILE", help="certificates (PEM): HTTPS only"
    )
    serve.add_argument("--tls-key", type=Path, metavar="FILE", help="their key, if not in there")
    serve.add_argument("--htpasswd", type=Path, metavar="FILE", help="users, with bcrypt hashes")
    serve.add_argument(
        "--access", type=Path, metavar="FILE", help="lines of USER PATTERN pull,push,delete"
    )
    serve.add_argument(
        "--anonymous-pull", action="store_true", help="everybody may pull; users push"
    )
    serve.add_argument(
        "--auth",
        choices=("basic", "token"),
        default="basic",
        help="how users say who they are (default: %(default)s)",
    )
    serve.add_argument(
        "--url", default="", metavar="URL", help="how clients reach it, if otherwise"
    )
    serve.add_argument("--read-only", action="store_true", help="change nothing")
    serve.add_argument("--no-delete", action="store_true", help="clients delete nothing")
    serve.add_argument(
        "--proxy", default="", metavar="HOST", help="fetch what is not here from HOST"
    )
    serve.add_argument(
        "--max-blob", default="64g", metavar="SIZE", help="of one upload (default: %(default)s)"
    )
    serve.add_argument(
        "--max-uploads", type=int, default=32, metavar="N", help="at a time (default: %(default)s)"
    )
    serve.add_argument(
        "--threads",
        type=int,
        default=64,
        metavar="N",
        help="requests at a time (default: %(default)s)",
    )
    serve.add_argument(
        "--idle-timeout",
        default="30s",
        metavar="TIME",
        help="of a connection (default: %(default)s)",
    )
    serve.add_argument(
        "--gc-interval",
        default="1h",
        metavar="TIME",
        help="between collections; 0 for none (default: %(default)s)",
    )
    serve.add_argument("-q", "--quiet", action="store_true", help="no access log")
    for each in (serve, gc):
        each.add_argument(
            "--grace",
            default="1h",
            metavar="TIME",
            help="what is younger is never collected (default: %(default)s)",
        )
        each.add_argument(
            "--upload-expiry",
            default="24h",
            metavar="TIME",
            help="of uploads nobody goes on with (default: %(default)s)",
        )
    gc.add_argument("--untagged", action="store_true", help="manifests that no tag leads to, too")
    gc.add_argument("--dry-run", action="store_true", help="only say what would be removed")


def run(invocation: Invocation) -> int:
    """Serve, or collect."""
    return _serve(invocation) if invocation.args.action == "serve" else _collect(invocation)


def _serve(invocation: Invocation) -> int:
    # Imported when used, as the HTTP server takes long to import.
    from registry.server import serve  # noqa: PLC0415

    args, settings = invocation.args, _settings(invocation.args)
    client = open_client(invocation.registries) if settings.upstream else None
    if settings.htpasswd and not settings.tls_certificate and not _is_private(settings):
        invocation.stderr.write(
            "WARNING: passwords cross the network unencrypted; use --tls-cert\n"
        )
    _allow_many_files()
    log = None if args.quiet else _AccessLog(invocation.stderr)
    with (
        _logging(invocation.stderr, debug=args.debug),
        contextlib.suppress(KeyboardInterrupt),
        serve(_root(invocation), settings, emit=log, client=client) as registry,
    ):
        invocation.stdout.write(f"serving {registry.url}\n")
        invocation.stdout.flush()
        try:
            threading.Event().wait()
        finally:
            # What was acknowledged is safe, so who cannot wait may end us at once.
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_DFL)
    return 0


def _collect(invocation: Invocation) -> int:
    from registry.server import Storage, collect  # noqa: PLC0415 - as above

    args, root = invocation.args, _root(invocation)
    if not (root / "version").exists():
        raise UsageError(f'"{root}" holds no registry; say where it is with --root')
    found = collect(
        Storage(root),
        grace_s=_seconds("--grace", args.grace),
        upload_expiry_s=_seconds("--upload-expiry", args.upload_expiry),
        untagged=args.untagged,
        dry_run=args.dry_run,
    )
    for name in found.busy:
        invocation.stderr.write(f"WARNING: {name} was left as it is: in use, or damaged\n")
    verb = "would remove" if args.dry_run else "removed"
    invocation.stdout.write(
        f"{verb} {found.manifests} manifests, {found.blobs} blobs, {found.uploads} uploads: "
        f"{format_size(found.freed)}\n"
    )
    return 0


def _root(invocation: Invocation) -> Path:
    """Return the registry's folder: the one that was named, or one within the default store."""
    return invocation.root if invocation.args.root else invocation.root / "registry"


def _settings(args: argparse.Namespace) -> ServerSettings:
    from registry.server import ServerSettings  # noqa: PLC0415 - as above

    address, port = _address(args.listen)
    if args.tls_key and not args.tls_cert:
        raise UsageError("--tls-key needs --tls-cert")
    if not args.htpasswd and (args.access or args.anonymous_pull or args.auth == "token"):
        raise UsageError("--access, --anonymous-pull and --auth token need users: --htpasswd FILE")
    if args.threads < 1 or args.max_uploads < 1:
        raise UsageError("--threads and --max-uploads are at least 1")
    if args.url and not args.url.startswith(("http://", "https://")):
        raise UsageError(f'--url "{args.url}" does not begin with http:// or https://')
    if args.proxy and not is_host(args.proxy):
        raise UsageError(f'--proxy "{args.proxy}" is not a host; write HOST or HOST:PORT')
    return ServerSettings(
        address=address,
        port=port,
        tls_certificate=args.tls_cert,
        tls_key=args.tls_key,
        htpasswd=args.htpasswd,
        access=args.access,
        anonymous_pull=args.anonymous_pull,
        tokens=args.auth == "token",
        url=args.url.rstrip("/"),
        read_only=args.read_only,
        deletes=not args.no_delete,
        threads=args.threads,
        max_uploads=args.max_uploads,
        max_blob_bytes=parse_size(args.max_blob),
        idle_timeout_s=max(1, int(_seconds("--idle-timeout", args.idle_timeout))),
        gc_interval_s=_seconds("--gc-interval", args.gc_interval),
        gc_grace_s=_seconds("--grace", args.grace),
        upload_expiry_s=_seconds("--upload-expiry", args.upload_expiry),
        upstream=args.proxy,
    )


def _address(text: str) -> tuple[str, int]:
    """Read `HOST:PORT`, `:PORT`, `HOST` or `[::1]:PORT`; no host is every address."""
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, port = text, str(_DEFAULT_PORT)
    if not port.isascii() or not port.isdigit() or int(port) > _MAX_PORT:
        raise UsageError(f'--listen "{text}": write HOST:PORT')
    return host.strip("[]") or "0.0.0.0", int(port)  # noqa: S104 - as the user asks


def _allow_many_files() -> None:
    """Take all open files that we may have: each connection is one, and each blob on its way."""
    import resource  # noqa: PLC0415 - only here

    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _is_private(settings: ServerSettings) -> bool:
    """Say whether what clients send cannot be read by others, as far as one can know here."""
    return settings.address.startswith(("127.", "localhost", "::1")) or settings.url.startswith(
        "https://"
    )


def _seconds(flag: str, text: str) -> float:
    try:
        seconds = parse_duration(text) / 1e9
    except ValueError as error:
        raise UsageError(f"{flag}: {error}") from error
    if seconds < 0:
        raise UsageError(f"{flag}: {text} is less than nothing")
    return seconds


class _AccessLog:
    """Writes a line for each request."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def __call__(self, exchange: Exchange) -> None:
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(exchange.finished))
        line = (
            f"{moment} {exchange.client or '-'} {clean(exchange.user) or '-'} "
            f'"{clean(exchange.method)} {clean(exchange.target)}" {exchange.status or "broken"} '
            f"in={exchange.received} out={exchange.sent} {exchange.seconds:.3f}s\n"
        )
        with self._lock, contextlib.suppress(OSError, ValueError):
            self._stream.write(line)
            self._stream.flush()


@contextlib.contextmanager
def _logging(stream: TextIO, *, debug: bool) -> Iterator[None]:
    """Show what the server logs: what somebody who runs it has to know."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    logger = logging.getLogger("registry.server")
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG if debug else logging.WARNING)
    try:
        yield
    finally:
        logger.removeHandler(handler)
