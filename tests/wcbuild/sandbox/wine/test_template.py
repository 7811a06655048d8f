"""The template of Wine's own files, and those who wait for it."""

from __future__ import annotations

from threading import Event, Timer

import pytest

from registry.files import FileLock
from wcbuild.errors import CancelledError
from wcbuild.sandbox.wine import template
from wcbuild.sandbox.wine.install import Wine

WINE = Wine(loader="/nowhere/wine64", server="/nowhere/wineserver", version="wine-1.0")


def test_cancelling_ends_the_wait_for_another_process_that_makes_it(tmp_path):
    making = FileLock(tmp_path / f".wine-1.0.{template.FORMAT}.lock")
    making.acquire(shared=False, wait=True)
    cancel = Event()
    timer = Timer(0.3, cancel.set)
    timer.start()
    try:
        with pytest.raises(CancelledError):
            template.find_or_make(tmp_path, WINE, pytest.fail, cancel)
    finally:
        timer.join()
        making.release()
