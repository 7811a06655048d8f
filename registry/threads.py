"""One work in several threads, and waiting for them so that an interrupt is heard."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import Future

LOOK_UP_S = 0.2
"""Waiting for threads hears neither of being cancelled nor of an interrupt that comes just before it."""

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def wait_for(futures: Collection[Future[_Result]]) -> None:
    """Wait until all have ended; an interrupt is heard."""
    from concurrent.futures import wait  # noqa: PLC0415 - as below

    while wait(futures, timeout=LOOK_UP_S).not_done:
        pass


def uninterrupted(do: Callable[[], _Result], *, stop: Callable[[], object]) -> _Result:
    """Return what ``do`` returns, called in a thread of its own, which no interrupt reaches.

    Python raises interrupts in the main thread, between any two of its steps: in the instant, too, in
    which a process or a thread has begun and nobody has noted that yet. At an interrupt ``stop`` is
    called, which tells ``do`` to end, and it has ended (or never began) when this raises.
    """
    from concurrent.futures import Future, wait  # noqa: PLC0415 - as below

    outcome: Future[_Result] = Future()

    def call() -> None:
        if outcome.set_running_or_notify_cancel():
            try:
                outcome.set_result(do())
            except BaseException as error:  # noqa: BLE001 - whoever waits raises it
                outcome.set_exception(error)

    try:
        threading.Thread(target=call).start()
        wait_for([outcome])
    except BaseException:
        stop()
        # The thread may have begun although `start` did not return.
        if not outcome.cancel():
            wait([outcome])
        raise
    return outcome.result()


def run_all(
    do: Callable[[_Item], _Result],
    items: Iterable[_Item],
    workers: int,
    *,
    stop: Callable[[], object],
) -> list[Future[_Result]]:
    """Call ``do`` with each of ``items``, ``workers`` at a time; return what came of each, all ended.

    At an interrupt ``stop`` is called, which tells the threads to end; nobody waits for them then.
    """
    # Imported when used: it costs more than a cached build can spare.
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415

    pool = ThreadPoolExecutor(workers)
    try:
        futures = [pool.submit(do, item) for item in items]
        wait_for(futures)
    except BaseException:
        stop()
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown()
    return futures
