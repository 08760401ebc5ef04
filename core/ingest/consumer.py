"""The consumer: takes messages from the subscriber, runs their routes and has them acknowledged."""

import asyncio
import contextvars
import sys
from collections import Counter, deque
from collections.abc import Coroutine, Hashable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NamedTuple, Protocol

import structlog

from core.ingest.batches import BatchQueue
from core.ingest.dispatcher import Dispatcher
from core.ingest.lanes import Lanes
from core.ingest.outcome import COPY, UNROUTABLE, Disposition, Outcome
from core.ingest.window import Slot, Window
from core.message import Message
from core.routing.table import CompiledRoute, RouteMatch, RouteTable

__all__ = ["Consumer", "ConsumerStatistics", "Intake"]

logger = structlog.get_logger(__name__)


class Intake(Protocol):
    """Where messages come from and acknowledgements go."""

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Acknowledge messages in the given order."""

    def pause(self) -> None:
        """Stop reading."""

    def resume(self) -> None:
        """Read again."""

    def is_copy(self, message: Message) -> bool:
        """Whether another subscription delivers the same message."""


class ConsumerStatistics(NamedTuple):
    """Where every received message is; the parts add up to ``received``.

    Attributes:
        received: PUBLISHes taken in.
        processed: Their actions finished and committed.
        filtered: Stopped by middleware.
        rejected: Could not be handled; logged with the reason.
        unroutable: No route matches.
        copies_suppressed: Handled under another copy.
        returned_to_broker: Not acknowledged; the broker will send them again.
        dropped_qos0: Given up at shutdown; QoS 0 promises nothing.
        in_flight: In work.
    """

    received: int
    processed: int
    filtered: int
    rejected: int
    unroutable: int
    copies_suppressed: int
    returned_to_broker: int
    dropped_qos0: int
    in_flight: int


@dataclass(slots=True, eq=False)
class _Work:
    """A message in work: its slot, the routes that have not ended and the worst outcome so far."""

    slot: Slot
    pending: int
    outcome: Outcome | None = None


class _Job:
    """One route to run for one message; while it waits for its commit, it is parked and its lane moves on."""

    __slots__ = ("_consumer", "in_lane", "lane", "match", "strict", "work")

    def __init__(self, consumer: "Consumer", work: _Work, match: RouteMatch) -> None:
        route = match.compiled.route
        self._consumer = consumer
        self.work = work
        self.match = match
        self.lane = _lane(match, work.slot.message.topic)
        self.strict = route.ordered == "strict"
        self.in_lane = self.lane is not None

    def park(self) -> None:
        """Its writes are queued: the next one of the lane may queue its own behind them."""
        if self.in_lane and not self.strict:
            self._consumer.leave_lane(self)


_Gathered = tuple[_Work, RouteMatch]


class _Phase(IntEnum):
    """What a consumer still does; it only ever moves on."""

    OPEN = 0
    DRAINING = 1  # takes nothing in; what is in work ends, what waits in lanes starts
    CUTTING = 2  # starts nothing; what ends after all still counts
    ENDED = 3


# Of several routes' outcomes the first of these counts for the message.
_SEVERITY = (Disposition.REJECTED, Disposition.PROCESSED, Disposition.FILTERED)

# Seconds for a handler to heed its cancellation.
_CUTTING_TIME = 1.0


class Consumer:
    """Handles messages concurrently, those of one lane in order, and settles them.

    Args:
        table: The routes.
        dispatcher: Runs them.
        window: Bounds what is in flight.
    """

    def __init__(self, table: RouteTable, dispatcher: Dispatcher, window: Window) -> None:
        self._table = table
        self._dispatcher = dispatcher
        self._window = window
        self._lanes: Lanes[_Job] = Lanes()
        self._batches: dict[CompiledRoute, BatchQueue[_Gathered]] = {}
        self._following: deque[_Job] = deque()
        self._starting = False
        self._context = contextvars.copy_context()
        self._tasks: set[asyncio.Task[None]] = set()
        self._intake: Intake | None = None
        self._paused = False
        self._phase = _Phase.OPEN
        self._idle = asyncio.Event()
        self._idle.set()
        self._in_work: set[Slot] = set()
        self._settled: list[Message] = []
        self._received = 0
        self._ends: Counter[Disposition] = Counter()
        self._left: Counter[bool] = Counter()  # by whether the broker will send it again

    def __repr__(self) -> str:
        return f"<Consumer {self._phase.name} in_flight={len(self._in_work)} lanes={len(self._lanes)} {self._window!r}>"

    def statistics(self) -> ConsumerStatistics:
        """Where every received message is."""
        ends = self._ends
        return ConsumerStatistics(
            received=self._received,
            processed=ends[Disposition.PROCESSED],
            filtered=ends[Disposition.FILTERED],
            rejected=ends[Disposition.REJECTED],
            unroutable=ends[Disposition.UNROUTABLE],
            copies_suppressed=ends[Disposition.COPY],
            returned_to_broker=self._left[True],
            dropped_qos0=self._left[False],
            in_flight=len(self._in_work),
        )

    def attach(self, intake: Intake) -> None:
        """Say where acknowledgements go."""
        self._intake = intake

    def begin(self, generation: int) -> None:
        """A new connection is about to be made."""
        self._window.begin(generation)
        self._resume_if_roomy()

    def session_resumed(self, *, kept: bool) -> None:
        """The connection stands; without its old session the broker redelivers nothing."""
        if not kept:
            self._window.session_lost()

    def receive(self, message: Message) -> None:
        """Take a message in and start what may start."""
        self._received += 1
        if self._phase is not _Phase.OPEN:
            self._leave(message)
            return
        adopted, ready = self._window.adopt(message)
        if adopted:
            self._ends[Disposition.COPY] += 1
            self._acknowledge(ready)
            return
        slot = self._window.admit(message)
        self._in_work.add(slot)
        self._idle.clear()
        if self._window.full:
            self._pause()
        self._route(slot, message)

    def _leave(self, message: Message) -> None:
        self._left[message.qos > 0] += 1

    def _route(self, slot: Slot, message: Message) -> None:
        if self._intake is not None and self._intake.is_copy(message):
            self._settle(slot, COPY)
            return
        matches = self._table.match(message.topic)
        if not matches:
            logger.warning("message rejected", topic=message.topic, reason="unroutable", qos=message.qos)
            self._settle(slot, UNROUTABLE)
            return
        work = _Work(slot, len(matches))
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

    async def _run(self, job: _Job) -> None:
        outcome = await self._dispatcher.dispatch(job.match, job.work.slot.message, job.park)
        if self._phase is _Phase.ENDED:
            return
        self._finish(job.work, outcome)
        if job.in_lane:
            self.leave_lane(job)

    def leave_lane(self, job: _Job) -> None:
        """Let the next one of a job's lane begin."""
        job.in_lane = False
        if self._phase >= _Phase.CUTTING:
            return
        if (following := self._lanes.leave(job.lane)) is not None:
            self._follow(following)

    def _follow(self, job: _Job) -> None:
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

    def _gather(self, work: _Work, match: RouteMatch) -> None:
        compiled = match.compiled
        queue = self._batches.get(compiled)
        if queue is None:
            queue = self._batches[compiled] = BatchQueue(compiled.route.batch or 1)
        if queue.add((work, match)):
            # Not at once: what else has come in with this message joins it.
            asyncio.get_running_loop().call_soon(self._start_batch, queue)

    def _start_batch(self, queue: BatchQueue[_Gathered]) -> None:
        if self._phase < _Phase.CUTTING:
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
        if self._phase is _Phase.ENDED:
            return
        for (work, _), outcome in zip(gathered, outcomes, strict=True):
            self._finish(work, outcome)
        leave()

    def _finish(self, work: _Work, outcome: Outcome) -> None:
        work.outcome = outcome if work.outcome is None else min(work.outcome, outcome, key=_severity)
        work.pending -= 1
        if work.pending == 0:
            self._settle(work.slot, work.outcome)

    def _settle(self, slot: Slot, outcome: Outcome) -> None:
        self._ends[outcome.disposition] += 1
        self._in_work.discard(slot)
        if not self._in_work:
            self._idle.set()
        if (ready := self._window.settle(slot)) or self._paused:
            self._acknowledge(ready)

    def _acknowledge(self, messages: Sequence[Message]) -> None:
        """Have messages acknowledged with all others that are settled in this round of the event loop."""
        if not self._settled:
            asyncio.get_running_loop().call_soon(self._send_acknowledgements)
        self._settled += messages

    def _send_acknowledgements(self) -> None:
        settled, self._settled = self._settled, []
        if settled and self._intake is not None:
            self._intake.acknowledge(settled)
        self._resume_if_roomy()

    def _pause(self) -> None:
        if self._intake is not None and not self._paused:
            self._paused = True
            self._intake.pause()

    def _resume_if_roomy(self) -> None:
        if self._intake is not None and self._paused and self._window.roomy and self._phase is _Phase.OPEN:
            self._paused = False
            self._intake.resume()

    async def idle(self) -> None:
        """Wait until everything that came in is settled, and its acknowledgements are handed over."""
        await self._idle.wait()
        self._send_acknowledgements()

    async def drain(self, timeout: float) -> int:
        """Take nothing more in and let what is in flight end.

        Args:
            timeout: Seconds to wait; then the rest is cancelled and stays with the broker.

        Returns:
            How many messages had to be cut off.
        """
        self._phase = _Phase.DRAINING
        self._pause()
        try:
            async with asyncio.timeout(timeout):
                await self._idle.wait()
        except TimeoutError:
            logger.warning("drain timed out; the broker will send the rest again", messages=len(self._in_work))
        cut_off = len(self._in_work)
        await self._cut_off()
        return cut_off

    async def _cut_off(self) -> None:
        self._phase = _Phase.CUTTING
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_CUTTING_TIME)
        self._phase = _Phase.ENDED
        self._send_acknowledgements()
        for slot in self._in_work:
            self._leave(slot.message)
        self._in_work.clear()


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
