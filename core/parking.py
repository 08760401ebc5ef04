"""Parking: how work that waits for the shared commit says so, without knowing who listens."""

from contextvars import ContextVar
from typing import Protocol

__all__ = ["Parkable", "current"]


class Parkable(Protocol):
    """Work that may wait for something that is not its own doing."""

    def park(self) -> None:
        """It waits now: its writes are queued, its clock stands still, work behind it may begin."""

    def unpark(self) -> None:
        """It goes on."""


#: The message that the running task handles, if it handles one.
current: ContextVar[Parkable | None] = ContextVar("mqueduct_current_work", default=None)
