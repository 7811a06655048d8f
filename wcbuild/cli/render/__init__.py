"""Renderers: events in, lines or a live tree or JSON out.

with rendering(choose("auto", sys.stderr, os.environ)) as emit:
    build(request, emit)
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Protocol, TextIO

from wcbuild.errors import UsageError

if TYPE_CHECKING:
    from wcbuild.solve.events import Emit, Event

MODES = ("auto", "tty", "plain", "rawjson", "quiet", "none")


class Renderer(Protocol):
    """Takes events from any thread, until it is closed."""

    def __call__(self, event: Event) -> None:
        """Show ``event``."""
        ...

    def close(self) -> None:
        """Show what is left and leave the terminal as it was found."""
        ...


class QuietRenderer:
    """Shows nothing: errors still speak for themselves."""

    def __call__(self, event: Event) -> None:
        """Show nothing."""

    def close(self) -> None:
        """Show nothing."""


def choose(progress: str, stream: TextIO, env: Mapping[str, str]) -> Renderer:
    """Return the renderer for a `--progress` mode: for `auto`, a live tree on a terminal, else lines.

    Raises:
        UsageError: no such mode, or a live tree was asked for where there is no terminal.
    """
    if progress in ("", "auto"):
        # docker's users set this one for all their builds.
        progress = env.get("BUILDKIT_PROGRESS") or "auto"
    if progress not in MODES:
        raise UsageError(f'--progress: "{progress}" is none of {", ".join(MODES)}')
    if progress == "auto":
        progress = "tty" if is_live_terminal(stream, env) else "plain"
    if progress == "tty":
        if not stream.isatty():
            raise UsageError("--progress=tty: the output is not a terminal; use plain")
        from wcbuild.cli.render.tty import TtyRenderer  # noqa: PLC0415 - only what is used

        return TtyRenderer(stream, colour=wants_colour(stream, env))
    if progress == "rawjson":
        from wcbuild.cli.render.rawjson import JsonRenderer  # noqa: PLC0415 - only what is used

        return JsonRenderer(stream)
    if progress in ("quiet", "none"):
        return QuietRenderer()
    from wcbuild.cli.render.plain import PlainRenderer  # noqa: PLC0415 - only what is used

    return PlainRenderer(stream)


@contextlib.contextmanager
def rendering(renderer: Renderer) -> Iterator[Emit]:
    """Hand out ``renderer`` and close it, however the block ends."""
    try:
        yield renderer
    finally:
        renderer.close()


def is_live_terminal(stream: TextIO, env: Mapping[str, str]) -> bool:
    """Say whether ``stream`` is a terminal that can move its cursor."""
    return stream.isatty() and env.get("TERM", "dumb") not in ("", "dumb")


def wants_colour(stream: TextIO, env: Mapping[str, str]) -> bool:
    """Say whether colours are welcome; see https://no-color.org."""
    return is_live_terminal(stream, env) and not env.get("NO_COLOR")
