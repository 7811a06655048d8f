"""`wcbuild keygen`."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from registry.errors import StoreError
from registry.sign import SigningKey
from wcbuild.cli.main import Invocation
from wcbuild.cli.signing import PASSWORD, add_password_argument, password_source
from wcbuild.errors import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare flags and arguments."""
    parser.add_argument(
        "--output-key-prefix",
        default="wcbuild",
        metavar="PREFIX",
        help="write PREFIX.key, in cosign's format, and PREFIX.pub (default: wcbuild)",
    )
    add_password_argument(parser)


def run(invocation: Invocation) -> int:
    """Make an ECDSA P-256 key, and print the names of its files; nothing is overwritten."""
    args = invocation.args
    private, public = (Path(f"{args.output_key_prefix}.{suffix}") for suffix in ("key", "pub"))
    for path in (private, public):
        if path.exists():
            reason = "is there already; remove it, or choose another --output-key-prefix"
            raise StoreError(str(path), reason)
    asked = args.key_password_fd is None and PASSWORD not in invocation.environment
    password = _ask(args.key_password_fd, invocation, "Password for the private key: ")
    if asked and _ask(None, invocation, "Again: ") != password:
        raise UsageError("the two passwords are not the same")
    key = SigningKey.generate()
    _write(private, key.encrypted(password), 0o600)
    _write(public, key.public.pem, 0o644)
    if not password:
        sys.stderr.write(f'"{private}" has no password: whoever reads it can sign\n')
    invocation.stdout.write(f"{private}\n{public}\n")
    return 0


def _ask(fd: int | None, invocation: Invocation, prompt: str) -> bytes:
    return password_source(fd, invocation.environment, prompt)()


def _write(path: Path, data: bytes, mode: int) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with open(fd, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(fd)
