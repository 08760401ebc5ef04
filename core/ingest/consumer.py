"""The consumer: takes messages from the subscriber, runs their routes and has them acknowledged."""

import asyncio
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import structlog

from core.ingest.dispatcher import Dispatcher
from core.ingest.lanes import Lanes
from core.ingest.outcome import COPY, UNROUTABLE, Disposition, Outcome
from core.ingest.window import Slot, Window
from core.message import Message
from core.routing.table import RouteMatch, RouteTable

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
        in_flight: In work.
    """

    received: int
    processed: int
    filtered: int
    rejected: int
    unroutable: int
    copies_suppressed: int
    returned_to_broker: int
    in_flight: int


@dataclass(slots=True, eq=False)
class _Work:
    """A message in work: its slot, the routes that have not ended and the worst outcome so far."""

    slot: Slot
    pending: int
    outcome: Outcome | None = None


class _Job(NamedTuple):
    """One route to run for one message."""

    work: _Work
    match: RouteMatch
    lane: Hashable


# Of several routes' outcomes the first of these counts for the message.
_SEVERITY = (Disposition.REJECTED, Disposition.PROCESSED, Disposition.FILTERED)


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
        self._tasks: set[asyncio.Task[None]] = set()
        self._intake: Intake | None = None
        self._paused = False
        self._draining = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._received = 0
        self._in_flight = 0
        self._ends: Counter[Disposition] = Counter()
        self._returned = 0

    def __repr__(self) -> str:
        return f"<Consumer in_flight={self._in_flight} lanes={len(self._lanes)} {self._window!r}>"

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
            returned_to_broker=self._returned,
            in_flight=self._in_flight,
        )

    @property
    def stuck(self) -> bool:
        """Whether a handler is still running; after ``drain``, one that does not heed its cancellation."""
        return bool(self._tasks)

    def attach(self, intake: Intake) -> None:
        """Say where acknowledgements go."""
        self._intake = intake

    def begin(self, generation: int) -> None:
        """A new connection is about to be made."""
        self._window.begin(generation)

    def session_resumed(self, *, kept: bool) -> None:
        """The connection stands; without its old session the broker redelivers nothing."""
        if not kept:
            self._window.session_lost()

    def receive(self, message: Message) -> None:
        """Take a message in and start what may start."""
        self._received += 1
        if self._draining:
            self._returned += 1
            return
        adopted, ready = self._window.adopt(message)
        if adopted:
            self._ends[Disposition.COPY] += 1
            self._acknowledge(ready)
            return
        slot = self._window.admit(message)
        self._in_flight += 1
        self._idle.clear()
        if self._window.full:
            self._pause()
        self._route(slot, message)

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
            job = _Job(work, match, _lane(match, message.topic))
            if job.lane is None or self._lanes.enter(job.lane, job):
                self._start(job)

    def _start(self, job: _Job) -> None:
        task = asyncio.create_task(self._run(job))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, job: _Job) -> None:
        outcome = await self._dispatcher.dispatch(job.match, job.work.slot.message)
        self._finish(job, outcome)
        if job.lane is not None and (following := self._lanes.leave(job.lane)) is not None:
            self._start(following)

    def _finish(self, job: _Job, outcome: Outcome) -> None:
        work = job.work
        work.outcome = outcome if work.outcome is None else min(work.outcome, outcome, key=_severity)
        work.pending -= 1
        if work.pending == 0:
            self._settle(work.slot, work.outcome)

    def _settle(self, slot: Slot, outcome: Outcome) -> None:
        self._ends[outcome.disposition] += 1
        self._in_flight -= 1
        if self._in_flight == 0:
            self._idle.set()
        self._acknowledge(self._window.settle(slot))

    def _acknowledge(self, messages: Sequence[Message]) -> None:
        if self._intake is None:
            return
        if messages:
            self._intake.acknowledge(messages)
        if self._paused and self._window.roomy and not self._draining:
            self._paused = False
            self._intake.resume()

    def _pause(self) -> None:
        if self._intake is not None and not self._paused:
            self._paused = True
            self._intake.pause()

    async def drain(self, timeout: float) -> int:
        """Take nothing more in and let what is in flight end.

        Args:
            timeout: Seconds to wait; then the rest is cancelled and stays with the broker.

        Returns:
            How many messages were left unacknowledged.
        """
        self._draining = True
        self._pause()
        try:
            async with asyncio.timeout(timeout):
                await self._idle.wait()
        except TimeoutError:
            logger.warning("drain timed out; the broker will send the rest again", messages=self._in_flight)
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=1)
        left, self._in_flight = self._in_flight, 0
        self._returned += left
        return left


def _lane(match: RouteMatch, topic: str) -> Hashable:
    route = match.route
    if not route.ordered:
        return None
    return topic if route.order_by is None else (route.order_by, match.params[route.order_by])


def _severity(outcome: Outcome) -> int:
    return _SEVERITY.index(outcome.disposition)
