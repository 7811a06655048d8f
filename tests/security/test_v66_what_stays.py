"""What a command leaves: daemons that go on writing, a root that it deleted, a flood of output."""

import time
from pathlib import Path


def test_daemons_end_with_the_command(sandbox):
    root = sandbox.root()
    daemon = "trap '' TERM HUP INT; while :; do echo x >> /log; done"
    ended = sandbox.sh(
        f'setsid sh -c "{daemon}" > /dev/null 2>&1 < /dev/null & until test -s /log; do :; done',
        root=root,
    )
    assert ended.code == 0
    log = Path(root["upper"]) / "log"
    size = log.stat().st_size
    assert size > 0
    time.sleep(0.3)
    assert log.stat().st_size == size


def test_daemon_that_keeps_the_output_open_does_not_hang_the_step(sandbox):
    begun = time.monotonic()
    ended = sandbox.sh("setsid sleep 600 & echo started")
    assert ended.out == "started\n"
    assert time.monotonic() - begun < 60


def test_deleting_everything_deletes_the_sandbox_only(sandbox):
    canary = sandbox.canary()
    shared = sandbox.directory / "read-only-source"
    if not shared.exists():
        shared.mkdir()
        (shared / "file").write_text("kept")
        sandbox.own(shared)
    root = sandbox.root()
    ended = sandbox.sh(
        "rm -rf --no-preserve-root / 2>/dev/null; rm -rf /* /.??* 2>/dev/null; echo done",
        root=root,
        mounts=({"target": "/mnt/source", "source": str(shared), "read_only": True},),
    )
    assert ended.out == "done\n"
    assert (shared / "file").read_text() == "kept"
    assert (sandbox.base / "bin/busybox").exists()
    assert Path("/dev/null").is_char_device()
    canary.check()
    # The base is whole: the next command starts from it.
    assert sandbox.sh("echo again").out == "again\n"


def test_mounted_host_directories_survive_too(sandbox):
    ended = sandbox.python(
        "import os; os.system('rm -rf /usr/lib /usr/bin 2>&1 | head -n 1'); print('done')"
    )
    assert "Read-only file system" in ended.out
    assert ended.out.endswith("done\n")
