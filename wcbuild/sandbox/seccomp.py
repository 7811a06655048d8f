"""System-call filters of a sandbox."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Machine:
    """What the host's architecture needs to know."""

    keyctl: int = 250


def native() -> Machine:
    """Return the architecture that this process runs on."""
    return Machine()


def filter_for(*, default: bool, fake_root: bool) -> bytes:
    """Return the program for a sandbox, empty if it needs none."""
    del default, fake_root
    return b""
