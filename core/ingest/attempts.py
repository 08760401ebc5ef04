"""Attempts: whether a message whose handler has failed is tried again, and when."""

import asyncio

import structlog

from core.backoff import Backoff
from core.exceptions import Contention, MqueductError, described
from core.ingest.deadlines import Deadline
from core.ingest.outage import Outages
from core.ingest.outcome import Failure
from core.ingest.work import Work

__all__ = ["Attempts"]

# Seconds: a message is tried within five seconds of the end of an outage, and every route's pauses are bounded.
_OUTAGE_PAUSES = 0.2, 4.0
_LONGEST_PAUSE = 30.0

# For errors of the database that nobody has classified, and for handlers that are cut off in it although it serves:
# it may have come back a moment ago, and not over every connection.
_UNCERTAIN_RETRIES = 3

logger = structlog.get_logger(__name__)


class Attempts:
    """All attempts of one message on one route; made when the first has failed.

    Outages are waited out for ever, and their time is nobody's. Errors are repeated as often as the route
    says, inside the time of the handler.

    Args:
        work: What is tried; its route says how often and how quickly.
        clock: The handler's.
        outages: Notes that the message is held.
    """

    def __init__(self, work: Work, clock: Deadline, outages: Outages) -> None:
        self._work = work
        self._route = route = work.match.route
        self._clock = clock
        self._outages = outages
        self._held: str | None = None
        self._outage_pauses = Backoff(*_OUTAGE_PAUSES)
        self._pauses = Backoff(route.backoff, max(route.backoff, _LONGEST_PAUSE))
        #: How often the handler has run and failed by itself.
        self.failed = 0
        self._contended = False

    async def another(self, failure: Failure) -> bool:
        """Wait for the next attempt, if there is one; the clock of the handler then runs again."""
        cut_off = await self._outages.at_fault(failure.outage)
        if failure.outage is not None and not cut_off:
            await self._wait_out(failure.outage)
            return True
        self.failed += 1
        uncertain = cut_off or failure.unknown
        if not (cut_off or failure.repeatable) or self.failed > self._allowed(uncertain=uncertain):
            return False
        pause = self._pauses.next()
        if not cut_off and pause >= self._clock.remaining():
            return False
        logger.info(
            "handler failed; it is tried again",
            action=self._route.action_name,
            topic=self._work.message.topic,
            error=described(failure.error),
            attempt=self.failed + 1,
        )
        self._outages.repeated()
        await asyncio.sleep(pause)
        if cut_off:
            self._clock.begin()
        else:
            self._clock.go_on()
        return True

    def _allowed(self, *, uncertain: bool) -> int:
        if self._work.together:
            # Each of its messages has attempts of its own, and one of them alone may be what is wrong.
            return 0
        return max(self._route.retries, _UNCERTAIN_RETRIES if uncertain else 0)

    async def _wait_out(self, outage: MqueductError) -> None:
        # Two transactions that met are no outage yet; that they meet again and again is told.
        if self._held is None and (self._contended or not isinstance(outage, Contention)):
            self._held = self._outages.hold(outage, self._work.message.topic)
        self._contended = True
        await asyncio.sleep(self._outage_pauses.next())
        self._clock.begin()

    def end(self) -> None:
        """The message has its outcome."""
        if self._held is not None:
            self._outages.release(self._held)
