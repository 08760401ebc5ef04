"""Setting messages aside: what cannot be handled is kept, with the reason, before it is acknowledged."""

import asyncio
from collections.abc import Callable
from typing import Protocol

import structlog

from core.backoff import Backoff
from core.dead_letter import DeadLetter
from core.exceptions import DatabaseError, described, words_of
from core.ingest.outage import Outages
from core.ingest.outcome import Disposition, Failure, Outcome, Reason
from core.instants import now
from core.message import Message
from core.redaction import redact, redacted_traceback
from core.routing.route import Route

__all__ = ["DeadLetterOffice", "LetterStore", "letter_for"]

# For whoever wrote the service to mend; the rest is what senders do wrong.
_OURS = (Reason.HANDLER_ERROR, Reason.TIMEOUT, Reason.POISON_ROW, Reason.CRASH_LOOP)
_SHOWN_TOPIC = 200

logger = structlog.get_logger(__name__)


class LetterStore(Protocol):
    """Where dead letters are kept."""

    async def add(self, letter: DeadLetter) -> bool:
        """Store a letter for good; returns whether it was not there yet."""


class DeadLetterOffice:
    """Sets messages aside.

    Args:
        store: Keeps the letters; ``None`` only logs, for tests.
        outages: Speaks of outages, which are waited out here too.
        forward: Called with every new letter once it is stored.
    """

    def __init__(
        self, store: LetterStore | None, outages: Outages, forward: Callable[[DeadLetter], None] | None = None
    ) -> None:
        self._store = store
        self._outages = outages
        self._forward = forward

    async def set_aside(self, message: Message, route: Route | None, failure: Failure, attempts: int = 0) -> Outcome:
        """Store a letter, however long the database is away, and tell.

        Args:
            message: What cannot be handled.
            route: By which route; ``None`` where none matches.
            failure: Why.
            attempts: How often it was tried.

        Returns:
            The outcome, once the letter is committed.
        """
        letter = letter_for(message, route, failure, attempts)
        new = await self._stored(letter)
        tell = logger.error if failure.reason in _OURS else logger.warning
        tell(
            "message dead-lettered",
            topic=message.topic[:_SHOWN_TOPIC],
            reason=failure.reason.value,
            error=str(failure),
            action=None if route is None else route.action_name,
            attempts=attempts,
            exc_info=failure.error if failure.reason is Reason.HANDLER_ERROR else None,
        )
        if new and self._forward is not None:
            self._forward(letter)
        return Outcome(Disposition.DEAD_LETTERED, failure.reason, words_of(failure.error))

    async def _stored(self, letter: DeadLetter) -> bool:
        if self._store is None:
            return True
        backoff = Backoff(first=0.2, limit=5.0)
        held: str | None = None
        while True:
            try:
                new = await self._store.add(letter)
            except Exception as error:  # noqa: BLE001 - whatever is wrong
                # The message is neither lost nor acknowledged meanwhile.
                held = held or self._outages.hold(_ours(error), letter.message.topic)
                await asyncio.sleep(backoff.next())
            else:
                if held is not None:
                    self._outages.release(held)
                return new


def _ours(error: Exception) -> DatabaseError:
    return error if isinstance(error, DatabaseError) else DatabaseError(described(error))


def letter_for(message: Message, route: Route | None, failure: Failure, attempts: int) -> DeadLetter:
    """Write a letter, without any secret of this process."""
    return DeadLetter(
        message=message,
        route=None if route is None else route.label,
        reason=failure.reason.value,
        error=redact(str(failure)),
        failed_at=now(),
        traceback=redacted_traceback(failure.error) if failure.unexpected else None,
        attempts=attempts,
        size=message.truncated_size or len(message.payload),
    )
