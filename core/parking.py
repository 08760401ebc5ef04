"""Parking: how work that waits for the shared commit says so, without knowing who listens."""

from contextvars import ContextVar
from typing import Protocol

from core.exceptions import MqueductError

__all__ = ["Parkable", "current"]


class Parkable(Protocol):
    """Work that may wait for something that is not its own doing, or meet trouble that is not its fault."""

    def park(self) -> None:
        """It waits now: its writes are queued, its clock stands still, work behind it may begin."""

    def unpark(self) -> None:
        """It goes on."""

    def await_thread(self) -> None:
        """It waits for a thread to run in, and its clock stands still."""

    def got_thread(self) -> None:
        """It runs, or waits no longer; called in the thread."""

    def meet(self, trouble: MqueductError) -> None:
        """The infrastructure has failed it, whether it lets anybody know or not."""

    def committed(self) -> None:
        """A transaction of its own is about to be committed."""


#: The message that the running task handles, if it handles one.
current: ContextVar[Parkable | None] = ContextVar("mqueduct_current_work", default=None)
