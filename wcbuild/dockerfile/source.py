"""Places in a Dockerfile."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Lines of a file, counted from 1, both ends included."""

    file: str
    first: int
    last: int
    trigger: str = ""
    """The instruction that an ONBUILD of the base brings in here, which is to blame, if one is."""

    def __str__(self) -> str:
        return f"{self.file}:{self.first}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """A Dockerfile as it was read, for those who show parts of it."""

    name: str
    """What it is called in messages; no path."""
    data: bytes

    @property
    def text(self) -> str:
        """The text; bytes that are not UTF-8 are kept as surrogates."""
        return self.data.decode(errors="surrogateescape")
