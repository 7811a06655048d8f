"""Two commands that run at the same time do not meet, and none harms what the next one stands on."""

from __future__ import annotations

import pytest
from processes import until

pytestmark = [pytest.mark.userns]

HOLD = """
import ctypes, os, socket, time
libc = ctypes.CDLL(None, use_errno=True)
EXCLUSIVELY = os.O_CREAT | os.O_EXCL | os.O_RDWR
os.makedirs("/tmp", exist_ok=True)
{make}
open("/meeting/{number}", "x").close()
end = time.monotonic() + 120
while len(os.listdir("/meeting")) < 2 and time.monotonic() < end:
    time.sleep(0.01)
"""
"""What is made stays until both commands have made it."""

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


def run_two(sandbox, make: str, **options) -> list[str]:
    """Return what two commands print that are under way at the same time."""
    sandbox.python("pass")  # makes the base
    base = sandbox.directory / "python-base"
    mounts = (
        {"target": "/usr", "source": "/usr", "read_only": True},
        {"target": "/meeting", "source": str(sandbox.folder())},
    )
    numbers = [
        sandbox.start(
            *("/usr/bin/python3", "-c", HOLD.format(make=make, number=number)),
            root={**sandbox.root(), "lower": [str(base)]},
            mounts=mounts,
            **options,
        )
        for number in range(2)
    ]
    return [sandbox.wait(number).out for number in numbers]


def test_named_objects_of_two_commands_do_not_meet(sandbox):
    for out in run_two(sandbox, OBJECTS):
        assert out.count(" made\n") == 6, out


def test_abstract_sockets_meet_only_on_the_machines_network(sandbox):
    assert run_two(sandbox, ABSTRACT, network="none") == ["made\n"] * 2
    assert sorted(run_two(sandbox, ABSTRACT)) == ["made\n", "met\n"]


def test_processes_of_two_commands_do_not_see_each_other(sandbox):
    meeting = sandbox.folder()
    mounts = ({"target": "/meeting", "source": str(meeting)},)
    number = sandbox.start("sh", "-c", "touch /meeting/begun; exec sleep 600", mounts=mounts)
    assert until((meeting / "begun").exists)
    assert "sleep" not in sandbox.sh("for p in /proc/[0-9]*; do cat $p/cmdline; done").out
    sandbox.cancel(number)
    assert sandbox.wait(number).signal == 9


def test_deleting_everything_harms_neither_the_base_nor_the_next_command(sandbox):
    before = {str(path): path.lstat().st_mtime_ns for path in sandbox.base.rglob("*")}
    ended = sandbox.sh("rm -rf --no-preserve-root / 2> /dev/null; exit 0")
    assert not ended.error
    assert {str(path): path.lstat().st_mtime_ns for path in sandbox.base.rglob("*")} == before
    assert sandbox.sh("cat /etc/passwd > /dev/null && echo fine").out == "fine\n"
