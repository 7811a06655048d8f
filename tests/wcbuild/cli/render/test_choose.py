"""Which renderer an option, a terminal and an environment give."""

from __future__ import annotations

import io

import pytest

from wcbuild.cli.render import QuietRenderer, choose, rendering, wants_colour
from wcbuild.cli.render.plain import PlainRenderer
from wcbuild.cli.render.rawjson import JsonRenderer
from wcbuild.cli.render.tty import TtyRenderer
from wcbuild.errors import UsageError
from wcbuild.solve.events import StepOutput, StepStarted


@pytest.mark.parametrize(
    ("progress", "env", "kind"),
    [
        ("auto", {"TERM": "xterm"}, TtyRenderer),
        ("auto", {"TERM": "dumb"}, PlainRenderer),
        ("auto", {}, PlainRenderer),
        ("auto", {"TERM": "xterm", "BUILDKIT_PROGRESS": "plain"}, PlainRenderer),
        ("tty", {"TERM": "xterm", "BUILDKIT_PROGRESS": "plain"}, TtyRenderer),
        ("plain", {"TERM": "xterm"}, PlainRenderer),
        ("rawjson", {}, JsonRenderer),
        ("quiet", {}, QuietRenderer),
    ],
)
def test_on_a_terminal(terminal, progress, env, kind):
    assert type(choose(progress, terminal, env)) is kind


def test_elsewhere_auto_is_plain():
    assert type(choose("auto", io.StringIO(), {"TERM": "xterm"})) is PlainRenderer


def test_a_live_tree_needs_a_terminal():
    with pytest.raises(UsageError, match="not a terminal"):
        choose("tty", io.StringIO(), {"TERM": "xterm"})


def test_rejects_an_unknown_mode():
    with pytest.raises(UsageError, match='"fancy" is none of auto, tty, plain'):
        choose("fancy", io.StringIO(), {})


@pytest.mark.parametrize(
    ("env", "wanted"),
    [
        ({"TERM": "xterm"}, True),
        ({"TERM": "xterm", "NO_COLOR": "1"}, False),
        ({"TERM": "xterm", "NO_COLOR": ""}, True),
        ({"TERM": "dumb"}, False),
    ],
)
def test_colour_is_for_terminals_that_want_it(terminal, env, wanted):
    assert wants_colour(terminal, env) is wanted
    assert wants_colour(io.StringIO(), env) is False


def test_rendering_closes_even_when_the_build_fails():
    stream = io.StringIO()
    renderer = PlainRenderer(stream)

    def build() -> None:
        with rendering(renderer) as emit:
            emit(StepStarted(number=1, label="RUN a", time=0.0))
            emit(StepOutput(number=1, stream=1, data=b"unfinished", time=0.0))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        build()
    assert stream.getvalue() == "#1 RUN a\n#1 0.000 unfinished\n"
