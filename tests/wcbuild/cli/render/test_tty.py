"""The live tree, read from the screen that a terminal would show."""

from __future__ import annotations

import os
import threading
import time

import pytest
from processes import until

from wcbuild.cli.render.text import width
from wcbuild.cli.render.tty import TtyRenderer
from wcbuild.solve.events import StepDone, StepOutput, StepStarted, Transfer

GOLDEN = """\
 => [internal] load build definition from Dockerfile  0.0s
 => CACHED [base 1/2] WORKDIR /src
 => [build 2/4] RUN make                              3.1s
WARNING: the base is old
 => push sha256:4f53cda18c2b 29.1MB
 => ERROR [build 3/4] RUN false                       0.6s
[+] Building 5.6s (4 steps, 1 cached) FAILED
"""


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def window():
    return [59, 24]


@pytest.fixture
def renderer(terminal, clock, window, monkeypatch):
    # Drawn when a test says so; the thread's rhythm has a test of its own.
    monkeypatch.setattr("wcbuild.cli.render.tty.REDRAW_SECONDS", 3600)
    renderer = TtyRenderer(
        terminal, colour=False, size=lambda: os.terminal_size(window), clock=clock
    )
    yield renderer
    renderer.close()


def test_shows_what_runs_with_time_and_latest_lines(renderer, terminal, clock):
    renderer(StepStarted(number=1, label="[build 2/4] RUN make", time=0.0))
    renderer(StepStarted(number=2, label="[docs 1/2] RUN sphinx", time=1.0))
    renderer(StepOutput(number=1, stream=1, data=b"".join(b"%d\n" % i for i in range(9)), time=1.0))
    clock.now = 2.04
    renderer._draw()
    assert terminal.screen == (
        "[+] Building 2.0s (0 done)\n"
        " => [build 2/4] RUN make                              2.0s\n"
        " => => 4\n => => 5\n => => 6\n => => 7\n => => 8\n"
        " => [docs 1/2] RUN sphinx                             1.0s\n"
    )


def test_what_has_ended_stays_above_and_live_lines_go(renderer, terminal, clock):
    renderer(StepStarted(number=1, label="RUN a", time=0.0))
    renderer(StepOutput(number=1, stream=1, data=b"hello\n", time=0.0))
    renderer._draw()
    renderer(StepDone(number=1, label="RUN a", time=1.0, seconds=1.0))
    renderer(StepStarted(number=2, label="RUN b", time=1.0))
    clock.now = 1.5
    renderer._draw()
    assert terminal.screen == (
        " => RUN a                                             1.0s\n"
        "[+] Building 1.5s (1 done)\n"
        " => RUN b                                             0.5s\n"
    )


def test_leaves_a_tidy_summary(renderer, terminal, clock, a_build):
    for event in a_build:
        renderer(event)
        renderer._draw()
    clock.now = 5.6
    renderer.close()
    assert terminal.screen == GOLDEN


def test_a_transfer_has_a_bar(renderer, terminal, clock, window):
    window[0] = 80
    renderer(Transfer(verb="pull", name="0123456789ab", done=0, total=1000))
    clock.now = 1.0
    renderer(Transfer(verb="pull", name="0123456789ab", done=500, total=1000))
    renderer._draw()
    header, bar, _ = terminal.screen.split("\n")
    assert header == "[+] Building 1.0s (0 done)"
    assert bar.startswith(" => pull 0123456789ab:  50%|")
    assert "500/1.00k [00:01<00:01, 500B/s]" in bar
    renderer(Transfer(verb="pull", name="0123456789ab", done=1000, total=1000, finished=True))
    renderer._draw()
    assert terminal.screen == " => pull 0123456789ab 1kB\n"


