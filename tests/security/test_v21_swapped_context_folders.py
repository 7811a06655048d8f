"""V21, CVE-2018-15664: a folder of the context becomes a symlink to elsewhere while it is read."""

import contextlib
import os
import threading

from wcbuild.context.local import LocalTree
from wcbuild.errors import ContextError, LayerError
from wcbuild.graph.ops import CopyOp
from wcbuild.layer.pack import pack
from wcbuild.tree import place
from wcbuild.tree.layers import EmptyTree

ROUNDS = 150


def swap(root, canary, stop):
    """Exchange `d` and a symlink to the canary, again and again."""
    os.symlink(canary.path, root / "away")
    while not stop.is_set():
        with contextlib.suppress(OSError):
            os.rename(root / "d", root / "kept")
            os.rename(root / "away", root / "d")
            os.rename(root / "d", root / "away")
            os.rename(root / "kept", root / "d")


class Sink:
    def __init__(self):
        self.data = bytearray()

    def write(self, data):
        self.data += data
        return len(data)


def test_nothing_of_the_other_side_is_ever_copied(tmp_path, canary):
    root = tmp_path / "context"
    (root / "d").mkdir(parents=True)
    (root / "d/f").write_bytes(b"honest")
    (root / "d/sub").mkdir()
    stop = threading.Event()
    swapper = threading.Thread(target=swap, args=(root, canary, stop))
    swapper.start()
    copied = 0
    try:
        for _ in range(ROUNDS):
            sink = Sink()
            with contextlib.suppress(ContextError, LayerError, place.PlaceError, OSError):
                for source in ("", "d", "d/f"):
                    op = CopyOp(sources=(source,), dest="/to/")
                    changes = place.copy(op, EmptyTree(), LocalTree(root), mtime=0)
                    pack(changes, sink, epoch=None)
                    copied += 1
            assert b"secret" not in sink.data
            assert b"deep" not in sink.data
    finally:
        stop.set()
        swapper.join()
    assert copied, "not one copy came to its end"
