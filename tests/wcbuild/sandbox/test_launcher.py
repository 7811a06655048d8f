"""The launcher: it is quick to start, and nothing it started outlives the process that it serves."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
import sandboxes
from processes import children_of, processes_with, until


@pytest.fixture(params=sandboxes.KINDS)
def busy(request):
    """A server of its own in which a command with daemons is running; yields it and a marker."""
    if reason := sandboxes.reason_against(request.param):
        pytest.skip(reason)
    marker = f"77{os.getpid()}{time.monotonic_ns() % 100_000_000}"
    with sandboxes.open_sandboxes(request.param) as opened:
        script = f"setsid sleep {marker} & trap '' TERM INT HUP; sleep {marker}; sleep {marker}"
        number = opened.start("/bin/sh", "-c", script)
        assert until(lambda: len(processes_with(marker)) >= 3)
        yield opened, marker, number


def test_killing_the_main_process_leaves_nothing(busy):
    opened, marker, _ = busy
    launcher = opened.identity["launcher"]
    opened.process.send_signal(signal.SIGKILL)
    opened.process.wait()
    assert until(lambda: not processes_with(marker))
    assert until(lambda: not os.path.exists(f"/proc/{launcher}"))
    assert str(opened.directory) not in Path("/proc/self/mountinfo").read_text()
    opened.process.stdin.close()


def test_killing_the_launcher_kills_and_is_noticed(busy):
    opened, marker, number = busy
    os.kill(opened.identity["launcher"], signal.SIGKILL)
    assert opened.wait(number).signal == signal.SIGKILL
    assert processes_with(marker) == []
    assert "launcher" in opened.run("true").error


def test_killing_the_supervisor_kills_and_is_noticed(busy):
    opened, marker, number = busy
    [supervisor] = children_of(opened.identity["launcher"])
    os.kill(supervisor, signal.SIGKILL)
    assert "the launcher is gone" in opened.wait(number).error
    assert until(lambda: not processes_with(marker))
    assert opened.run("true").code == 0


def test_closing_the_launcher_ends_everything(busy):
    opened, marker, number = busy
    opened.call("launcher.close()")
    assert processes_with(marker) == []
    assert opened.wait(number).signal == signal.SIGKILL


def test_interrupt_of_the_process_group_does_not_reach_the_launcher(busy):
    opened, marker, _ = busy
    launcher = opened.identity["launcher"]
    assert os.getsid(launcher) == launcher
    os.kill(launcher, signal.SIGINT)
    time.sleep(0.1)
    assert processes_with(marker)
    assert opened.run("true").code == 0


def test_cancel_kills_daemons_too(busy):
    opened, marker, number = busy
    opened.cancel(number)
    assert opened.wait(number).signal == signal.SIGKILL
    # Nothing is left when the answer has come.
    assert processes_with(marker) == []


def test_launcher_has_no_descriptor_of_its_parent(busy):
    opened, _, _ = busy
    launcher = opened.identity["launcher"]
    targets = [os.readlink(f"/proc/{launcher}/fd/{n}") for n in os.listdir(f"/proc/{launcher}/fd")]
    assert sorted(target.partition(":")[0] for target in targets) == [
        *["/dev/null"] * 3,
        "socket",
    ]


def test_descriptors_do_not_leak(sandbox):
    sandbox.run("true")
    count = "len(os.listdir('/proc/self/fd'))"
    before = sandbox.call(count)
    for _ in range(10):
        sandbox.run("true")
        sandbox.run("true", user="nosuch")
    assert sandbox.call(count) == before


def test_errors_of_the_caller_kill_the_command(sandbox):
    marker = f"88{os.getpid()}{time.monotonic_ns() % 100_000_000}"
    ended = sandbox.sh(f"echo x; sleep {marker}", broken_output=True)
    assert "ZeroDivisionError" in ended.error
    assert processes_with(marker) == []