def test_no_line_is_wider_than_the_terminal(renderer, terminal, clock, window):
    window[0] = 30
    renderer(StepStarted(number=1, label="RUN " + "日本" * 30, time=0.0))
    renderer(StepOutput(number=1, stream=1, data=b"\tx" * 50 + b"\n", time=0.0))
    renderer(Transfer(verb="push", name="sha256:" + "0" * 64, done=1, total=1000))
    renderer._draw()
    assert max(width(row) for row in terminal.rows) <= 29


def test_a_narrowed_window_leaves_no_old_rows(renderer, terminal, clock, window):
    renderer(StepStarted(number=1, label="RUN a", time=0.0))
    renderer._draw()
    window[0] = 20
    terminal.written = ""
    # The terminal wraps: header 26 wide, step line 58 wide.
    terminal.rows = ["[+] Building 0.0s (0", " done)", " => RUN a", "", "     0.0s", ""]
    terminal.at = 5
    renderer._draw()
    assert terminal.screen == "[+] Building 0.0s …\n => RUN a      0.0s\n"


def test_more_than_fits_is_counted(renderer, terminal, clock, window):
    window[1] = 6
    for number in range(10):
        renderer(StepStarted(number=number, label=f"RUN {number}", time=0.0))
    renderer._draw()
    assert terminal.screen.count("\n") == 5
    assert terminal.rows[4] == " … 7 more lines"


def test_terminal_escape_in_command_output_is_spelled(renderer, terminal, clock):
    renderer(StepStarted(number=1, label="RUN \x1b]0;owned\x07", time=0.0))
    renderer(StepOutput(number=1, stream=1, data=b"\x1b[2J\x1b[H\xff\n", time=0.0))
    renderer._draw()
    assert " => RUN \\x1b]0;owned\\x07" in terminal.screen
    assert " => => \\x1b[2J\\x1b[H\\xff" in terminal.screen


def test_colours_only_when_asked(terminal, a_build):
    plain, coloured = terminal, type(terminal)()
    for stream, colour in ((plain, False), (coloured, True)):
        renderer = TtyRenderer(stream, colour=colour)
        for event in a_build:
            renderer(event)
        renderer.close()
    assert "\x1b[31m => ERROR" in coloured.written
    assert "\x1b[3" not in plain.written


def test_draws_by_itself_at_most_ten_times_a_second(terminal):
    begun = time.monotonic()
    renderer = TtyRenderer(terminal, colour=False)
    renderer(StepStarted(number=1, label="RUN a", time=begun))

    def drawn() -> int:
        renderer(StepOutput(number=1, stream=1, data=b"line\n", time=0.0))
        return terminal.written.count("[+] Building")

    assert until(lambda: drawn() >= 3)
    renderer.close()
    assert drawn() <= 10 * (time.monotonic() - begun) + 1


def test_a_terminal_that_is_gone_does_not_end_the_build(terminal):
    tried = threading.Event()

    def write(text: str) -> int:
        tried.set()
        raise OSError(5, "Input/output error")

    terminal.write = write
    renderer = TtyRenderer(terminal, colour=False)
    renderer(StepStarted(number=1, label="RUN a", time=0.0))
    assert tried.wait(120)
    renderer(StepDone(number=1, label="RUN a", time=1.0, seconds=1.0))


def test_nothing_is_written_when_nothing_happened(terminal):
    TtyRenderer(terminal).close()
    assert terminal.written == ""


def test_what_checks_found_stays_below_the_summary(terminal, a_build, warned):
    renderer = TtyRenderer(terminal, colour=False)
    for event in (*warned, *a_build):
        renderer(event)
    renderer.close()
    _, _, end = terminal.screen.partition("FAILED\n")
    assert end.startswith("\n 2 warnings found (--check tells more):\n - JSONArgsRecommended: ")
    assert end.endswith(" for current build (line 1)\n")


def test_a_build_that_never_began_still_says_what_checks_found(terminal, warned):
    renderer = TtyRenderer(terminal, colour=False)
    renderer(warned[0])
    renderer.close()
    assert terminal.screen.startswith("\n 1 warning found (--check tells more):\n")
