"""Finding Wine on this machine."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from wcbuild.errors import WcbuildError

# Debian; the names that WineHQ's packages and other distributions use.
_LOADERS = (
    "/usr/lib/wine/wine64",
    "/opt/wine-stable/bin/wine64",
    "/opt/wine-devel/bin/wine64",
    "/usr/bin/wine64",
    "/usr/bin/wine",
)
_SERVERS = ("wineserver64", "wineserver")
_ELF = b"\x7fELF"
_LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/share/wine", "/etc/ssl/certs")
"""What Wine's programs need of the machine, read-only: their libraries, and whom TLS trusts."""


class WineMissingError(WcbuildError):
    """There is no Wine to run Windows commands with."""

    def __str__(self) -> str:
        return (
            "--isolation=wine needs a 64-bit Wine, and there is none; on Debian install it with "
            '"apt-get install --no-install-recommends wine wine64"'
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Wine:
    """An installed Wine."""

    loader: str
    """The program that runs Windows programs; absolute, an ELF file."""
    server: str
    version: str
    """As it says itself: `wine-8.0 (Debian 8.0~repack-4)`."""

    @property
    def directories(self) -> tuple[str, ...]:
        """What of this machine a sandbox must show, so that Wine works there."""
        own = os.path.dirname(os.path.dirname(self.loader))
        needed = [path for path in _LIBRARIES if os.path.isdir(path)]
        if own.startswith("/opt/"):
            needed.append(own)
        return tuple(needed)

    @property
    def name(self) -> str:
        """The version as a part of a file name."""
        return "".join(char if char.isalnum() or char in ".-~+" else "_" for char in self.version)


@cache
def find_wine() -> Wine:
    """Return the Wine of this machine.

    Raises:
        WineMissingError: there is none.
    """
    import subprocess  # noqa: PLC0415 - only for Windows images

    for loader in _LOADERS:
        if not _is_program(loader):
            continue
        for name in _SERVERS:
            server = str(Path(loader).with_name(name))
            if _is_program(server):
                asked = subprocess.run(
                    [loader, "--version"], capture_output=True, check=False, text=True
                )
                if asked.returncode == 0:
                    return Wine(loader=loader, server=server, version=asked.stdout.strip()[:200])
    raise WineMissingError


def _is_program(path: str) -> bool:
    """Whether it is a program, and no script around one."""
    try:
        with open(path, "rb") as file:
            return file.read(len(_ELF)) == _ELF and os.access(path, os.X_OK)
    except OSError:
        return False
