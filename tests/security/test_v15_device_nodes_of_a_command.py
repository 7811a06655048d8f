"""V15, seen from a command: it may make device nodes, but reaches no device through them."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize("place", ["/", "/dev/", "/dev/shm/", "/tmp/"])
def test_a_device_node_that_a_command_makes_cannot_be_opened(sandbox, place):
    """/dev/zero's numbers stand for a disk's, which a test must not read."""
    ended = sandbox.sh(f"mkdir -p {place}; mknod {place}node c 1 5; head -c 1 {place}node")
    assert ended.code != 0
    assert ended.out == ""


def test_the_devices_of_a_sandbox_work(sandbox):
    ended = sandbox.sh(
        "head -c 1 /dev/zero | wc -c; echo x > /dev/null; head -c 1 /dev/urandom | wc -c"
    )
    assert (ended.code, ended.out.split()) == (0, ["1", "1"])
