"""`wcbuild sign`."""

from __future__ import annotations

import argparse

from registry.sign import sign, with_children
from wcbuild.cli.main import Invocation
from wcbuild.cli.signing import (
    add_annotations_argument,
    add_signing_arguments,
    find_image,
    form,
    read_annotations,
    signing_key,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare flags and arguments."""
    add = parser.add_argument
    add("name", metavar="REF", help="an image of a registry; its digest is signed, never its tag")
    add_signing_arguments(parser)
    add_annotations_argument(parser, "sign this, too")
    add("-r", "--recursive", action="store_true", help="sign all images of an index, too")
    add(
        "--sign-container-identity",
        default="",
        metavar="REF",
        help="the name to sign for (default: the repository of REF, without a tag)",
    )


def run(invocation: Invocation) -> int:
    """Sign, and print what was signed, by digest."""
    args = invocation.args
    signed = read_annotations(args.annotations)
    key = signing_key(args.key, args.key_password_fd, invocation.environment)
    repository, image, reference = find_image(invocation)
    images = with_children(repository, image) if args.recursive else (image,)
    for each in images:
        sign(
            repository,
            each,
            reference,
            key,
            annotations=signed,
            identity=args.sign_container_identity,
            form=form(args),
        )
        invocation.stdout.write(f"{reference.name}@{each.digest}\n")
    return 0
