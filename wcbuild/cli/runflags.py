"""Flags about what RUNs get, from words to values. What makes no sense is a UsageError."""

from __future__ import annotations

import argparse
import contextlib
import resource
from collections.abc import Mapping

from wcbuild.dockerfile.suggest import did_you_mean
from wcbuild.errors import UsageError
from wcbuild.sizes import parse_size

_UNLIMITED = -1
_PREFIX = "RLIMIT_"
_ULIMITS = sorted(
    name[len(_PREFIX) :].lower() for name in dir(resource) if name.startswith(_PREFIX)
)
_PERIOD = 100_000
"""Microseconds, as the kernel has it."""


def read_host(text: str) -> tuple[str, str]:
    """Read one `--add-host`, `NAME:IP` or `NAME=IP`, where an IPv6 address may stand in brackets."""
    equals = text.find("=")
    name, _, address = text.partition(":" if equals < 0 else "=")
    if name and address == "host-gateway":
        # RUNs share the network of this machine.
        return name, "127.0.0.1"
    address = address.removeprefix("[").removesuffix("]")
    if not name or not _is_address(address):
        raise UsageError(f'--add-host "{text}": expected NAME:IP')
    return name, address


def _is_address(text: str) -> bool:
    import socket  # noqa: PLC0415 - few builds add hosts

    for family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError, ValueError):
            socket.inet_pton(family, text)
            return True
    return False


def read_ulimit(text: str) -> tuple[str, int, int]:
    """Read one `--ulimit`; return the name in lower case, the soft and the hard limit."""
    name, _, limits = text.partition("=")
    first, _, second = limits.partition(":")
    try:
        soft, hard = int(first), int(second or first)
    except ValueError:
        raise UsageError(f'--ulimit "{text}": expected TYPE=SOFT[:HARD]') from None
    if name.lower() not in _ULIMITS:
        hint = did_you_mean(name.lower(), _ULIMITS) or f"there are {', '.join(_ULIMITS)}"
        raise UsageError(f'--ulimit "{text}": there is no limit "{name}" ({hint})')
    if hard != _UNLIMITED and (soft == _UNLIMITED or soft > hard):
        raise UsageError(f'--ulimit "{text}": the soft limit is above the hard one')
    return name.lower(), soft, hard


def read_limits(args: argparse.Namespace) -> tuple[int, float]:
    """Return the bytes and the processors that a RUN may use; 0 is no limit."""
    given = {"memory": args.memory, "cpu-quota": args.cpu_quota, "cpu-period": args.cpu_period}
    for text in args.resource:
        key, _, value = text.partition("=")
        if key not in given or not value:
            raise UsageError(f'--resource "{text}": expected KEY=VALUE of {", ".join(given)}')
        given[key] = value
    cpus = args.cpus
    if given["cpu-quota"]:
        cpus = _microseconds("quota", given) / (_microseconds("period", given) or _PERIOD)
    return read_size("--memory", given["memory"]), cpus


def _microseconds(what: str, given: Mapping[str, str]) -> int:
    text = given[f"cpu-{what}"] or "0"
    if not text.isdecimal():
        raise UsageError(f'--cpu-{what} "{text}": is not a number')
    return int(text)


def read_size(flag: str, text: str) -> int:
    """Read a size in bytes, as `64m`, that belongs to ``flag``."""
    try:
        return parse_size(text)
    except UsageError as error:
        raise UsageError(f"{flag}: {error}") from None
