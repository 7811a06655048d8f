"""The solver: finds what is known, executes what is not, several steps at a time where they allow it.

First everything is looked up on the calling thread, in order; a build whose every step is known ends
there and starts no thread. What remains is executed as its inputs become ready.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Protocol

from registry.threads import LOOK_UP_S, uninterrupted
from wcbuild.errors import CancelledError
from wcbuild.graph.ops import Graph, RunOp, Step
from wcbuild.solve.events import Emit, StepDone, StepFailed, StepOutput, StepStarted
from wcbuild.solve.results import Result

if TYPE_CHECKING:
    from concurrent.futures import Future

MAX_PARALLEL_STEPS = 4
_PATIENCE_S = 5.0


class Executor(Protocol):
    """Does one step."""

    def find(self, step: Step, inputs: tuple[Result, ...]) -> Result | None:
        """Return the step's result if it can be had without doing it."""
        ...

    def settle(self, graph: Graph, known: Mapping[int, Result], *, dry: bool) -> Collection[int]:
        """Have all here that the other steps will read; return the steps whose results are lost.

        ``known`` are results by index. With ``dry`` nothing is brought here.
        """
        ...

    def check(self, step: Step, inputs: tuple[Result | None, ...]) -> None:
        """Refuse a step that is known to fail, whatever the inputs are that have no result yet (None).

        Of RUNs it is asked only if they are going to be executed.

        Raises:
            WcbuildError: why.
        """
        ...

    def execute(
        self, step: Step, inputs: tuple[Result, ...], output: Callable[[int, bytes], None]
    ) -> tuple[Result, bool]:
        """Return the step's result, and whether it turned out to be known after all.

        ``output`` takes 1 or 2 (stdout, stderr) and bytes.
        """
        ...


class Solver:
    """Solves one graph. ``cancel`` is set when a step fails; the executor gives up when it is set."""

    def __init__(self, executor: Executor, emit: Emit, cancel: threading.Event) -> None:
        self._executor = executor
        self._emit = emit
        self._cancel = cancel

    def solve(self, graph: Graph) -> list[Result]:
        """Return the results of all steps, in the graph's order.

        Raises:
            WcbuildError, RegistryError: of the first step that failed; all others have ended.
        """
        results = self.known(graph, dry=False)
        if len(results) < len(graph.steps):
            runs = _sure_runs(graph, results)
            for index, step in enumerate(graph.steps):
                if index in runs or not (index in results or isinstance(step.op, RunOp)):
                    self._executor.check(step, tuple(map(results.get, step.inputs)))
            uninterrupted(lambda: self._execute(graph, results), stop=self._cancel.set)
        return [results[index] for index in range(len(graph.steps))]

    def known(self, graph: Graph, *, dry: bool = True) -> dict[int, Result]:
        """Return the results, by index, that are there without doing anything.

        Without ``dry`` all is here that the other steps will read of them.
        """
        results: dict[int, Result] = {}
        times: dict[int, tuple[float, float]] = {}
        self._look_up(graph, results, times)
        while lost := set(self._executor.settle(graph, results, dry=dry)):
            # What stands on a lost result would stand on another one now.
            for index, step in enumerate(graph.steps):
                if index in lost or not lost.isdisjoint(step.inputs):
                    lost.add(index)
                    results.pop(index, None)
            self._look_up(graph, results, times)
        for index in sorted(results):
            step, (started, ended) = graph.steps[index], times[index]
            self._emit(StepStarted(number=index + 1, label=step.label, time=started))
            self._done(index, step, started, ended, cached=True)
        return results

    def _look_up(
        self, graph: Graph, results: dict[int, Result], times: dict[int, tuple[float, float]]
    ) -> None:
        """Add to ``results`` what is known, and to ``times`` when that was asked and answered."""
        for index, step in enumerate(graph.steps):
            if index in results or not all(each in results for each in step.inputs):
                continue
            started = time.monotonic()
            found = self._executor.find(step, tuple(results[each] for each in step.inputs))
            if found is not None:
                results[index] = found
                times[index] = started, time.monotonic()

    def _execute(self, graph: Graph, results: dict[int, Result]) -> None:
        """Execute the steps that have no result yet, each when its inputs have theirs."""
        # Imported here: a build whose every step is known pays for no threads.
        from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait  # noqa: PLC0415

        waiting = [index for index in range(len(graph.steps)) if index not in results]
        running: dict[Future[Result], int] = {}
        pool = ThreadPoolExecutor(MAX_PARALLEL_STEPS, "step")
        try:
            while waiting or running:
                if self._cancel.is_set():
                    raise CancelledError
                for index in tuple(waiting):
                    step = graph.steps[index]
                    if all(each in results for each in step.inputs):
                        inputs = tuple(results[each] for each in step.inputs)
                        waiting.remove(index)
                        running[pool.submit(self._run, index, step, inputs)] = index
                ended = wait(running, timeout=LOOK_UP_S, return_when=FIRST_COMPLETED).done
                for future in ended:
                    results[running[future]] = future.result()
                    del running[future]
        finally:
            # After a failure the others are told to end now. One that waits for a registry cannot
            # hear that, and nobody waits for it longer than this.
            if waiting or running:
                self._cancel.set()
                wait(running, timeout=_PATIENCE_S)
            pool.shutdown(wait=False, cancel_futures=True)

    def _run(self, index: int, step: Step, inputs: tuple[Result, ...]) -> Result:
        number, started = index + 1, time.monotonic()
        self._emit(StepStarted(number=number, label=step.label, time=started))

        def output(stream: int, data: bytes) -> None:
            self._emit(StepOutput(number=number, stream=stream, data=data, time=time.monotonic()))

        try:
            result, cached = self._executor.execute(step, inputs, output)
        except BaseException as error:
            now = time.monotonic()
            self._emit(
                StepFailed(
                    number=number,
                    label=step.label,
                    time=now,
                    seconds=now - started,
                    reason=str(error),
                    canceled=isinstance(error, CancelledError | KeyboardInterrupt),
                )
            )
            raise
        self._done(index, step, started, time.monotonic(), cached=cached)
        return result

    def _done(self, index: int, step: Step, started: float, ended: float, *, cached: bool) -> None:
        self._emit(
            StepDone(
                number=index + 1,
                label=step.label,
                time=ended,
                seconds=ended - started,
                cached=cached,
            )
        )


def _sure_runs(graph: Graph, known: Collection[int]) -> set[int]:
    """Return the RUNs that nothing can turn out to be known of: they, or one below them, do not wait.

    What takes files from elsewhere may be found by their content once that is there.
    """
    runs: set[int] = set()
    above: set[int] = set()
    for index, step in enumerate(graph.steps):
        if index in known or not step.inputs:
            continue
        is_run = isinstance(step.op, RunOp)
        if step.inputs[0] in above or (
            is_run and step.inputs[0] in known and len(step.inputs) == 1
        ):
            above.add(index)
            if is_run:
                runs.add(index)
    return runs
