"""The solver over an executor that only notes what it is asked to do."""

import signal
import threading
import time

import pytest

from wcbuild.errors import WcbuildError
from wcbuild.graph.keys import digest
from wcbuild.graph.ops import CopyOp, Graph, RunOp, ScratchOp, Step
from wcbuild.solve.events import StepDone, StepFailed, StepOutput, StepStarted
from wcbuild.solve.results import FileSystem
from wcbuild.solve.solver import Solver


class MadeToFailError(WcbuildError):
    pass


class NotingExecutor:
    """Knows some steps by label, fails at others, and notes the order of all it does."""

    def __init__(self, known=(), failing=(), cancel=None):
        self.known = set(known)
        self.failing = set(failing)
        self.cancel = cancel or threading.Event()
        self.done = []
        self.checked = []
        self.lost = []

    def find(self, step, inputs):
        return result(step) if step.label in self.known else None

    def settle(self, graph, known, *, dry):
        lost = [index for index in known if graph.steps[index].label in self.lost[:1]]
        self.known -= set(self.lost[:1])
        del self.lost[:1]
        return lost

    def check(self, step, inputs):
        self.checked.append((step.label, [each and each.key for each in inputs]))
        if step.label.startswith("no "):
            raise MadeToFailError(step.label)

    def execute(self, step, inputs, output):
        if step.label in self.failing:
            raise MadeToFailError(step.label)
        if step.label.startswith("wait"):
            assert self.cancel.wait(120), "nobody cancelled"
            raise MadeToFailError("cancelled")
        output(1, b"hello\n")
        self.done.append(step.label)
        return result(step), False


def result(step):
    return FileSystem(key=digest(step.label))


def run(label, *inputs):
    return Step(op=RunOp(args=(label,), env=(), cwd="/"), inputs=inputs, label=label)


def copy(label, *inputs):
    return Step(op=CopyOp(sources=("f",), dest="/"), inputs=inputs, label=label)


def solve(executor, *steps):
    events = []
    cancel = executor.cancel
    results = Solver(executor, events.append, cancel).solve(Graph(steps=steps))
    return results, events


SCRATCH = Step(op=ScratchOp(), label="scratch")


def test_known_steps_are_not_executed():
    executor = NotingExecutor(known={"scratch", "a", "b"})
    results, events = solve(executor, SCRATCH, run("a", 0), run("b", 1))
    assert executor.done == []
    assert len(results) == 3
    assert all(event.cached for event in events if isinstance(event, StepDone))


def test_steps_after_the_first_unknown_one_are_executed_in_order():
    executor = NotingExecutor(known={"scratch", "a"})
    solve(executor, SCRATCH, run("a", 0), run("b", 1), run("c", 2))
    assert executor.done == ["b", "c"]


def test_a_step_is_not_started_before_its_inputs_are_done():
    executor = NotingExecutor(known={"scratch"})
    solve(executor, SCRATCH, run("left", 0), run("right", 0), run("join", 1, 2))
    assert set(executor.done[:2]) == {"left", "right"}
    assert executor.done[2] == "join"


def test_steps_that_need_nothing_of_each_other_are_executed_at_the_same_time():
    both_are_there = threading.Barrier(2, timeout=120)

    class MeetingExecutor(NotingExecutor):
        def execute(self, step, inputs, output):
            both_are_there.wait()
            return super().execute(step, inputs, output)

    executor = MeetingExecutor(known={"scratch"})
    solve(executor, SCRATCH, run("left", 0), run("right", 0))
    assert set(executor.done) == {"left", "right"}


def test_events_tell_of_start_output_and_end():
    _, events = solve(NotingExecutor(known={"scratch"}), SCRATCH, run("a", 0))
    own = [event for event in events if event.number == 2]
    assert [type(event) for event in own] == [StepStarted, StepOutput, StepDone]
    assert own[1].data == b"hello\n"
    assert not own[2].cached


def test_a_failure_ends_the_others_and_is_what_the_caller_gets():
    executor = NotingExecutor(known={"scratch"}, failing={"bad"})
    events = []
    solver = Solver(executor, events.append, executor.cancel)
    with pytest.raises(MadeToFailError, match="bad"):
        solver.solve(Graph(steps=(SCRATCH, run("wait", 0), run("bad", 0), run("after", 1))))
    assert executor.cancel.is_set()
    assert executor.done == []
    assert {event.label for event in events if isinstance(event, StepFailed)} == {"wait", "bad"}


def test_what_is_sure_to_fail_is_told_before_anything_is_executed():
    executor = NotingExecutor(known={"scratch", "s"})
    with pytest.raises(MadeToFailError, match="no good"):
        solve(executor, SCRATCH, run("a", 0), copy("b", 1), run("no good", 2))
    assert executor.done == []


def test_what_a_copy_takes_is_looked_at_as_far_as_it_is_known():
    executor = NotingExecutor(known={"scratch"})
    with pytest.raises(MadeToFailError, match="no file"):
        solve(executor, SCRATCH, run("a", 0), copy("no file", 1, 0))
    assert executor.done == []
    assert executor.checked[-1] == ("no file", [None, digest("scratch")])


@pytest.mark.parametrize("known", [{"scratch", "s"}, {"scratch", "s", "no good"}])
def test_what_may_turn_out_to_be_known_is_not(known):
    executor = NotingExecutor(known=known)
    solve(executor, SCRATCH, run("s", 0), copy("a", 0), run("no good", 2), run("no better", 1, 1))
    assert "a" in executor.done


def test_a_lost_result_and_what_stands_on_it_are_executed():
    executor = NotingExecutor(known={"scratch", "a", "b", "c", "aside"})
    executor.lost = ["b", "a"]
    _, events = solve(
        executor, SCRATCH, run("a", 0), run("b", 1), run("c", 2), run("aside", 0), run("end", 3, 4)
    )
    assert executor.done == ["a", "b", "c", "end"]
    cached = [event.label for event in events if isinstance(event, StepDone) and event.cached]
    assert cached == ["scratch", "aside"]
    assert len([event for event in events if isinstance(event, StepDone)]) == 6


def test_an_interrupt_before_the_thread_of_a_step_is_known_ends_the_step(monkeypatch):
    begin = threading.Thread.start
    begun, ended = threading.Event(), threading.Event()

    class SlowToEnd(NotingExecutor):
        def execute(self, step, inputs, output):
            begun.set()
            assert self.cancel.wait(120), "nobody cancelled"
            time.sleep(0.1)
            ended.set()
            raise MadeToFailError("cancelled")

    def begin_and_be_interrupted(thread):
        begin(thread)
        if threading.current_thread() is threading.main_thread():
            assert begun.wait(120)
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(threading.Thread, "start", begin_and_be_interrupted)
    with pytest.raises(KeyboardInterrupt):
        solve(SlowToEnd(), run("a"))
    assert ended.is_set()
