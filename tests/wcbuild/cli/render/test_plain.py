"""Plain lines."""

from __future__ import annotations

import io

import pytest

from wcbuild.cli.render.plain import PlainRenderer
from wcbuild.solve.events import StepFailed, StepOutput, StepStarted, Transfer

GOLDEN = """\
#1 [internal] load build definition from Dockerfile
#1 DONE 0.0s

#2 [base 1/2] WORKDIR /src
#2 CACHED

#5 [build 2/4] RUN make
#5 1.300 warning: unused
#5 1.204 cc -c foo.c
#5 1.400 cc -o foo
#5 DONE 3.1s

WARNING: the base is old
push sha256:4f53cda18c2b 29.1MB done
#7 [build 3/4] RUN false
#7 0.500 no such file
#7 ERROR: exit code: 1

"""


@pytest.fixture
def stream():
    return io.StringIO()


@pytest.fixture
def now():
    return [0.0]


@pytest.fixture
def renderer(stream, now):
    renderer = PlainRenderer(stream, clock=lambda: now[0])
    renderer(StepStarted(number=5, label="[1/1] RUN x", time=10.0))
    stream.truncate(0)
    stream.seek(0)
    return renderer


def output(data: bytes, time: float = 11.0, stream: int = 1) -> StepOutput:
    return StepOutput(number=5, stream=stream, data=data, time=time)


def test_writes_dockers_lines(a_build):
    stream = io.StringIO()
    renderer = PlainRenderer(stream)
    for event in a_build:
        renderer(event)
    renderer.close()
    assert stream.getvalue() == GOLDEN


def test_a_line_in_pieces_is_one_line_with_the_time_of_its_first_byte(renderer, stream):
    renderer(output(b"one ", time=11.0))
    assert stream.getvalue() == ""
    renderer(output(b"two\n", time=12.0))
    assert stream.getvalue() == "#5 1.000 one two\n"


def test_a_step_that_was_told_to_end_did_not_fail(renderer, stream):
    failed = StepFailed(
        number=5, label="[1/1] RUN x", time=11.0, seconds=1.0, reason="canceled", canceled=True
    )
    renderer(failed)
    assert stream.getvalue() == "#5 CANCELED\n\n"


def test_the_last_line_needs_no_newline(renderer, stream):
    renderer(output(b"the end"))
    renderer.close()
    assert stream.getvalue() == "#5 1.000 the end\n"


def test_a_character_that_arrives_in_two_pieces_stays_whole(renderer, stream):
    renderer(output("é".encode()[:1]))
    renderer(output("é".encode()[1:] + b"\n"))
    assert stream.getvalue() == "#5 1.000 é\n"


def test_terminal_escape_in_command_output_is_spelled(renderer, stream):
    renderer(output(b"\x1b]0;owned\x07 \x1b[2J \x9b \xc2\x9b \x00 \x7f\n"))
    assert stream.getvalue() == ("#5 1.000 \\x1b]0;owned\\x07 \\x1b[2J \\x9b \\x9b \\x00 \\x7f\n")


def test_carriage_return_cannot_hide_what_stood_before_it(renderer, stream):
    renderer(output(b"evil\rgood\r\nnext\r"))
    renderer(output(b"\nlast\n"))
    assert stream.getvalue() == "#5 1.000 evil\n#5 1.000 good\n#5 1.000 next\n#5 1.000 last\n"


def test_text_that_reads_in_another_order_than_it_stands_is_spelled(renderer, stream):
    renderer(output("a\u202eb\u2066c\n".encode()))
    assert stream.getvalue() == "#5 1.000 a\\u202eb\\u2066c\n"


def test_colours_of_a_command_are_dropped(renderer, stream):
    renderer(output(b"\x1b[31;1mred\x1b[0m\n"))
    assert stream.getvalue() == "#5 1.000 red\n"


def test_bytes_that_are_not_utf_8_are_spelled(renderer, stream):
    renderer(output(b"caf\xe9\n"))
    assert stream.getvalue() == "#5 1.000 caf\\xe9\n"


def test_a_very_long_line_comes_in_bounded_pieces_between_characters(renderer, stream):
    renderer(output("é".encode() * 5000 + b"\n"))
    lines = stream.getvalue().splitlines()
    assert len(lines) == 3
    assert max(len(line.encode()) for line in lines) < 4200
    assert "".join(line.removeprefix("#5 1.000 ") for line in lines) == "é" * 5000


def test_an_endless_line_is_not_kept_in_memory(renderer, stream):
    for _ in range(100):
        renderer(output(b"x" * 10_000))
    assert len(stream.getvalue()) > 990_000


def test_a_blank_line_has_no_blank_at_its_end(renderer, stream):
    renderer(output(b"\n"))
    assert stream.getvalue() == "#5 1.000\n"


def test_escape_in_a_label_is_spelled():
    stream = io.StringIO()
    PlainRenderer(stream)(StepStarted(number=1, label="RUN \x1b[2J", time=0))
    assert stream.getvalue() == "#1 RUN \\x1b[2J\n"


def test_a_long_transfer_tells_how_far_it_is_now_and_then(renderer, stream, now):
    def move(done: int, **more) -> None:
        renderer(Transfer(verb="pull", name="sha256:0123", done=done, total=20_000_000, **more))

    move(0)
    now[0] = 4.9
    move(5_000_000)
    now[0] = 5.0
    move(10_000_000)
    move(11_000_000)
    move(20_000_000, finished=True)
    renderer(Transfer(verb="push", name="sha256:ff", done=0, total=5, finished=True, note="exists"))
    assert stream.getvalue() == (
        "pull sha256:0123 10MB / 20MB\npull sha256:0123 20MB done\npush sha256:ff 5B exists\n"
    )


WARNINGS = """\

 2 warnings found (--check tells more):
 - JSONArgsRecommended: JSON arguments recommended for CMD to prevent unintended behavior\
 related to OS signals (line 2)
 - InvalidBaseImagePlatform: Base image a was pulled with platform "x", expected "y"\
 for current build (line 1)
"""


def test_what_checks_found_stands_at_the_end_a_line_each(warned):
    stream = io.StringIO()
    renderer = PlainRenderer(stream)
    for event in warned:
        renderer(event)
    assert stream.getvalue() == ""
    renderer(StepStarted(number=1, label="x", time=0))
    renderer.close()
    assert stream.getvalue() == f"#1 x\n{WARNINGS}"
