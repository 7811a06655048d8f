"""The programs of ours in a step.

The launcher is its first Windows program, and stands in for those that Wine only pretends to have; a
library lets Wine's server rename folders of an image. `launcher.exe` and `renames.so` are what
`scripts/wine-programs` makes of `launcher.c` and `renames.c`; a test compares them where the compilers
are installed, so that nobody needs one to build images.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

MAX_JOB_BYTES = 1 << 20
"""As in launcher.c."""

PROGRAM = "/run/wcbuild/launcher.exe"
JOB = "/run/wcbuild/job"
STATUS = "/run/wcbuild/status"
RENAMES = "/run/wcbuild/renames.so"


def program() -> bytes:
    """Return the launcher."""
    return Path(__file__).with_name("launcher.exe").read_bytes()


def renames() -> bytes:
    """Return the library that Wine's server is started with."""
    return Path(__file__).with_name("renames.so").read_bytes()


def encode_job(cwd: str, line: str, environment: Mapping[str, str]) -> bytes:
    """Return the file that tells the launcher what to run; ``cwd`` is a Windows path."""
    block = "".join(f"{name}={environment[name]}\0" for name in sorted(environment, key=str.upper))
    return f"{cwd}\0{line}\0{block}\0".encode("utf-16-le", "surrogatepass")
