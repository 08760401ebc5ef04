"""How the handling of a message by one route ended."""

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Disposition", "Outcome", "Reason"]


class Disposition(StrEnum):
    """What became of a message."""

    PROCESSED = "processed"
    """Its action finished and everything it wrote is committed."""
    FILTERED = "filtered"
    """A middleware stopped it on purpose."""
    REJECTED = "rejected"
    """It cannot be handled; the reason is logged and counted."""
    UNROUTABLE = "unroutable"
    """No route matches its topic."""
    COPY = "copy"
    """The same message is handled under another subscription, or was already in flight."""


class Reason(StrEnum):
    """Why a message was rejected."""

    UNDECODABLE = "undecodable"
    INVALID = "invalid"
    HANDLER_ERROR = "handler error"
    TIMEOUT = "timeout"
    TOO_LARGE = "too large"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of one message on one route.

    Attributes:
        disposition: What became of it.
        reason: Why it was rejected, if it was.
        detail: The reason in words.
    """

    disposition: Disposition
    reason: Reason | None = None
    detail: str = ""


PROCESSED = Outcome(Disposition.PROCESSED)
FILTERED = Outcome(Disposition.FILTERED)
UNROUTABLE = Outcome(Disposition.UNROUTABLE)
COPY = Outcome(Disposition.COPY)
