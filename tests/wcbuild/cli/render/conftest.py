from __future__ import annotations

import pytest

from wcbuild.dockerfile.rules import INVALID_BASE_IMAGE_PLATFORM, JSON_ARGS_RECOMMENDED
from wcbuild.dockerfile.source import SourceFile, Span
from wcbuild.solve.events import (
    Notice,
    StepDone,
    StepFailed,
    StepOutput,
    StepStarted,
    Transfer,
    Warned,
)


class Terminal:
    """A stream that keeps a screen, for the few codes that the live tree uses."""

    def __init__(self, columns: int = 60) -> None:
        self.columns = columns
        self.rows: list[str] = [""]
        self.at = 0
        self.written = ""

    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        raise OSError(25, "not a terminal that the kernel knows")

    def flush(self) -> None:
        pass

    def write(self, text: str) -> int:
        self.written += text
        i = 0
        while i < len(text):
            if text.startswith("\x1b[", i):
                end = next(j for j in range(i + 2, len(text)) if text[j].isalpha())
                self._control(text[end], text[i + 2 : end])
                i = end + 1
            elif text[i] == "\n":
                self.at += 1
                if self.at == len(self.rows):
                    self.rows.append("")
                self._column = 0
                i += 1
            else:
                assert text[i].isprintable(), f"{text[i]!r} reached the terminal"
                row = self.rows[self.at]
                column = getattr(self, "_column", 0)
                self.rows[self.at] = row[:column].ljust(column) + text[i] + row[column + 1 :]
                self._column = column + 1
                i += 1
        return len(text)

    def _control(self, name: str, value: str) -> None:
        if name == "F":
            self.at -= int(value)
            assert self.at >= 0
            self._column = 0
        elif name == "K":
            self.rows[self.at] = self.rows[self.at][: getattr(self, "_column", 0)]
        elif name == "J":
            self.rows[self.at :] = [self.rows[self.at][: getattr(self, "_column", 0)]]
        else:
            assert name == "m", f"unknown code {name}"

    @property
    def screen(self) -> str:
        return "\n".join(row.rstrip() for row in self.rows)


@pytest.fixture
def terminal():
    return Terminal()


@pytest.fixture
def a_build():
    """Two steps, one of them cached, and one that fails; with output in awkward pieces."""
    return [
        StepStarted(number=1, label="[internal] load build definition from Dockerfile", time=0.0),
        StepDone(
            number=1,
            label="[internal] load build definition from Dockerfile",
            time=0.04,
            seconds=0.04,
        ),
        StepDone(number=2, label="[base 1/2] WORKDIR /src", time=0.1, seconds=0.0, cached=True),
        StepStarted(number=5, label="[build 2/4] RUN make", time=1.0),
        StepOutput(number=5, stream=1, data=b"cc -c ", time=2.204),
        StepOutput(number=5, stream=2, data=b"warning: unused\n", time=2.3),
        StepOutput(number=5, stream=1, data=b"foo.c\ncc -o foo", time=2.4),
        StepDone(number=5, label="[build 2/4] RUN make", time=4.1, seconds=3.1),
        Notice(level="warning", text="the base is old"),
        Transfer(verb="push", name="sha256:4f53cda18c2b", done=1_000_000, total=29_100_000),
        Transfer(
            verb="push",
            name="sha256:4f53cda18c2b",
            done=29_100_000,
            total=29_100_000,
            finished=True,
        ),
        StepStarted(number=7, label="[build 3/4] RUN false", time=5.0),
        StepOutput(number=7, stream=2, data=b"no such file\n", time=5.5),
        StepFailed(
            number=7,
            label="[build 3/4] RUN false",
            time=5.6,
            seconds=0.6,
            reason="exit code: 1",
        ),
    ]


@pytest.fixture
def warned():
    """Two warnings of one Dockerfile; the second has no page."""
    source = SourceFile(name="Dockerfile", data=b"FROM a\nCMD b\x1b[2J\n")
    first, second = (Span(file="Dockerfile", first=line, last=line) for line in (1, 2))
    return [
        Warned(warning=JSON_ARGS_RECOMMENDED.at(second, "CMD"), source=source),
        Warned(warning=INVALID_BASE_IMAGE_PLATFORM.at(first, "a", '"x"', '"y"'), source=source),
    ]
