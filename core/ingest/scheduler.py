"""The scheduler: what runs now, what waits in a lane, what is gathered into a batch."""

import asyncio
import contextvars
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from core.ingest.batches import BatchQueue
from core.ingest.dispatcher import Dispatcher
from core.ingest.lanes import Lanes
from core.ingest.outcome import Disposition, Outcome
from core.ingest.window import Slot
from core.ingest.work import Batch, Gathered, Job
from core.routing.table import CompiledRoute, RouteMatch

__all__ = ["Scheduler"]

# Of several routes' outcomes the first of these counts for the message.
_SEVERITY = (Disposition.DEAD_LETTERED, Disposition.PROCESSED, Disposition.FILTERED)

# Handlers of lanes begun in one round of the event loop, which reads and writes between two rounds.
_MOST_BEGUN = 100

# Seconds for a handler to heed its cancellation.
_CUTTING_TIME = 1.0


class Scheduler:
    """Runs the routes of messages concurrently, those of one lane in order, those of a batch route together.

    Args:
        dispatcher: Runs one route.
        settle: Called with a message's slot and outcome when its last route has ended.
    """

    def __init__(self, dispatcher: Dispatcher, settle: Callable[[Slot, Outcome], None]) -> None:
        self._dispatcher = dispatcher
        self._settle = settle
        self._lanes: Lanes[Job] = Lanes()
        self._following: deque[Job] = deque()
        self._starting = False
        self._batches: dict[CompiledRoute, BatchQueue[Gathered]] = {}
        # What is called later runs in the service's context, not in that of the handler that brought it about.
        self._context = contextvars.copy_context()
        #: No more is started once the rest is being cut off; what ends after that no longer counts.
        self._cutting = self._ended = False
        #: Whether messages that wait may be dropped.
        self.sheds = False

    def __repr__(self) -> str:
        return f"<Scheduler running={len(self._dispatcher)} lanes={len(self._lanes)} waiting={self.waiting}>"

    @property
    def waiting(self) -> int:
        """How much work is kept in memory because its turn has not come."""
        return self._lanes.waiting + len(self._following) + sum(map(len, self._batches.values()))

    def submit(self, slot: Slot, matches: Sequence[RouteMatch]) -> bool:
        """Run every matching route for a message, as soon as its lane lets it.

        Returns:
            Whether it waits: no handler has begun with it.
        """
        waits = True
        slot.pending = len(matches)
        for match in matches:
            if match.compiled.route.batch is not None:
                self._gather(slot, match)
                continue
            job = Job(slot, match, self)
            key = match.order_key
            if key is not None:
                job.in_turn = True
                if not self._lanes.enter(key, job):
                    continue
            waits = False
            self._dispatcher.start(job)
        return waits

    def leave_lane(self, job: Job) -> None:
        """Let the next one of a job's lane begin, soon: not within the job that leaves it."""
        job.in_turn = False
        following = self._lanes.leave(job.match.order_key)
        if following is None:
            return
        self._following.append(following)
        if not self._starting:
            self._starting = True
            self._soon(self._start_following)

    def _start_following(self) -> None:
        # Flat, however long a lane is: what these let begin in turn is behind them in the same queue.
        for _ in range(min(_MOST_BEGUN, len(self._following))):
            if self._cutting:
                return
            job = self._following.popleft()
            if self.sheds and job.slot.settled:  # dropped while it waited
                self.leave_lane(job)
                continue
            job.slot.begun = True
            self._dispatcher.start(job)
        self._starting = bool(self._following)
        if self._starting:
            self._soon(self._start_following)

    def forget_dropped(self) -> None:
        """Let go of messages that were dropped while they waited; else a lane that is stuck would keep them all."""
        self._lanes.keep(_is_wanted)
        for queue in self._batches.values():
            queue.keep(_is_gathered)

    def ended(self, job: Job, outcome: Outcome) -> None:
        """A route has ended with a message."""
        if self._ended:
            return
        if job.in_turn:
            self.leave_lane(job)
        self._finish(job.slot, outcome)

    def _gather(self, slot: Slot, match: RouteMatch) -> None:
        compiled = match.compiled
        queue = self._batches.get(compiled)
        if queue is None:
            queue = self._batches[compiled] = BatchQueue(compiled.route.batch or 1)
        if queue.add((slot, match)):
            # Not at once: what else has come in with this message joins it.
            self._soon(self._start_batch, queue)

    def _start_batch(self, queue: BatchQueue[Gathered]) -> None:
        if self._cutting:
            return
        gathered = queue.take()
        if self.sheds:
            gathered = _not_dropped(gathered)
        if gathered:
            self._dispatcher.start_batch(Batch(gathered, queue, self))
        elif queue.leave():
            self._soon(self._start_batch, queue)

    def leave_queue(self, batch: Batch) -> None:
        """Let the next batch of the same route begin."""
        batch.in_turn = False
        batch.left = True
        if batch.queue.leave():
            self._soon(self._start_batch, batch.queue)

    def batch_ended(self, batch: Batch, outcomes: Sequence[Outcome]) -> None:
        """A batch route has ended with its messages."""
        if self._ended:
            return
        for (slot, _), outcome in zip(batch.gathered, outcomes, strict=True):
            self._finish(slot, outcome)
        if not batch.left:
            self.leave_queue(batch)

    def _finish(self, slot: Slot, outcome: Outcome) -> None:
        """Note how one route has ended; the message is settled with the last of them, and the worst outcome."""
        slot.outcome = outcome if slot.outcome is None else min(slot.outcome, outcome, key=_severity)
        slot.pending -= 1
        if slot.pending == 0:
            self._settle(slot, slot.outcome)

    def _soon(self, callback: Callable[..., Any], *arguments: Any) -> None:
        asyncio.get_running_loop().call_soon(callback, *arguments, context=self._context)

    async def cut_off(self) -> None:
        """Start nothing more, and cancel what runs; what ends within a moment still counts."""
        self._cutting = True
        if tasks := self._dispatcher.give_up():
            await asyncio.wait(tasks, timeout=_CUTTING_TIME)
        self._ended = True
        self._dispatcher.close()


def _is_wanted(job: Job) -> bool:
    return not job.slot.settled


def _is_gathered(gathered: Gathered) -> bool:
    return not gathered[0].settled


def _not_dropped(gathered: Sequence[Gathered]) -> list[Gathered]:
    left = [(slot, match) for slot, match in gathered if not slot.settled]
    for slot, _ in left:
        slot.begun = True
    return left


def _severity(outcome: Outcome) -> int:
    return _SEVERITY.index(outcome.disposition)
