"""`wcbuild verify-attestation`."""

from __future__ import annotations

import argparse
import json

from registry.sign import PREDICATE_TYPES, verify_attestation
from wcbuild.cli.main import Invocation
from wcbuild.cli.signing import add_verifying_arguments, find_signed, verifying_keys


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare flags and arguments."""
    parser.add_argument("name", metavar="REF", help="an image of a registry")
    add_verifying_arguments(parser)
    parser.add_argument(
        "--type",
        default="custom",
        metavar="TYPE",
        help=f"{', '.join(PREDICATE_TYPES)} (default: custom), or a URI",
    )


def run(invocation: Invocation) -> int:
    """Verify, and print the good attestations as cosign does: one envelope a line."""
    args = invocation.args
    keys = verifying_keys(args.key, invocation.environment)
    source, image, reference = find_signed(invocation)
    found = verify_attestation(
        source,
        image,
        reference,
        keys,
        predicate_type=PREDICATE_TYPES.get(args.type, args.type),
    )
    invocation.stderr.write(
        f"verified {reference.name}@{image.digest}: {len(found)} good "
        f"attestation{'s' if len(found) > 1 else ''}\n"
    )
    for envelope, _ in found:
        invocation.stdout.write(json.dumps(json.loads(envelope.raw)) + "\n")
    return 0
