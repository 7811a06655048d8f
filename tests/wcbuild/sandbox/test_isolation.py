"""Two commands that run at the same time do not meet, and none harms what the next one stands on."""

from __future__ import annotations

import pytest

pytestmark = [pytest.mark.userns]

HOLD = """
import ctypes, os, socket, time
libc = ctypes.CDLL(None, use_errno=True)
EXCLUSIVELY = os.O_CREAT | os.O_EXCL | os.O_RDWR
os.makedirs("/tmp", exist_ok=True)
{make}
time.sleep(2)
"""

OBJECTS = """
for name, made in (
    ("shared memory", lambda: libc.shmget(4242, 4096, 0o3666) != -1),
    ("semaphores", lambda: libc.semget(4242, 1, 0o3666) != -1),
    ("message queue", lambda: libc.msgget(4242, 0o3666) != -1),
    ("POSIX message queue", lambda: os.open("/dev/mqueue/wcbuild", EXCLUSIVELY)),
    ("POSIX shared memory", lambda: os.open("/dev/shm/wcbuild", EXCLUSIVELY)),
    ("temporary file", lambda: os.open("/tmp/wcbuild-lock", EXCLUSIVELY)),
):
    try:
        print(name, "made" if made() else "met", flush=True)
    except FileExistsError:
        print(name, "met", flush=True)
"""
"""Each kind of object with a name, made so that it can be made once."""

ABSTRACT = """
try:
    server = socket.socket(socket.AF_UNIX)
    server.bind(chr(0) + "wcbuild")
    print("made", flush=True)
except OSError:
    print("met", flush=True)
"""


def start(sandbox, make: str, **options) -> int:
    usr = {"target": "/usr", "source": "/usr", "read_only": True}
    sandbox.python("pass")  # makes the base
    base = sandbox.directory / "python-base"
    root = {**sandbox.root(), "lower": [str(base)]}
    words = ("/usr/bin/python3", "-c", HOLD.format(make=make))
    return sandbox.start(*words, root=root, mounts=(usr,), **options)


def test_named_objects_of_two_commands_do_not_meet(sandbox):
    numbers = [start(sandbox, OBJECTS) for _ in range(2)]
    for number in numbers:
        ended = sandbox.wait(number)
        assert ended.out.count(" made\n") == 6, ended


def test_abstract_sockets_meet_only_on_the_machines_network(sandbox):
    numbers = [start(sandbox, ABSTRACT, network="none") for _ in range(2)]
    assert [sandbox.wait(number).out for number in numbers] == ["made\n"] * 2
    numbers = [start(sandbox, ABSTRACT) for _ in range(2)]
    assert sorted(sandbox.wait(number).out for number in numbers) == ["made\n", "met\n"]


def test_processes_of_two_commands_do_not_see_each_other(sandbox):
    number = sandbox.start("sleep", "3")
    assert "sleep" not in sandbox.sh("for p in /proc/[0-9]*; do cat $p/cmdline; done").out
    sandbox.wait(number)


def test_deleting_everything_harms_neither_the_base_nor_the_next_command(sandbox):
    before = {str(path): path.lstat().st_mtime_ns for path in sandbox.base.rglob("*")}
    ended = sandbox.sh("rm -rf --no-preserve-root / 2> /dev/null; exit 0")
    assert not ended.error
    assert {str(path): path.lstat().st_mtime_ns for path in sandbox.base.rglob("*")} == before
    assert sandbox.sh("cat /etc/passwd > /dev/null && echo fine").out == "fine\n"
