"""Outages: telling errors of the infrastructure from errors of a message, and speaking of them once."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence

import structlog

from core.exceptions import (
    BrokerUnavailable,
    DatabaseError,
    DatabaseUnavailable,
    InvalidPayload,
    InvalidValue,
    MqueductError,
    Reject,
    SchemaError,
    UndecodablePayload,
    words_of,
)
from core.ingest.outcome import Reason

__all__ = ["OUTAGES", "Outages", "Ping", "Translate", "Unanswered"]

Translate = Callable[[BaseException], MqueductError | None]
Ping = Callable[[], Awaitable[object]]

OUTAGES = (DatabaseUnavailable, SchemaError, BrokerUnavailable)
"""Errors that say nothing against the message: it is held and tried again."""

# Seconds for the database to answer a ping.
_PATIENCE = 2.0


class Unanswered(DatabaseUnavailable):
    """A handler was cut off while the database owed it an answer: to a long query of its own, perhaps."""


# Where a handler is cut off while a server does not answer, by the beginning of a module's name.
_WAITING_FOR = {
    "core.database.": Unanswered,
    "sqlalchemy.": Unanswered,
    "core.mqtt.": BrokerUnavailable,
}

# Everything else is the handler's.
_REASONS = (
    (UndecodablePayload, Reason.UNDECODABLE),
    (InvalidPayload, Reason.INVALID),
    (Reject, Reason.REJECTED),
    (InvalidValue, Reason.POISON_ROW),
)

logger = structlog.get_logger(__name__)


class Outages:
    """Finds the outage behind an error, and logs when holding begins and ends, not for every message.

    Args:
        translate: Turns a foreign error into ours, or returns ``None``.
        ping: Raises a ``DatabaseError`` unless the databases serve; without it they are taken not to.
    """

    def __init__(self, translate: Translate, ping: Ping | None = None) -> None:
        self._translate = translate
        self._ping = ping
        self._held: Counter[str] = Counter()
        #: Attempts made because the handler failed in the one before.
        self.repetitions = 0

    def behind(self, error: BaseException) -> MqueductError | None:
        """The outage that led to an error, also when the handler raised another error in its place."""
        causes = list(_causes(error))
        for cause in causes:
            ours = self._ours(cause)
            if isinstance(ours, OUTAGES):
                return ours
        if any(isinstance(cause, TimeoutError) for cause in causes):
            return _silence(causes)
        return None

    async def at_fault(self, outage: MqueductError | None) -> bool:
        """Whether a handler was cut off within a database that serves others: then that is no outage."""
        if not isinstance(outage, Unanswered) or self._ping is None:
            return False
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._ping()
        except (DatabaseError, OSError):
            return False
        return True

    def unknown(self, error: BaseException) -> bool:
        """Whether the database said something of which nobody knows what it means for the message."""
        return any(type(self._ours(cause)) is DatabaseError for cause in _causes(error))

    def reason(self, error: BaseException) -> Reason:
        """The category of an error that is the message's own."""
        ours = self._ours(error)
        return next((reason for kind, reason in _REASONS if isinstance(ours, kind)), Reason.HANDLER_ERROR)

    def _ours(self, error: BaseException) -> MqueductError | None:
        return error if isinstance(error, MqueductError) else self._translate(error)

    def repeated(self) -> None:
        """Note that a handler which failed is tried again."""
        self.repetitions += 1

    @property
    def held(self) -> int:
        """How many messages are held now."""
        return self._held.total()

    def hold(self, error: MqueductError, topic: str) -> str:
        """Note that a message waits; returns what ``release`` needs."""
        # Each mistake in the schema is worth a line; that a server is away reads differently every time.
        kind = DatabaseUnavailable if isinstance(error, Unanswered) else type(error)
        key = words_of(error) if isinstance(error, SchemaError) else kind.__name__
        self._held[key] += 1
        if self._held[key] == 1:
            logger.error("messages are held until this is mended", reason=words_of(error), topic=topic)
        return key

    def release(self, key: str) -> None:
        """Note that a held message went through."""
        self._held[key] -= 1
        if not self._held[key]:
            del self._held[key]
            logger.info("no message is held any more", was=key)


def _silence(causes: Sequence[BaseException]) -> MqueductError | None:
    """The outage of a server that neither answered nor refused until the time ran out."""
    for module in (module for cause in causes for module in _modules(cause)):
        for beginning, outage in _WAITING_FOR.items():
            if module.startswith(beginning):
                return outage("no answer within the time of the handler")
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Walk from an error to all that led to it: causes, contexts, members of groups."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        cause = waiting.pop()
        if cause is None or id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        waiting += [cause.__context__, cause.__cause__]
        if isinstance(cause, BaseExceptionGroup):
            waiting += cause.exceptions


def _modules(error: BaseException) -> Iterator[str]:
    step = error.__traceback__
    while step is not None:
        yield str(step.tb_frame.f_globals.get("__name__", ""))
        step = step.tb_next
