"""V43: Dockerfiles that cost more than they look like."""

import pytest
from anyimages import lowered

from wcbuild.dockerfile.stages import MAX_DOCKERFILE_BYTES
from wcbuild.errors import WcbuildError

MAX_MESSAGE = 30_000


def outcome(text):
    """Read and lower a text; return what is said against it, or nothing."""
    try:
        lowered(text)
    except WcbuildError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    "word", ["ENV A=$A$A$A$A", "ARG A=$A$A$A$A", "LABEL l=$A$A", "ENV A=${A:-$A}${A}${A}"]
)
def test_variables_that_hold_each_other_end_somewhere(word):
    text = b"FROM a\nENV A=0123456789abcdef\n" + f"{word}\n".encode() * 40
    # Nobody could hold what they would be otherwise.
    assert len(outcome(text)) < MAX_MESSAGE


def test_a_file_beyond_all_measure_is_refused():
    with pytest.raises(WcbuildError, match=str(MAX_DOCKERFILE_BYTES)):
        lowered(b"FROM a\nRUN <<E\n" + b"x" * MAX_DOCKERFILE_BYTES + b"\nE\n")


@pytest.mark.parametrize(
    "text",
    [
        b"FROM a\nRUN <<E\n\0\nE\n",
        b"FROM a\nRUN x \\",
        b"FROM ${x}\n",
        b"ARG x=${x}\nFROM ${x}${x}\n",
        b"# escape=\\\\\nFROM a\n",
        b"# escape=x\nFROM a\n",
        "FROM a\nRUN \u202e x\n".encode(),
        b"FROM a\nRUN " + b"\\\n" * 10_000 + b"x\n",
        b"FROM a\nENV a=" + b"${" * 2000 + b"\n",
        b"FROM a\nENV a=" + b"${a:-" * 2000 + b"}" * 2000 + b"\n",
    ],
)
def test_odd_texts_are_read_or_refused(text):
    assert len(outcome(text)) < MAX_MESSAGE
