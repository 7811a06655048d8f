"""`wcbuild verify`."""

from __future__ import annotations

import argparse
import json

from registry.reference import Reference
from registry.sign import ExactReference, ExactRepository, SignedIdentity, verify
from wcbuild.cli.main import Invocation
from wcbuild.cli.signing import (
    add_annotations_argument,
    add_verifying_arguments,
    find_signed,
    read_annotations,
    verifying_keys,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare flags and arguments."""
    add = parser.add_argument
    add("name", metavar="REF", help="an image of a registry")
    add_verifying_arguments(parser)
    add_annotations_argument(parser, "what has to be signed, too")
    add(
        "--signed-identity",
        default="",
        metavar="REF",
        help="the name it has to be signed for (default: the repository of REF, any tag)",
    )


def run(invocation: Invocation) -> int:
    """Verify, and print what the good signatures say, as cosign does: a JSON list."""
    args = invocation.args
    keys = verifying_keys(args.key, invocation.environment)
    wanted = read_annotations(args.annotations)
    identity = _identity(args.signed_identity) if args.signed_identity else None
    source, image, reference = find_signed(invocation)
    payloads = verify(source, image, reference, keys, annotations=wanted, identity=identity)
    invocation.stderr.write(
        f"verified {reference.name}@{image.digest}: {len(payloads)} good "
        f"signature{'s' if len(payloads) > 1 else ''}\n"
    )
    invocation.stdout.write(json.dumps([payload.to_json() for payload in payloads]) + "\n")
    return 0


def _identity(text: str) -> SignedIdentity:
    reference = Reference.parse(text)
    if reference.tag or reference.digest:
        return ExactReference(reference=reference)
    return ExactRepository(name=reference.name)
