"""The consumer: takes messages from the subscriber, runs their routes and has them acknowledged."""

import asyncio
import contextvars
import functools
from collections import Counter
from collections.abc import Sequence
from typing import Protocol

import structlog

from core.ingest.dispatcher import Dispatcher
from core.ingest.options import Drop
from core.ingest.outcome import COPY, UNROUTABLE, Disposition, Failure, Outcome, Reason
from core.ingest.quarantine import Attempted, Quarantine
from core.ingest.scheduler import Scheduler
from core.ingest.shedding import Shedding
from core.ingest.statistics import ConsumerStatistics
from core.ingest.window import Slot, Window
from core.message import Message
from core.routing.table import RouteTable

__all__ = ["Consumer", "Intake"]

# Characters of a topic that the log shows of a message that is not for any route.
_SHOWN_TOPIC = 200

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


class Consumer:
    """Handles messages concurrently, those of one lane in order, and settles them.

    Args:
        table: The routes.
        dispatcher: Runs them.
        window: Bounds what is in flight.
        keep_unroutable: Whether messages of QoS 1 and 2 that no route matches become dead letters.
        qos0_drop: Which message of QoS 0 goes when there are more than fit.
    """

    def __init__(
        self,
        table: RouteTable,
        dispatcher: Dispatcher,
        window: Window,
        *,
        keep_unroutable: bool = True,
        qos0_drop: Drop = "oldest",
    ) -> None:
        self._table = table
        self._dispatcher = dispatcher
        self._window = window
        self._keep_unroutable = keep_unroutable
        self._scheduler = Scheduler(dispatcher, self._settle)
        self._shedding = Shedding(qos0_drop)
        self._intake: Intake | None = None
        self._paused = False
        self._open = True
        self._idle = asyncio.Event()
        self._idle.set()
        self._in_work: set[Slot] = set()
        self._acknowledging = False
        self._received = 0
        self._ends: Counter[Disposition] = Counter()
        self._left: Counter[bool] = Counter()  # by whether the broker will send it again
        self._quarantine: Quarantine | None = None
        # What is called later runs in the service's context, not in that of the handler that brought it about.
        self._context = contextvars.copy_context()

    def __repr__(self) -> str:
        state = "open" if self._open else "draining"
        return f"<Consumer {state} in_flight={len(self._in_work)} {self._scheduler!r} {self._window!r}>"

    def statistics(self) -> ConsumerStatistics:
        """Where every received message is."""
        ends = self._ends
        return ConsumerStatistics(
            received=self._received,
            processed=ends[Disposition.PROCESSED],
            filtered=ends[Disposition.FILTERED],
            dead_lettered=ends[Disposition.DEAD_LETTERED],
            unroutable=ends[Disposition.UNROUTABLE],
            copies_suppressed=ends[Disposition.COPY],
            returned_to_broker=self._left[True],
            dropped_qos0=self._left[False] + self._shedding.dropped,
            in_flight=len(self._in_work),
        )

    def attach(self, intake: Intake) -> None:
        """Say where acknowledgements go."""
        self._intake = intake

    def watch(self, attempted: Attempted, limit: int) -> None:
        """Suspect what is redelivered, because the process before this one went down.

        Args:
            attempted: Where attempts are noted.
            limit: Crashes after which a message is set aside.
        """
        self._quarantine = Quarantine(attempted, limit, self)

    @property
    def in_work(self) -> int:
        """How many messages are not settled."""
        return len(self._in_work)

    def admit(self, slot: Slot) -> None:
        """Handle a message that comes out of quarantine."""
        self._route(slot, slot.message)

    def expel(self, slot: Slot, crashes: int) -> None:
        """Make a dead letter of a message, because every time it was handled the process went down."""
        error = RuntimeError(f"the process went down {crashes} times while it handled this message")
        failure = Failure(Reason.CRASH_LOOP, error)
        self._dispatcher.set_aside(slot.message, failure, functools.partial(self._settle, slot), crashes)

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
        if not self._open:
            self._leave(message)
            return
        if message.dup and self._window.adopt(message):
            self._ends[Disposition.COPY] += 1
            self._acknowledge_soon()
            return
        if not message.qos and self._window.crowded and not self._make_room():
            return
        slot = self._window.admit(message)
        if not self._in_work:
            self._idle.clear()
        self._in_work.add(slot)
        if message.qos and self._window.full:
            self._pause()
        if self._quarantine is None or not self._quarantine.takes(slot):
            self._route(slot, message)

    def _make_room(self) -> bool:
        """Drop messages of QoS 0 until there is room; returns whether there is: if not, the new one is dropped."""
        while self._window.crowded:
            slot = self._shedding.choose()
            if slot is None:
                return False
            self._in_work.discard(slot)
            self._window.settle(slot)
        return True

    def _leave(self, message: Message) -> None:
        self._left[message.qos > 0] += 1

    def _route(self, slot: Slot, message: Message) -> None:
        if self._intake is not None and self._intake.is_copy(message):
            self._settle(slot, COPY)
            return
        matches = self._table.match(message.topic)
        if not matches:
            self._settle_unroutable(slot, message)
            return
        if self._scheduler.submit(slot, matches) and not message.qos:
            self._scheduler.sheds = True
            if self._shedding.note(slot):
                self._scheduler.forget_dropped()

    def _settle_unroutable(self, slot: Slot, message: Message) -> None:
        problem = self._table.limits.topic_problem(message.topic)
        reason = Reason.UNROUTABLE if problem is None else Reason.BAD_TOPIC
        if message.qos and (self._keep_unroutable or problem is not None):
            failure = Failure(reason, LookupError(problem or "no route matches the topic"))
            self._dispatcher.set_aside(message, failure, functools.partial(self._settle, slot))
            return
        logger.warning("message dropped", topic=message.topic[:_SHOWN_TOPIC], reason=reason.value, qos=message.qos)
        self._settle(slot, UNROUTABLE)

    def _settle(self, slot: Slot, outcome: Outcome) -> None:
        self._ends[outcome.disposition] += 1
        self._in_work.discard(slot)
        if not self._in_work:
            self._idle.set()
        self._window.settle(slot)
        if self._quarantine is not None:
            self._quarantine.settled(slot)
        if not self._acknowledging:
            self._acknowledge_soon()

    def _acknowledge_soon(self) -> None:
        """Have what is settled by the end of this round of the event loop acknowledged in one write."""
        if not self._acknowledging:
            self._acknowledging = True
            asyncio.get_running_loop().call_soon(self._acknowledge, context=self._context)

    def _acknowledge(self) -> None:
        self._acknowledging = False
        if self._shedding.overloaded and self._window.relaxed:
            self._shedding.relax()
        ready = self._window.ready()
        if ready and self._intake is not None:
            self._intake.acknowledge(ready)
        self._resume_if_roomy()

    def _pause(self) -> None:
        if self._intake is not None and not self._paused:
            self._paused = True
            self._intake.pause()

    def _resume_if_roomy(self) -> None:
        if self._intake is not None and self._paused and self._window.roomy and self._open:
            self._paused = False
            self._intake.resume()

    async def idle(self) -> None:
        """Wait until everything that came in is settled, and its acknowledgements are handed over."""
        await self._idle.wait()
        self._acknowledge()

    async def drain(self, timeout: float) -> int:
        """Take nothing more in and let what is in flight end.

        Args:
            timeout: Seconds to wait; then the rest is cancelled and stays with the broker.

        Returns:
            How many messages had to be cut off.
        """
        self._open = False
        self._pause()
        try:
            async with asyncio.timeout(timeout):
                await self._idle.wait()
        except TimeoutError:
            logger.warning("drain timed out; the broker will send the rest again", messages=len(self._in_work))
        cut_off = len(self._in_work)
        if self._quarantine is not None:
            await self._quarantine.close()
        await self._scheduler.cut_off()
        self._acknowledge()
        for slot in self._in_work:
            self._leave(slot.message)
        self._in_work.clear()
        return cut_off
