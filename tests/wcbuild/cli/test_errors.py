"""Errors as a person reads them, and as scripts see them."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys

import pytest

from registry.errors import NotFoundError
from wcbuild.cli.errors import describe, guarded
from wcbuild.dockerfile.source import Span
from wcbuild.errors import (
    DockerfileSyntaxError,
    SandboxError,
    SourceError,
    StepFailedError,
    UsageError,
)

DOCKERFILE = """\
FROM debian:12 AS builder
RUN make \\
\t&& make install
COPY --from=biulder /out /app
"""


def source(name: str) -> str | None:
    return DOCKERFILE if name == "Dockerfile" else None


def at(first: int, last: int | None = None, file: str = "Dockerfile") -> tuple[Span, ...]:
    return (Span(file=file, first=first, last=last or first),)


def test_underlines_the_word_and_says_what_may_help():
    error = SourceError(
        'COPY --from=biulder: no stage or image named "biulder"',
        at(4),
        word="biulder",
        hint='did you mean "builder" (line 1)?',
    )
    assert describe(error, read_source=source) == (
        'ERROR: Dockerfile:4: COPY --from=biulder: no stage or image named "biulder"\n'
        "    4 | COPY --from=biulder /out /app\n"
        '                    ^^^^^^^ did you mean "builder" (line 1)?\n'
    )


def test_carets_stand_right_where_a_terminal_has_ascii_alone(tmp_path):
    file = tmp_path / "Dockerfile"
    file.write_text("COPY \u201cquoted\u201d \u00e9 /\n")
    error = SourceError("no", at(1, file=str(file)), word="\u00e9", hint="here")

    def fail():
        raise error

    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="backslashreplace")
    guarded(fail, stream=stream)
    assert stream.buffer.getvalue().decode().splitlines()[1:] == [
        r"    1 | COPY \u201cquoted\u201d \xe9 /",
        "                                ^^^^ here",
    ]
    assert describe(error).splitlines()[2] == "                      ^ here"


def test_bytes_that_are_not_utf_8_are_spelled_as_they_are(tmp_path):
    file = tmp_path / "Dockerfile"
    file.write_bytes(b"COPY \xffx /\n")
    word = b"\xffx".decode(errors="surrogateescape")
    assert describe(SourceError(f'no "{word}"', at(1, file=str(file)), word=word)) == (
        rf'ERROR: {file}:1: no "\xffx"' + "\n    1 | COPY \\xffx /\n             ^^^^^\n"
    )


def test_what_else_was_tried_stands_below():
    cause = NotFoundError("app:1", "registry.example")
    for number in range(12):
        cause.add_note(f"asked too: mirror{number}.example: \x1b[2Jconnection refused")
    error = UsageError("no base")
    error.__cause__ = cause
    cause.__cause__ = cause
    for each in (cause, error):
        first, *rest = describe(each).splitlines()
        assert first == f"ERROR: {each}"
        assert rest[0] == "  asked too: mirror0.example: \\x1b[2Jconnection refused"
        assert len(rest) == 10


def test_a_hint_without_a_word_stands_below_the_lines():
    error = DockerfileSyntaxError("unknown thing", at(2, 3), hint="write it otherwise")
    assert describe(error, read_source=source) == (
        "ERROR: Dockerfile:2: unknown thing\n"
        "    2 | RUN make \\\n"
        "    3 |     && make install\n"
        "        write it otherwise\n"
    )


def test_a_hint_is_not_lost_when_the_file_cannot_be_read():
    error = SourceError("no such stage", at(1, file="gone"), hint="try another")
    assert describe(error, read_source=source) == "ERROR: gone:1: no such stage (try another)\n"


def test_a_failed_step_shows_its_last_output_its_exit_code_and_its_lines():
    error = StepFailedError(
        "[builder 2/3] RUN make && make install",
        "/bin/sh -c make && make install",
        2,
        "cc foo.c\n\x1b[31mfoo.c:1: error\n",
        at(2, 3),
    )
    assert describe(error, read_source=source) == (
        "------\n"
        " > [builder 2/3] RUN make && make install:\n"
        "cc foo.c\n"
        "foo.c:1: error\n"
        "------\n"
        'ERROR: Dockerfile:2: process "/bin/sh -c make && make install"'
        " did not complete successfully: exit code: 2\n"
        "    2 | RUN make \\\n"
        "    3 |     && make install\n"
    )


def test_a_long_heredoc_is_shown_in_part():
    text = "RUN <<E\n" + "echo\n" * 50 + "E\n"
    error = SourceError("wrong", at(1, 52))
    shown = describe(error, read_source=lambda _: text).splitlines()
    assert len(shown) == 12
    assert shown[-1] == "      | …"


def test_of_many_lines_those_before_the_word_are_shown():
    text = "LABEL a=1 \\\n" + "".join(f" k{n}=v \\\n" for n in range(20)) + " wrong\n"
    error = SourceError("no =", at(1, 22), word="wrong", hint="as in a=b")
    shown = describe(error, read_source=lambda _: text).splitlines()
    assert shown[1] == "    1 | LABEL a=1 \\"
    assert shown[5] == "      | …"
    assert shown[-2:] == ["   22 |  wrong", "         ^^^^^ as in a=b"]
    assert len(shown) == 13


def test_the_mark_is_below_the_word_in_lines_beyond_a_thousand():
    text = "\n" * 1233 + "RUN wrong\n"
    shown = describe(SourceError("no", at(1234), word="wrong"), read_source=lambda _: text)
    assert shown.splitlines()[1:] == ["  1234 | RUN wrong", "             ^^^^^"]


def test_of_a_long_line_the_part_around_the_word_is_shown():
    text = f"RUN {'x' * 500} wrong {'y' * 500}\n"
    shown = describe(SourceError("no", at(1), word="wrong"), read_source=lambda _: text)
    _, row, mark = shown.splitlines()
    assert len(row) < 180
    assert row[8] == row[-1] == "…"
    assert row[mark.index("^") : mark.rindex("^") + 1] == "wrong"


def test_a_word_longer_than_what_is_shown_is_marked_as_far_as_it_is():
    text = f"RUN {'x' * 5000}\n"
    shown = describe(SourceError("no", at(1), word="x" * 5000), read_source=lambda _: text)
    assert max(map(len, shown.splitlines())) < 200


def test_a_comment_between_lines_is_marked_only_if_nothing_else_is():
    text = "RUN a \\\n# wrong\n wrong\n"
    shown = describe(SourceError("no", at(1, 3), word="wrong"), read_source=lambda _: text)
    assert shown.splitlines()[3:] == ["    3 |  wrong", "         ^^^^^"]
    text = "# wrong=1\nRUN a\n"
    shown = describe(SourceError("no", at(1, 2), word="wrong"), read_source=lambda _: text)
    assert shown.splitlines()[2] == "          ^^^^^"


def test_a_word_is_marked_where_it_is_a_whole_one():
    text = "EXPOSE 8000 \\\n 1-80 80\n"
    shown = describe(SourceError("no", at(1, 2), word="80"), read_source=lambda _: text)
    assert shown.splitlines()[2:] == ["    2 |  1-80 80", "              ^^"]


def test_an_instruction_that_the_base_delayed_is_shown_below_its_from():
    span = Span(file="Dockerfile", first=1, last=1, trigger="COPY <<E gone /\nx\nE")
    shown = describe(SourceError("no such file", (span,), word="gone"), read_source=source)
    assert shown == (
        "ERROR: Dockerfile:1: no such file\n"
        "    1 | FROM debian:12 AS builder\n"
        "      | ONBUILD COPY <<E gone /\n"
        "                         ^^^^\n"
        "      | x\n"
        "      | E\n"
    )


def test_control_characters_in_a_message_are_spelled():
    text = describe(NotFoundError("image \x1b]0;x\x07", "a\rb"))
    assert text == "ERROR: image \\x1b]0;x\\x07: not found in a\\rb\n"


def test_names_the_file_of_a_system_error():
    error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/out/image.tar")
    assert describe(error) == "ERROR: /out/image.tar: No space left on device\n"


def test_colours_the_first_word_only():
    assert describe(UsageError("no"), colour=True) == "\x1b[31mERROR:\x1b[0m no\n"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (SandboxError("make", "refused"), 1),
        (UsageError("no"), 2),
        (NotFoundError("a", "b"), 1),
        (OSError(errno.ENOSPC, "full"), 1),
        (KeyError("x"), 125),
        (KeyboardInterrupt(), 130),
    ],
)
def test_exit_status(error, status):
    def action() -> int:
        raise error

    stream = io.StringIO()
    assert guarded(action, stream=stream) == status
    assert "Traceback" not in stream.getvalue()


def test_an_internal_error_says_how_to_see_more():
    def action() -> int:
        return {}["x"]

    stream = io.StringIO()
    guarded(action, stream=stream)
    assert stream.getvalue() == "ERROR: internal error: KeyError: 'x' (--debug shows where)\n"
    with pytest.raises(KeyError):
        guarded(action, stream=stream, debug=True)


def test_a_reader_that_left_is_no_reason_for_noise():
    program = (
        "import sys\n"
        "from wcbuild.cli.errors import guarded\n"
        "def action():\n"
        "    while True:\n"
        "        print('x' * 1000, flush=True)\n"
        "sys.exit(guarded(action, stream=sys.stderr))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.readline()
    process.stdout.close()
    with process.stderr:
        assert process.stderr.read() == b""
    assert process.wait() == 1
