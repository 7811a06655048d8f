"""V08, CVE-2025-47290: another process exchanges directories for links while a layer is unpacked."""

import contextlib
import io
import os
import threading
import time

from rawtar import DIRECTORY, FIFO, HARDLINK, SYMLINK, archive, entry

from wcbuild.errors import UnsafeArchiveError
from wcbuild.layer.apply import apply


@contextlib.contextmanager
def flipping(root, target):
    """Let `root/flip` be a directory and a link to the target, in turns, as fast as can be."""
    done = threading.Event()

    def flip():
        while not done.is_set():
            with contextlib.suppress(OSError):
                os.rename(root / "flip", root / "aside")
                os.symlink(target, root / "flip")
                os.unlink(root / "flip")
                os.rename(root / "aside", root / "flip")

    thread = threading.Thread(target=flip)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def test_nothing_outside_is_touched_while_directories_become_links(root, canary):
    for link in (str(canary.path), "../" * 20 + str(canary.path)[1:]):
        data = archive(
            *(
                part
                for n in range(60)
                for part in (
                    entry(f"flip/f{n}", b"owned", mode=0o777),
                    entry("flip/d/", kind=DIRECTORY, mode=0o777, mtime=3),
                    entry("flip/d/sub/g", b"owned"),
                    entry("flip/f", b"owned"),
                    entry("flip/.wh.f"),
                    entry("flip/.wh.d"),
                    entry("flip/link", kind=SYMLINK, link="x", mtime=3),
                    entry("flip/fifo", kind=FIFO, mode=0o777),
                    entry(f"h{n}", kind=HARDLINK, link="flip/f"),
                    entry(f"d{n}/f", b"elsewhere"),
                    entry("flip/.wh..wh..opq"),
                )
            )
        )
        end = time.monotonic() + 1
        with flipping(root, link):
            while time.monotonic() < end:
                with contextlib.suppress(UnsafeArchiveError):
                    apply(io.BytesIO(data), root, ownership=False, devices=False)
                with contextlib.suppress(OSError):
                    os.mkdir(root / "flip")
                canary.check()
