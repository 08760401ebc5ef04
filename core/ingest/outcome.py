"""How the handling of a message by one route ended."""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from core.exceptions import MqueductError, described, words_of

__all__ = ["Disposition", "Failure", "Outcome", "Reason"]


class Disposition(StrEnum):
    """What became of a message."""

    PROCESSED = "processed"
    """Its action finished and everything it wrote is committed."""
    FILTERED = "filtered"
    """A middleware stopped it on purpose."""
    DEAD_LETTERED = "dead-lettered"
    """It cannot be handled, and is kept in the table ``dead_letters`` with the reason."""
    UNROUTABLE = "unroutable"
    """No route matches its topic, and it is not kept."""
    COPY = "copy"
    """The same message is handled under another subscription, or was already in flight."""


class Reason(StrEnum):
    """Why a message became a dead letter."""

    UNDECODABLE = "undecodable"
    """The payload is not in the format that the route decodes."""
    INVALID = "invalid"
    """It decodes, but does not fit the declared type."""
    REJECTED = "rejected"
    """The user's code raised ``Reject``."""
    HANDLER_ERROR = "handler-error"
    """The user's code raised something else."""
    TIMEOUT = "timeout"
    """The handler took too long."""
    POISON_ROW = "poison-row"
    """The database refuses a value that the handler wanted to write."""
    TOO_LARGE = "too-large"
    """The payload is larger than what is taken in; only its beginning is kept."""
    BAD_TOPIC = "bad-topic"
    """The topic is longer or deeper than what is taken in, or contains NUL."""
    UNROUTABLE = "unroutable"
    """No route matches the topic."""
    CRASH_LOOP = "crash-loop"
    """The process went down again and again while it handled this message."""


class Failure(NamedTuple):
    """What keeps a message from being handled.

    Attributes:
        reason: The category, if it is not tried again.
        error: What the handler raised, or what else is wrong.
        outage: The infrastructure's trouble that led to it; then it says nothing against the message.
        unknown: Whether it is an error of the database of which nobody knows what it means.
    """

    reason: Reason
    error: BaseException
    outage: MqueductError | None = None
    unknown: bool = False

    @property
    def repeatable(self) -> bool:
        """Whether another attempt could end otherwise: not for a bad payload, nor for late or broken handlers."""
        return self.reason in (Reason.HANDLER_ERROR, Reason.POISON_ROW) and isinstance(self.error, Exception)

    @property
    def unexpected(self) -> bool:
        """Whether a developer will want to see where it was raised."""
        return self.reason in (Reason.HANDLER_ERROR, Reason.TIMEOUT, Reason.POISON_ROW)

    def __str__(self) -> str:
        if self.reason is Reason.HANDLER_ERROR:
            return described(self.error)
        return words_of(self.error)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of one message on one route.

    Attributes:
        disposition: What became of it.
        reason: Why it became a dead letter, if it did.
        detail: The reason in words.
    """

    disposition: Disposition
    reason: Reason | None = None
    detail: str = ""


PROCESSED = Outcome(Disposition.PROCESSED)
FILTERED = Outcome(Disposition.FILTERED)
UNROUTABLE = Outcome(Disposition.UNROUTABLE)
COPY = Outcome(Disposition.COPY)
