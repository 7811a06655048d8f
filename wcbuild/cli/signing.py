"""What subcommands that sign and verify share: keys, passwords, and the image that is meant."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from registry.files import read_limited
from registry.oci.descriptor import Descriptor
from registry.reference import Reference
from registry.store import Source
from wcbuild.access import open_client
from wcbuild.cli.main import Invocation
from wcbuild.errors import UsageError

if TYPE_CHECKING:
    from registry.remote.repository import RemoteRepository
    from registry.sign import SigningKey, VerifyingKey
    from registry.sign.attachments import Form

PASSWORD = "COSIGN_PASSWORD"  # noqa: S105 - the variable's name
_ENVIRONMENT = "env://"
_MODES: Mapping[str, Form] = {"legacy": "tag", "oci-1-1": "referrers"}
_MAX_PASSWORD_BYTES = 4096


def add_password_argument(parser: argparse.ArgumentParser) -> None:
    """Declare where the password of a private key comes from."""
    parser.add_argument(
        "--key-password-fd",
        type=int,
        metavar="N",
        help=f"read the key's password from this file descriptor (default: ${PASSWORD}, or ask)",
    )


def add_signing_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what everything that signs takes."""
    parser.add_argument("--key", required=True, metavar="FILE", help="private key, or env://NAME")
    add_password_argument(parser)
    parser.add_argument(
        "--registry-referrers-mode",
        choices=tuple(_MODES),
        default="legacy",
        help="where it is put: under cosign's tag (legacy), or among the referrers (oci-1-1)",
    )


def add_verifying_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what everything that verifies takes."""
    parser.add_argument(
        "--key",
        action="append",
        required=True,
        metavar="FILE",
        help="public key, or env://NAME; of several, one has to fit",
    )


def add_annotations_argument(parser: argparse.ArgumentParser, text: str) -> None:
    """Declare `-a K=V`; see `read_annotations`."""
    parser.add_argument(
        "-a",
        "--annotations",
        action="append",
        default=[],
        metavar="K=V",
        help=f"{text}; may be repeated",
    )


def form(args: argparse.Namespace) -> Form:
    """Return the form that the command line asks for."""
    return _MODES[args.registry_referrers_mode]


def signing_key(text: str, fd: int | None, environment: Mapping[str, str]) -> SigningKey:
    """Read a private key, asking for its password if it has one.

    Raises:
        UsageError: there is no such variable, or nobody to ask.
        KeyFileError, WrongPasswordError, TooLargeError, OSError
    """
    from registry.sign import SigningKey  # noqa: PLC0415 - `wcbuild build` mostly signs nothing

    ask = password_source(fd, environment, f'Password of "{text}": ')
    return SigningKey.read(_key_file(text, environment), ask, text)


def verifying_keys(texts: Sequence[str], environment: Mapping[str, str]) -> list[VerifyingKey]:
    """Read public keys. Raises as `signing_key`."""
    from registry.sign import VerifyingKey  # noqa: PLC0415 - as above

    return [VerifyingKey.read(_key_file(text, environment), text) for text in texts]


def password_source(
    fd: int | None, environment: Mapping[str, str], prompt: str
) -> Callable[[], bytes]:
    """Return a function that gets a password: from ``fd``, the environment or the terminal.

    It raises:
        UsageError: there is none.
    """

    def ask() -> bytes:
        if fd is not None:
            return _read_password(fd)
        if PASSWORD in environment:
            return os.fsencode(environment[PASSWORD])
        if not sys.stdin.isatty():
            raise UsageError(
                f"there is no terminal to ask for the key's password: set {PASSWORD} "
                "or give --key-password-fd"
            )
        import getpass  # noqa: PLC0415 - every build reads this module, and few ask

        return getpass.getpass(prompt).encode()

    return ask


def find_image(invocation: Invocation) -> tuple[RemoteRepository, Descriptor, Reference]:
    """Return the image of a registry that REF names now, to be signed: what is signed is a digest.

    Raises:
        UsageError: it is in another kind of place. And whatever the registry raises.
    """
    reference = _reference(invocation.args.name)
    repository = open_client(invocation.registries).repository(reference)
    return repository, repository.resolve(str(reference.digest or reference.tag)), reference


def find_signed(invocation: Invocation) -> tuple[Source, Descriptor, Reference]:
    """Return the image of a registry that REF names now, to be verified: mirrors are asked as in a pull.

    Raises as `find_image`.
    """
    reference = _reference(invocation.args.name)
    source = open_client(invocation.registries).source(reference)
    return source, source.resolve(str(reference.digest or reference.tag)), reference


def _reference(name: str) -> Reference:
    from wcbuild.places import DOCKER, Place  # noqa: PLC0415 - every build reads this module

    place = Place.parse(name)
    if place.kind != DOCKER:
        raise UsageError(f'"{place}": images are signed and verified in registries; copy it to one')
    return Reference.parse(str(place)).with_default_tag()


def read_annotations(texts: Sequence[str]) -> dict[str, str]:
    """Read `K=V`.

    Raises:
        UsageError
    """
    pairs = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise UsageError(f'--annotations "{text}": expected NAME=VALUE')
        pairs[name] = value
    return pairs


def _key_file(text: str, environment: Mapping[str, str]) -> bytes:
    if text.startswith(_ENVIRONMENT):
        name = text.removeprefix(_ENVIRONMENT)
        if name not in environment:
            raise UsageError(f'--key {text}: there is no variable "{name}"')
        return os.fsencode(environment[name])
    from registry.sign.keys import MAX_KEY_FILE_BYTES  # noqa: PLC0415 - as above

    return read_limited(Path(text), MAX_KEY_FILE_BYTES, f"key {text}")


def _read_password(fd: int) -> bytes:
    data = b""
    try:
        while len(data) <= _MAX_PASSWORD_BYTES and (more := os.read(fd, _MAX_PASSWORD_BYTES)):
            data += more
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UsageError(f"--key-password-fd {fd}: {reason}") from error
    if len(data) > _MAX_PASSWORD_BYTES:
        raise UsageError(f"--key-password-fd {fd}: longer than {_MAX_PASSWORD_BYTES} bytes")
    return data.removesuffix(b"\n").removesuffix(b"\r")
