"""Flags in docker's ways: switches that may have a value, and flags for what wcbuild does not do."""

from __future__ import annotations

import argparse
from collections.abc import Callable

_VALUES = {"true": True, "1": True, "false": False, "0": False}


def add_switch(
    parser: argparse.ArgumentParser,
    *names: str,
    dest: str,
    help: str,  # noqa: A002 - argparse's word
    on: object = True,
    off: object = False,
) -> None:
    """Declare a flag that is ``off`` without it; `--push=true` and `--push=false` say it, too."""
    parser.add_argument(*names, dest=dest, action="store_const", const=on, default=off, help=help)
    for value, is_on in _VALUES.items():
        # argparse looks for the whole word before it takes one apart.
        parser.add_argument(
            *(f"{name}={value}" for name in names),
            dest=dest,
            action="store_const",
            const=on if is_on else off,
            default=argparse.SUPPRESS,
            help=argparse.SUPPRESS,
        )


_ATTESTED = "builds make no attestations; `wcbuild attest` signs statements about an image"
_LIMITS = "is no limit that wcbuild sets; those are --memory, --cpus and --pids-limit"
_OFF = ("false", "disabled=true")
_ABSENT = {
    "--provenance": _ATTESTED,
    "--sbom": _ATTESTED,
    "--attest": _ATTESTED,
    "-c --cpu-shares": _LIMITS,
    "--cpuset-cpus": _LIMITS,
    "--cpuset-mems": _LIMITS,
    "--memory-swap": _LIMITS,
    "--cgroup-parent": _LIMITS,
    "--builder": "there are no builders to choose from",
    "--policy": "--signature-policy says which base images may be used",
    "--security-opt": "RUN --security=insecure and --allow security.insecure do that",
}
"""Flags of docker's, all of which have a value, and why they are not here."""


def add_absent(parser: argparse.ArgumentParser) -> None:
    """Declare what `docker buildx build` has besides: what changes nothing here, and what is refused."""
    for name in ("--rm", "--force-rm", "--compress"):
        add_switch(parser, name, dest="ignored", help=argparse.SUPPRESS)
    for flags, why in _ABSENT.items():
        parser.add_argument(
            *flags.split(),
            type=_refusing(why, unless=_OFF if why is _ATTESTED else ()),
            default=argparse.SUPPRESS,
            help=argparse.SUPPRESS,
        )


def _refusing(why: str, *, unless: tuple[str, ...]) -> Callable[[str], str]:
    """Return what reads a flag's value: refuses it unless it ends in a word for what is so anyway."""

    def read(text: str) -> str:
        if text.endswith(unless):
            return text
        raise argparse.ArgumentTypeError(why)

    return read
