"""The steps of a graph, as they come."""

from __future__ import annotations

from dataclasses import replace

from wcbuild.dockerfile.lower.outside import MAIN_CONTEXT, NamedContext, Options
from wcbuild.dockerfile.lower.stage import Offered, StageState
from wcbuild.dockerfile.source import Span
from wcbuild.dockerfile.stages import Stage
from wcbuild.graph.ops import LINUX, ContextOp, Op, ScratchOp, Step

_TARGET_ARGS = frozenset(("TARGETPLATFORM", "TARGETOS", "TARGETARCH", "TARGETVARIANT"))
"""With one of them a stage's steps are those of one target alone."""


class Steps:
    """The steps so far; ``several`` stages are in the Dockerfile, so that labels name them."""

    def __init__(self, options: Options, *, several: bool) -> None:
        self.all: list[Step] = []
        self._options = options
        self._several = several
        self._sources: dict[tuple[Op, tuple[int, ...]], int] = {}

    def add(self, step: Step) -> int:
        """Return the number of a new step."""
        self.all.append(step)
        return len(self.all) - 1

    def source(self, op: Op, label: str, span: Span, inputs: tuple[int, ...] = ()) -> int:
        """Return the step that offers files to others; the same one stands once in a graph."""
        if (op, inputs) not in self._sources:
            step = Step(op=op, inputs=inputs, label=label, spans=(span,))
            self._sources[op, inputs] = self.add(step)
        return self._sources[op, inputs]

    def scratch(self, span: Span, os: str = LINUX) -> int:
        """Return the step that gives the empty file system."""
        return self.source(ScratchOp(os=os), "FROM scratch", span)

    def context(self, named: NamedContext | None, span: Span) -> Offered:
        """Return what offers a context's files; None is the main context."""
        if named is None:
            owned = self._options.owned_context
            main = ContextOp(name=MAIN_CONTEXT, owned=owned)
            step = self.source(main, "load build context", span)
            return Offered(step=step, has_owners=owned, origin="the build context")
        op = named.files or ContextOp(name=named.name)
        step = self.source(op, f"load build context {named.name}", span)
        return Offered(step=step, has_owners=False, origin=f'the build context "{named.name}"')

    def step(
        self, state: StageState, op: Op, inputs: tuple[int, ...], text: str, span: Span
    ) -> int:
        """Add a step that makes the stage's next file system."""
        state.position += 1
        index = self.add(
            Step(op=op, inputs=inputs, spans=(span,), no_cache=self._is_renewed(state.stage))
        )
        self.label(state, index, text)
        state.rootfs = index
        return index

    def _is_renewed(self, stage: Stage) -> bool:
        return self._options.no_cache or stage.name in self._options.no_cache_stages

    def label(self, state: StageState, index: int, text: str) -> None:
        """Name a step as BuildKit does: `[build 2/4] RUN make`."""
        words = [f"{state.position}/{state.total}"]
        if self._several or state.stage.name:
            words.insert(0, state.stage.display_name)
        if self._options.show_platform:
            words.insert(0, self._platforms(state))
        label = f"[{' '.join(words)}] {text}"
        stage = state.stage.display_name
        self.all[index] = replace(self.all[index], label=label, stage=stage)

    def _platforms(self, state: StageState) -> str:
        """Return the platform of a stage, and for which one it builds if that is another: `->arm/v7`."""
        target = self._options.platform
        shown = str(state.platform)
        if target == state.platform or _TARGET_ARGS.isdisjoint(name for name, _ in state.args):
            return shown
        text = str(target)
        return f"{shown}->{text.removeprefix(f'{state.platform.os}/')}"
