"""`wcbuild attest`."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path

from registry.errors import TooLargeError
from registry.files import read_limited
from registry.sign import PREDICATE_TYPES, attest, read_predicate
from registry.sign.attestations import MAX_ENVELOPE_BYTES
from wcbuild.cli.main import Invocation
from wcbuild.cli.signing import add_signing_arguments, find_image, form, signing_key

# base64 and the statement around it have to fit as well.
_MAX_PREDICATE_BYTES = MAX_ENVELOPE_BYTES // 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare flags and arguments."""
    parser.add_argument("name", metavar="REF", help="an image of a registry")
    add_signing_arguments(parser)
    parser.add_argument(
        "--predicate", required=True, metavar="FILE", help="what to say about it; - is stdin"
    )
    parser.add_argument(
        "--type",
        default="custom",
        metavar="TYPE",
        help=f"{', '.join(PREDICATE_TYPES)} (default: custom), or a URI",
    )


def run(invocation: Invocation) -> int:
    """Sign a statement, and print what it is about, by digest."""
    args = invocation.args
    predicate_type, predicate = read_predicate(args.type, _read(args.predicate), datetime.now(UTC))
    key = signing_key(args.key, args.key_password_fd, invocation.environment)
    repository, image, reference = find_image(invocation)
    attest(
        repository,
        image,
        reference,
        key,
        predicate_type=predicate_type,
        predicate=predicate,
        form=form(args),
    )
    invocation.stdout.write(f"{reference.name}@{image.digest}\n")
    return 0


def _read(path: str) -> bytes:
    what = f"predicate {path}"
    if path != "-":
        return read_limited(Path(path), _MAX_PREDICATE_BYTES, what)
    data = sys.stdin.buffer.read(_MAX_PREDICATE_BYTES + 1)
    if len(data) > _MAX_PREDICATE_BYTES:
        raise TooLargeError(what, _MAX_PREDICATE_BYTES)
    return data
