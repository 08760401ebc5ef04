"""One flush from its first try to its last: what is remembered in between, and when it is given up."""

import copy
import math
import random
import time

from core.backoff import Backoff
from core.exceptions import Contention, DatabaseError, DatabaseUnavailable

__all__ = ["Attempt", "NoAnswer", "Outage", "another"]

# Seconds.
_LONGEST_PAUSE = 2.0
_FIRST_LIMIT = 5.0
_LIMIT_PER_ROW = 0.001


class NoAnswer(DatabaseUnavailable):
    """The server neither answered nor refused until our own time for it was up."""


class Attempt:
    """What is remembered from try to try of one flush.

    Attributes:
        uncertain: The number of a flush that may have been committed although it failed.
        reconnected: Whether a dead connection was replaced already.
    """

    def __init__(self, patience: float, lock_patience: float) -> None:
        now = time.monotonic()
        self.uncertain: int | None = None
        self.reconnected = False
        self._gives_up = now + patience
        self._stops_contending = now + lock_patience
        self._backoff = Backoff(first=0.1, limit=_LONGEST_PAUSE)
        # Who does not try again gives all the time there is at once.
        self._limit = _FIRST_LIMIT if patience else math.inf
        self.pause = self._backoff.next

    def limit(self, rows: int, longest: float | None) -> float | None:
        """Seconds for the next try.

        Few at first, so that a server which has vanished is soon found out; twice as many each time, so that one
        which is only slow is not interrupted for ever.

        Args:
            rows: How many are to be written.
            longest: Seconds that no try takes longer than; ``None`` for a database that cannot vanish.
        """
        limit = self._limit + rows * _LIMIT_PER_ROW
        self._limit *= 2
        return None if longest is None else min(limit, longest)

    def note(self, uncertain: int | None) -> None:
        """Remember a flush whose end is not known; that of an earlier one still is not known either."""
        self.uncertain = uncertain if uncertain is not None else self.uncertain

    def lost(self, error: DatabaseUnavailable) -> None:
        """Raise when an outage has lasted for too long."""
        if time.monotonic() >= self._gives_up:
            raise Outage(error, self._doubt()) from error

    def lost_to(self, error: Contention) -> None:
        """Raise when others have been in the way for too long."""
        if time.monotonic() >= self._stops_contending:
            raise Outage(error, self._doubt()) from error

    def _doubt(self) -> str:
        return "; whether the last write was committed is not known" if self.uncertain is not None else ""

    @staticmethod
    def short_pause() -> float:
        """Seconds after which two writers that met will hardly meet again."""
        return random.uniform(0.001, 0.05)  # noqa: S311 - only spreads them


class Outage(DatabaseError):
    """Nobody's fault, so nothing is halved: an outage that outlasted the patience, or a schema that is not ours."""

    def __init__(self, problem: DatabaseError, doubt: str = "") -> None:
        super().__init__(f"{problem}{doubt}")
        self._problem = problem

    def problem(self) -> DatabaseError:
        """The error for one of those who wait."""
        return another(self._problem, str(self))


def another(error: DatabaseError, text: str | None = None) -> DatabaseError:
    """An error of its own for each who gets it: raising one object in many tasks would pile up their tracebacks."""
    another = copy.copy(error)
    if text is not None:
        another.args = (text,)
    another.__cause__ = error.__cause__
    return another
