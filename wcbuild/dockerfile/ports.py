"""EXPOSE's words: `80`, `53/udp`, `8000-8010/tcp`."""

from __future__ import annotations

import re

_PROTOCOLS = ("tcp", "udp", "sctp")
_LARGEST_PORT = 65535

MAX_PORTS = len(_PROTOCOLS) * (_LARGEST_PORT + 1)
"""All that there are. An instruction names no more, not even one of them twice."""


def expand_ports(word: str) -> list[str]:
    """Return every port of ``word`` as `number/protocol`.

    What stands before a last colon, an address and port of the host as `-p` of docker run has it, is
    checked and left out: an image cannot say that.

    Raises:
        ValueError: not a port.
    """
    host, _, container = word.rpartition(":")
    address, _, host_port = host.rpartition(":")
    container, _, protocol = container.partition("/")
    protocol = protocol.lower() or "tcp"
    if not container:
        raise ValueError(f'invalid port: "{word}": no port specified')
    if protocol not in _PROTOCOLS:
        raise ValueError(f'invalid port: "{word}": invalid proto: {protocol}')
    if address:
        _check_address(address)
    first, last = _range(container, "containerPort")
    if host_port:
        host_first, host_last = _range(host_port, "hostPort")
        if first != last and last - first != host_last - host_first:
            raise ValueError(
                f"invalid ranges specified for container and host Ports: {container} and {host_port}"
            )
    return [f"{port}/{protocol}" for port in range(first, last + 1)]


def _range(text: str, what: str) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    if not dash:
        last = first
    if not all(re.fullmatch(r"\+?[0-9]{1,20}", part) for part in (first, last)):
        raise ValueError(f"invalid {what}: {text}")
    if not int(first) <= int(last) <= _LARGEST_PORT:
        raise ValueError(f"invalid {what}: {text}")
    return int(first), int(last)


def _check_address(text: str) -> None:
    import ipaddress  # noqa: PLC0415 - an address here is as good as never

    bracketed = re.fullmatch(r"\[(.*)\]", text)
    is_address = "%" not in text  # it would be a zone, which is one of a machine
    try:
        ipaddress.ip_address(bracketed[1] if bracketed else text)
    except ValueError:
        is_address = False
    if not is_address:
        raise ValueError(f"invalid IP address: {text}")
