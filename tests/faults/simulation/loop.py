"""An event loop without sockets, whose time jumps to whatever happens next."""

import asyncio
import heapq
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from core.ingest import deadlines

__all__ = ["Events", "Stuck", "VirtualLoop", "virtual_time"]

Happening = Callable[[], None]


class Stuck(Exception):
    """Somebody waits, and nothing will ever happen."""


class Events:
    """What the world outside will do, by time; it outlives the loops of several processes.

    Attributes:
        now: Seconds since the begin of the world.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self._coming: list[tuple[float, int, Happening]] = []
        self._count = 0

    def later(self, delay: float, happening: Happening) -> None:
        """Have something happen in so many seconds; of what happens at one time the older comes first."""
        self._count += 1
        heapq.heappush(self._coming, (self.now + delay, self._count, happening))

    def until(self, timeout: float | None) -> list[Happening]:
        """Let time pass until something happens, for ``timeout`` seconds at most.

        Raises:
            Stuck: Nothing will.
        """
        horizon = math.inf if timeout is None else self.now + timeout
        if not self._coming or self._coming[0][0] > horizon:
            if horizon == math.inf:
                raise Stuck("the service waits, and nothing will ever happen")
            self.now = horizon
            return []
        self.now = max(self.now, self._coming[0][0])
        due: list[Happening] = []
        while self._coming and self._coming[0][0] <= self.now:
            due.append(heapq.heappop(self._coming)[2])
        return due


class VirtualLoop(asyncio.BaseEventLoop):
    """The event loop of one process.

    Args:
        events: What happens outside.
        connect: Stands in for ``create_connection``.
        watch: Called between two rounds.
    """

    def __init__(self, events: Events, connect: Callable[..., Any], watch: Callable[[], None]) -> None:
        super().__init__()
        self._events = events
        self._connect = connect
        self._watch = watch
        self._selector = self  # what the base class asks for news
        self._afterlife: float | None = None

    def time(self) -> float:
        """Seconds since the begin of the world."""
        return self._events.now if self._afterlife is None else self._afterlife

    def select(self, timeout: float | None) -> list[Happening]:
        """Wait for the world outside."""
        if self._afterlife is not None:
            if timeout is None:
                raise Stuck("a task of a process that was killed does not end")
            self._afterlife += timeout
            return []
        self._watch()
        return self._events.until(timeout)

    def _process_events(self, event_list: list[Happening]) -> None:
        for happening in event_list:
            happening()

    def _write_to_self(self) -> None:
        """Nobody calls from another thread."""

    async def create_connection(self, protocol_factory: Callable[[], Any], *_args: Any, **_options: Any) -> Any:  # type: ignore[override]
        """Connect to the one broker there is."""
        return await self._connect(protocol_factory)

    def kill(self) -> None:
        """End every task without the world going on; what they do in their last moments must reach nobody."""
        self._afterlife = self._events.now
        self.set_exception_handler(lambda _loop, _context: None)
        for _ in range(20):
            tasks = asyncio.all_tasks(self)
            if not tasks:
                break
            for task in tasks:
                task.cancel()
            # Not by a task, which alone would not be cancelled.
            self.call_later(10, self.stop)
            self.run_forever()
        else:
            raise Stuck(f"tasks of a process that was killed do not end: {tasks}")
        self.close()


@contextmanager
def virtual_time(events: Events) -> Iterator[None]:
    """Have the code under test read its time from the world."""
    real = time.monotonic
    time.monotonic = deadlines.monotonic = lambda: events.now  # type: ignore[assignment]
    try:
        yield
    finally:
        time.monotonic = deadlines.monotonic = real  # type: ignore[assignment]
