"""Signals: the first asks to stop, and whatever happens then, the process ends."""

import asyncio
import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

__all__ = ["stop_on_signals"]

# `timeout`, `make` and terminals may deliver one wish twice, to the process and to its group.
_SAME_WISH = 0.3

# Seconds beside the drain: to heed a cancellation, to close connections, and some air.
_GRACE = 7.0


@contextlib.contextmanager
def stop_on_signals(
    stop: asyncio.Event, drain_timeout: float, leave: Callable[[int], object] = os._exit
) -> Iterator[None]:
    """Set an event at the first SIGINT or SIGTERM; at the second end the process at once, with 130.

    Whatever keeps an orderly end from coming, a handler that blocks the event loop or a thread that
    hangs, is cut off by a timer with exit code 1. Nothing is lost: what was not acknowledged is sent again.

    Args:
        stop: Set on the event loop that runs now.
        drain_timeout: Seconds that an orderly end may wait for handlers.
        leave: Ends the process with an exit code.
    """
    loop = asyncio.get_running_loop()
    first: float | None = None

    # Not loop.add_signal_handler(): a blocked event loop would never call it, the interpreter does.
    def received(_number: int, _frame: FrameType | None) -> None:
        nonlocal first
        now = time.monotonic()
        if first is not None:
            if now - first > _SAME_WISH:
                leave(130)
            return
        first = now
        _end_after(drain_timeout + _GRACE, leave)
        loop.call_soon_threadsafe(stop.set)

    former = {number: signal.signal(number, received) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _end_after(seconds: float, leave: Callable[[int], object]) -> None:
    timer = threading.Timer(seconds, leave, [1])
    timer.daemon = True
    timer.start()
