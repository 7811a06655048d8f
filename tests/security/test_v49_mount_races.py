"""CVE-2021-30465, CVE-2024-45310: a mount point is exchanged for a link while it is being used."""

import os
import threading
import time

import pytest


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["directory", "file"])
def test_mount_point_in_a_shared_directory(sandbox, kind):
    """One command mounts at /shared/point/x while another swaps /shared/point."""
    canary = sandbox.canary()
    shared = sandbox.directory / f"shared-{kind}"
    shared.mkdir(exist_ok=True)
    source = sandbox.directory / f"source-{kind}"
    if kind == "directory":
        source.mkdir(exist_ok=True)
    else:
        source.write_text("mounted")
    sandbox.own(shared)
    os.lchown(source, sandbox.uid, sandbox.uid)
    mounts = ({"target": "/shared", "source": str(shared)},)
    swapper = sandbox.start(
        "/bin/sh",
        "-c",
        "cd /shared; while :; do"
        f" ln -s {'../' * 20}{canary.path}/d point; mv -T point old; rm -rf old;"
        f" ln -s /proc/1/root{canary.path}/d point; rm -f point; mkdir point; rm -rf point; done",
        mounts=mounts,
    )
    outcomes: set[str] = set()
    deadline = time.monotonic() + 20
    runs = 0
    # Until the race was met in more than one way, but not for ever.
    while runs < 60 or (len(outcomes) < 2 and time.monotonic() < deadline):
        runs += 1
        target = {"target": "/shared/point/x/y", "source": str(source)}
        ended = sandbox.sh("echo ran > /shared/point/x/y/z", mounts=(*mounts, target))
        outcomes.add(ended.error)
        canary.check()
    sandbox.cancel(swapper)
    assert sandbox.wait(swapper).signal == 9
    canary.check()


@pytest.mark.slow
def test_swapping_while_mount_points_are_removed(sandbox, tmp_path):
    canary = sandbox.canary()
    shared = sandbox.directory / "shared-removed"
    shared.mkdir(exist_ok=True)
    sandbox.own(shared)
    stop = threading.Event()

    def swap():
        while not stop.is_set():
            for name in ("a", "a/b"):
                try:
                    os.rename(shared / name, shared / "moved")
                    os.symlink(canary.path / "d", shared / name)
                    os.unlink(shared / name)
                    os.rename(shared / "moved", shared / name)
                except OSError:
                    pass

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        for _ in range(40):
            sandbox.run(
                "true",
                mounts=(
                    {"target": "/shared", "source": str(shared)},
                    {"target": "/shared/a/b/sub", "size": 4096},
                ),
            )
            canary.check()
    finally:
        stop.set()
        thread.join()
    canary.check()
