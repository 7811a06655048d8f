"""The first Windows program of a step, and what stands in for those that Wine only pretends to have.

`launcher.exe` is what `scripts/wine-launcher` makes of `launcher.c`; a test compares the two where the
compiler is installed, so that nobody needs a compiler to build images.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

MAX_JOB_BYTES = 1 << 20
"""As in launcher.c."""

PROGRAM = "/run/wcbuild/launcher.exe"
JOB = "/run/wcbuild/job"
STATUS = "/run/wcbuild/status"


def program() -> bytes:
    """Return the launcher."""
    return Path(__file__).with_name("launcher.exe").read_bytes()


def encode_job(cwd: str, line: str, environment: Mapping[str, str]) -> bytes:
    """Return the file that tells the launcher what to run; ``cwd`` is a Windows path."""
    block = "".join(f"{name}={environment[name]}\0" for name in sorted(environment, key=str.upper))
    return f"{cwd}\0{line}\0{block}\0".encode("utf-16-le", "surrogatepass")
