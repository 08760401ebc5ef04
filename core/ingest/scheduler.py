"""The scheduler: what runs now, what waits in a lane, what is gathered into a batch."""

import asyncio
import contextvars
import sys
from collections import deque
from collections.abc import Callable, Coroutine, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from core.ingest.batches import BatchQueue
from core.ingest.dispatcher import Dispatcher
from core.ingest.lanes import Lanes
from core.ingest.outcome import Disposition, Outcome
from core.ingest.window import Slot
from core.routing.table import CompiledRoute, RouteMatch

__all__ = ["Scheduler", "Work"]

# Of several routes' outcomes the first of these counts for the message.
_SEVERITY = (Disposition.REJECTED, Disposition.PROCESSED, Disposition.FILTERED)

# Seconds for a handler to heed its cancellation.
_CUTTING_TIME = 1.0


@dataclass(slots=True, eq=False)
class Work:
    """A message in work: its slot, the routes that have not ended and the worst outcome so far."""

    slot: Slot
    pending: int
    outcome: Outcome | None = None


_Gathered = tuple[Work, RouteMatch]


class Scheduler:
    """Runs the routes of messages concurrently, those of one lane in order, those of a batch route together.

    Args:
        dispatcher: Runs one route.
        settle: Called with a message's slot and outcome when its last route has ended.
    """

    def __init__(self, dispatcher: Dispatcher, settle: Callable[[Slot, Outcome], None]) -> None:
        self._dispatcher = dispatcher
        self._settle = settle
        self._lanes: Lanes[_Job] = Lanes()
        self._batches: dict[CompiledRoute, BatchQueue[_Gathered]] = {}
        self._following: deque[_Job] = deque()
        self._starting = False
        self._context = contextvars.copy_context()
        self._tasks: set[asyncio.Task[None]] = set()
        #: No more is started once the rest is being cut off; what ends after that no longer counts.
        self._cutting = self._ended = False

    def __repr__(self) -> str:
        return f"<Scheduler running={len(self._tasks)} lanes={len(self._lanes)}>"

    def submit(self, slot: Slot, matches: Sequence[RouteMatch]) -> None:
        """Run every matching route for a message, as soon as its lane lets it."""
        work = Work(slot, len(matches))
        for match in matches:
            if match.compiled.route.batch is not None:
                self._gather(work, match)
                continue
            job = _Job(self, work, match)
            if not job.in_lane or self._lanes.enter(job.lane, job):
                self._start(self._run(job))

    def _start(self, coroutine: Coroutine[Any, Any, None]) -> None:
        # Begins at once where Python can (3.12): most handlers get to their commit without waiting.
        # In the service's context, not in that of the handler whose parking lets this one begin.
        task = _begin_task(coroutine, self._context.copy())
        if not task.done():
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _run(self, job: "_Job") -> None:
        outcome = await self._dispatcher.dispatch(job.match, job.work.slot.message, job.park)
        if self._ended:
            return
        self._finish(job.work, outcome)
        if job.in_lane:
            self.leave_lane(job)

    def leave_lane(self, job: "_Job") -> None:
        """Let the next one of a job's lane begin."""
        job.in_lane = False
        if not self._cutting and (following := self._lanes.leave(job.lane)) is not None:
            self._follow(following)

    def _follow(self, job: "_Job") -> None:
        """Start the next one of a lane; flat, or a long lane would start itself within itself."""
        self._following.append(job)
        if self._starting:
            return
        self._starting = True
        try:
            while self._following:
                self._start(self._run(self._following.popleft()))
        finally:
            self._starting = False

    def _gather(self, work: Work, match: RouteMatch) -> None:
        compiled = match.compiled
        queue = self._batches.get(compiled)
        if queue is None:
            queue = self._batches[compiled] = BatchQueue(compiled.route.batch or 1)
        if queue.add((work, match)):
            # Not at once: what else has come in with this message joins it.
            asyncio.get_running_loop().call_soon(self._start_batch, queue)

    def _start_batch(self, queue: BatchQueue[_Gathered]) -> None:
        if not self._cutting:
            self._start(self._run_batch(queue, queue.take()))

    async def _run_batch(self, queue: BatchQueue[_Gathered], gathered: Sequence[_Gathered]) -> None:
        at_work = True

        def leave() -> None:
            nonlocal at_work
            if at_work and queue.leave():
                asyncio.get_running_loop().call_soon(self._start_batch, queue)
            at_work = False

        matches = [(match, work.slot.message) for work, match in gathered]
        outcomes = await self._dispatcher.dispatch_batch(matches, leave)
        if self._ended:
            return
        for (work, _), outcome in zip(gathered, outcomes, strict=True):
            self._finish(work, outcome)
        leave()

    def _finish(self, work: Work, outcome: Outcome) -> None:
        work.outcome = outcome if work.outcome is None else min(work.outcome, outcome, key=_severity)
        work.pending -= 1
        if work.pending == 0:
            self._settle(work.slot, work.outcome)

    async def cut_off(self) -> None:
        """Start nothing more, and cancel what runs; what ends within a moment still counts."""
        self._cutting = True
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_CUTTING_TIME)
        self._ended = True


class _Job:
    """One route to run for one message; while it waits for its commit, it is parked and its lane moves on."""

    __slots__ = ("_scheduler", "in_lane", "lane", "match", "strict", "work")

    def __init__(self, scheduler: Scheduler, work: Work, match: RouteMatch) -> None:
        self._scheduler = scheduler
        self.work = work
        self.match = match
        self.lane = _lane(match, work.slot.message.topic)
        self.strict = match.compiled.route.ordered == "strict"
        self.in_lane = self.lane is not None

    def park(self) -> None:
        """Its writes are queued: the next one of the lane may queue its own behind them."""
        if self.in_lane and not self.strict:
            self._scheduler.leave_lane(self)


def _begin_task(coroutine: Coroutine[Any, Any, None], context: contextvars.Context) -> asyncio.Task[None]:
    if sys.version_info >= (3, 12):
        return asyncio.Task(coroutine, loop=asyncio.get_running_loop(), context=context, eager_start=True)
    return asyncio.get_running_loop().create_task(coroutine, context=context)


def _lane(match: RouteMatch, topic: str) -> Hashable:
    route = match.compiled.route
    if not route.ordered:
        return None
    # As text, so that routes share a lane whatever type each gives to the parameter.
    return topic if route.order_by is None else (route.order_by, str(match.params[route.order_by]))


def _severity(outcome: Outcome) -> int:
    return _SEVERITY.index(outcome.disposition)
