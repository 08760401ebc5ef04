"""Deadlines: end handlers that take too long, at hardly any cost for those that do not."""

import asyncio
import contextvars
import math
from time import monotonic
from typing import Any

import msgspec
import structlog

from core.exceptions import Contention, MqueductError

__all__ = ["Deadline", "Deadlines"]

# Seconds between two looks at what is running: a quarter of the shortest limit, within these bounds.
_SHORTEST_TICK = 0.005
_LONGEST_TICK = 1.0

logger = structlog.get_logger(__name__)


# A Struct, because one is made for every message: it takes half as long as an ordinary object.
class Deadline(msgspec.Struct, kw_only=True, eq=False):
    """The clock of one handler, which stands still while the handler is parked.

    Attributes:
        task: What runs the handler, while it is watched.
        watched: By whom.
        limit: Seconds that the handler may take.
        used: Seconds that it took until its clock stood still for the last time.
        since: When its clock began to run again, in seconds of the monotonic clock.
        parked: For how many commits it waits; it may write from several tasks of its own.
        threadless: Whether it waits for a thread to run in.
        halted: Whether the handler is not at work at all.
        expired: Whether it was cancelled for taking longer.
        overdue: Whether it did not heed that for as long again.
        given_up: Whether it was cancelled because the service ends.
        in_turn: Whether other work waits until this handler has queued its writes, or ended.
        trouble: Trouble of the infrastructure that this attempt has met, caught or not.
    """

    task: asyncio.Task[Any] | None = None
    watched: "Deadlines | None" = None
    limit: float = math.inf
    used: float = 0.0
    since: float = math.inf
    parked: int = 0
    threadless: bool = False
    halted: bool = False
    expired: bool = False
    overdue: bool = False
    given_up: bool = False
    in_turn: bool = False
    trouble: MqueductError | None = None

    def begin(self) -> None:
        """The handler begins, perhaps once more; its clock starts from zero."""
        self.used = 0.0
        self.since = monotonic()
        self.go_on()

    def go_on(self) -> None:
        """The handler begins once more in the time that is left; the pause before was its own."""
        self.halted = False
        self.trouble = None

    def remaining(self) -> float:
        """Seconds until the time is up."""
        return self.limit - self.used - (0.0 if self.parked else monotonic() - self.since)

    def halt(self) -> None:
        """The handler has ended; takes the cancellation back that its clock has caused."""
        self.halted = True
        if self.expired and self.task is not None:
            self.expired = self.overdue = False
            self.task.uncancel()

    def park(self) -> None:
        """The handler waits for a commit."""
        if not self.parked and not self.threadless:
            now = monotonic()
            # Most park in their first step, before they are watched.
            self.used += (now if self.watched is None else self._until(now)) - self.since
        self.parked += 1
        if self.in_turn:
            self.step_aside()

    def unpark(self) -> None:
        """The handler goes on."""
        self.parked -= 1
        if not self.parked:
            self.since = monotonic()

    def await_thread(self) -> None:
        """The handler waits for a thread to run in: what is in its way are other handlers."""
        if not self.parked:
            self.used += self._until(monotonic()) - self.since
        self.threadless = True

    def _until(self, now: float) -> float:
        """Until when the clock ran: since the look that is due, if one is, the event loop has stood still."""
        if self.watched is None or now <= self.watched.due:
            return now
        return max(self.watched.due, self.since)

    def stood_still(self, seconds: float, now: float) -> None:
        """The event loop was blocked, or the process was paused, until now: that is nobody's time."""
        self.since = max(self.since, min(self.since + seconds, now))

    def got_thread(self) -> None:
        """The handler runs, or waits no longer; safe in any thread, for it only assigns."""
        self.since = monotonic()
        self.threadless = False

    def meet(self, trouble: MqueductError) -> None:
        """The infrastructure has failed the handler, which may keep that to itself.

        An outage stays, whatever succeeds later: that may be other work than what was lost. A transaction
        that was in the way of another does not outlive the next COMMIT, since to repeat it is the cure.
        """
        if self.trouble is None or isinstance(self.trouble, Contention):
            self.trouble = trouble

    def committed(self) -> None:
        """The handler commits a transaction of its own."""
        if isinstance(self.trouble, Contention):
            self.trouble = None

    def step_aside(self) -> None:
        """Let the work begin that waits for this one."""

    def late(self, now: float) -> bool:
        """Whether the time is up."""
        if self.parked or self.threadless or self.halted:
            return False
        return self.used + now - self.since > self.limit


class Deadlines:
    """The clocks of all handlers that wait for something.

    A timer for each would cost more than most handlers do; here one timer looks at all of them now
    and then. A handler is ended at most one tick late, never early. By how much that look is late, by so much
    the event loop stood still: all clocks are put back, for all but one of the handlers could not go on.

    Attributes:
        due: When the next look is to be, in seconds of the monotonic clock.
    """

    def __init__(self) -> None:
        self._running: set[Deadline] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._shortest = math.inf
        self.due = math.inf
        # Not that of the message that happens to come first: the timer would keep it.
        self._context = contextvars.Context()

    def __len__(self) -> int:
        return len(self._running)

    def watch(self, deadline: Deadline, task: asyncio.Task[Any]) -> None:
        """Have a task cancelled when its handler's time is up."""
        deadline.task = task
        deadline.watched = self
        self._running.add(deadline)
        if self._timer is None or deadline.limit < self._shortest:
            self._schedule()

    def forget(self, deadline: Deadline) -> None:
        """A handler has ended; it need not have been watched."""
        self._running.discard(deadline)
        # Or the task would hold its context, that the deadline, and the deadline the task: garbage that
        # only the collector finds, for every message.
        deadline.task = deadline.watched = None

    def give_up(self) -> list[asyncio.Task[Any]]:
        """Cancel all handlers, because the service ends; returns their tasks, which may take their time."""
        for deadline in self._running:
            deadline.given_up = True
        tasks = [deadline.task for deadline in self._running if deadline.task is not None]
        for task in tasks:
            task.cancel()
        return tasks

    def close(self) -> None:
        """Look no more."""
        self._running.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _schedule(self) -> None:
        now = monotonic()
        if self._timer is not None:
            self._timer.cancel()
            self._put_back(now)
        self._shortest = min([deadline.limit for deadline in self._running])
        tick = min(max(self._shortest / 4, _SHORTEST_TICK), _LONGEST_TICK)
        self.due = now + tick
        self._timer = asyncio.get_running_loop().call_later(tick, self._look, context=self._context)

    def _put_back(self, now: float) -> None:
        if (late := now - self.due) > 0:
            for deadline in self._running:
                deadline.stood_still(late, now)

    def _look(self) -> None:
        self._timer = None
        now = monotonic()
        self._put_back(now)
        for deadline in self._running:
            if deadline.late(now):
                _expire(deadline, now)
        self.due = math.inf
        if self._running:
            self._schedule()


def _expire(deadline: Deadline, now: float) -> None:
    """Cancel a handler, once: it may have to wait for a flush that is at work, or for a thread, which nothing stops."""
    assert deadline.task is not None, "what is watched has a task"
    deadline.used, deadline.since = 0.0, now
    if not deadline.expired:
        deadline.expired = True
        deadline.task.cancel()
    elif not deadline.overdue:
        deadline.overdue = True
        logger.warning("a handler goes on although its time is up; its message waits", limit=deadline.limit)
