"""Named places where a test kills the process or fills the disk, to see what is left behind.

`WCBUILD_FAILPOINTS=blobs.before_rename=kill` (several are joined by commas) is the only switch.
"""

from __future__ import annotations

import errno
import os
import signal

VARIABLE = "WCBUILD_FAILPOINTS"


def reach(name: str) -> None:
    """Do what the environment asks for at ``name``: `kill`, `enospc`, or (as always) nothing.

    Raises:
        OSError: the action is `enospc`.
    """
    for point in os.environ.get(VARIABLE, "").split(","):
        place, _, action = point.partition("=")
        if place != name:
            continue
        if action == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if action == "enospc":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
