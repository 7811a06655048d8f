"""Commands that are run for a build: bounded, cancelled, and ended with all they started."""

import os
import signal
import subprocess
import threading
import time

import pytest
from processes import processes_in, until

from wcbuild.context import command
from wcbuild.context.command import CommandError, run
from wcbuild.errors import CancelledError

VARIABLES = {"PATH": os.environ["PATH"]}


def sh(text, tmp_path, *, cancel=None, stdin=b"", variables=None):
    words = ("sh", "-c", text)
    return run(words, variables or VARIABLES, tmp_path, stdin, cancel or threading.Event())


def test_returns_what_a_command_says_and_gives_it_what_it_reads(tmp_path):
    data = os.urandom(300_000)
    assert sh("cat; echo noise >&2", tmp_path, stdin=data) == data


def test_a_command_sees_our_variables_and_no_others(tmp_path, monkeypatch):
    monkeypatch.setenv("CANARY", "seen")
    assert b"CANARY" not in sh("env", tmp_path, variables=VARIABLES | {"OWN": "1"})


def test_an_error_is_the_last_thing_that_was_said_of_it(tmp_path):
    text = "echo hint: x >&2; echo 'fatal: it \033[31mbroke' >&2; echo hint: y >&2; exit 3"
    with pytest.raises(CommandError) as caught:
        sh(text, tmp_path)
    assert str(caught.value) == "sh: it  [31mbroke"
    with pytest.raises(CommandError, match=r"^sh: ended with status 3$"):
        sh("exit 3", tmp_path)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("ssh: no way\nfatal: Could not read.\n\nPlease x\n", "ssh: no way; Could not read."),
        ("fatal: unable to connect to h:\nh: refused\n\n", "unable to connect to h:; h: refused"),
        ("remote: gone\nfatal: not found\n", "remote: gone; not found"),
        ("one\ntwo\nthree\n", "two; three"),
        ("one\n", "one"),
    ],
)
def test_an_error_tells_what_explains_it(tmp_path, said, told):
    with pytest.raises(CommandError) as caught:
        sh(f"printf '{said}' >&2; exit 1", tmp_path)
    assert caught.value.reason == told


def test_a_command_that_is_not_installed_is_named(tmp_path):
    with pytest.raises(CommandError, match='there is no "no-such-thing" on this machine'):
        run(("no-such-thing",), VARIABLES, tmp_path, b"", threading.Event())


def test_a_command_that_says_too_much_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(command, "MAX_OUTPUT_BYTES", 1000)
    with pytest.raises(CommandError, match="said more than 1000 bytes"):
        sh("yes", tmp_path)


def has_ended(pid):
    """Say whether a process, which may have been killed a moment ago, runs no more, as a zombie."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_cancelling_ends_a_command_and_all_it_started(tmp_path):
    cancel = threading.Event()
    begun = tmp_path / "begun"
    threading.Thread(target=lambda: until(begun.exists) and cancel.set()).start()
    started = time.monotonic()
    with pytest.raises(CancelledError):
        sh("sleep 600 & echo $! > child; echo $$ > own; > begun; wait", tmp_path, cancel=cancel)
    assert time.monotonic() - started < 60
    for name in ("child", "own"):
        pid = int((tmp_path / name).read_text())
        assert until(lambda pid=pid: has_ended(pid))


def test_an_interrupt_that_comes_as_a_command_begins_ends_it(tmp_path, monkeypatch):
    begin = subprocess.Popen.__init__

    def begin_and_be_interrupted(*args, **options):
        begin(*args, **options)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(subprocess.Popen, "__init__", begin_and_be_interrupted)
    cancel = threading.Event()
    with pytest.raises(KeyboardInterrupt):
        sh("echo $$ > own; sleep 600", tmp_path, cancel=cancel)
    assert cancel.is_set()
    assert until(lambda: not processes_in(tmp_path))


def test_an_interrupt_before_the_thread_of_a_command_is_known_ends_it(tmp_path, monkeypatch):
    begin = threading.Thread.start

    def begin_and_be_interrupted(thread):
        begin(thread)
        assert until(lambda: processes_in(tmp_path))
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(threading.Thread, "start", begin_and_be_interrupted)
    with pytest.raises(KeyboardInterrupt):
        sh("exec sleep 600", tmp_path)
    assert not processes_in(tmp_path)


def test_what_a_command_leaves_behind_is_ended_too(tmp_path):
    sh("sleep 600 >/dev/null 2>&1 & echo $! > child", tmp_path)
    pid = int((tmp_path / "child").read_text())
    assert until(lambda: has_ended(pid))


def test_no_file_of_ours_is_open_in_a_command(tmp_path):
    with open(tmp_path / "secret", "w"):
        names = sh("ls -l /proc/self/fd", tmp_path)
    assert b"secret" not in names
