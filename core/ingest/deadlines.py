"""Deadlines: end handlers that take too long, at no cost for those that do not."""

import asyncio
from collections.abc import Callable

from core import parking

__all__ = ["Deadline", "Deadlines"]

# Seconds between two looks at what is running: a quarter of the shortest limit, within these bounds.
_SHORTEST_TICK = 0.005
_LONGEST_TICK = 1.0


class Deadline:
    """The clock of one handler; it stands still while the handler is parked.

    Attributes:
        task: The task to cancel.
        limit: Seconds that the handler may take.
        expired: Whether it was cancelled for taking longer.
    """

    __slots__ = ("_on_park", "age", "expired", "limit", "parked", "seen", "task")

    def __init__(self, task: asyncio.Task[object], limit: float, on_park: Callable[[], None] | None) -> None:
        self.task = task
        self.limit = limit
        self.expired = False
        self.age = 0.0
        self.seen = False
        self.parked = 0
        self._on_park = on_park

    def park(self) -> None:
        """The handler waits for a commit."""
        self.parked += 1
        if self._on_park is not None:
            self._on_park()

    def unpark(self) -> None:
        """The handler goes on."""
        self.parked -= 1


class Deadlines:
    """The clocks of all running handlers.

    A timer for each handler would cost more than most handlers do; here one timer looks at all of
    them now and then. A handler is ended at most one tick late, never early.
    """

    def __init__(self) -> None:
        self._running: set[Deadline] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._shortest = float("inf")
        self._looked = 0.0

    def __len__(self) -> int:
        return len(self._running)

    def begin(self, task: asyncio.Task[object], limit: float, on_park: Callable[[], None] | None = None) -> Deadline:
        """Start the clock of a handler.

        Args:
            task: Runs the handler; cancelled when the time is up.
            limit: Seconds.
            on_park: Called whenever the handler begins to wait for a commit.
        """
        deadline = Deadline(task, limit, on_park)
        parking.current.set(deadline)
        self._running.add(deadline)
        if self._timer is None or limit < self._shortest:
            self._shortest = min(limit, self._shortest)
            self._schedule()
        return deadline

    def end(self, deadline: Deadline) -> None:
        """Stop the clock of a handler, and take back the cancellation that it caused; once."""
        self._running.remove(deadline)
        # Or the task would hold its context, the context this deadline, and the deadline the task: garbage
        # that only the collector finds, for every message.
        parking.current.set(None)
        if deadline.expired:
            deadline.task.uncancel()

    def _schedule(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        loop = asyncio.get_running_loop()
        self._looked = loop.time()
        tick = min(max(self._shortest / 4, _SHORTEST_TICK), _LONGEST_TICK)
        self._timer = loop.call_later(tick, self._look)

    def _look(self) -> None:
        elapsed = asyncio.get_running_loop().time() - self._looked
        self._timer = None
        for deadline in self._running:
            # The first look starts the clock: when in the last tick the handler began is not known.
            if deadline.seen and not deadline.parked:
                deadline.age += elapsed
            deadline.seen = True
            if deadline.age > deadline.limit and not deadline.expired:
                deadline.expired = True
                deadline.task.cancel()
        if self._running:
            self._schedule()
