"""When a worker counts as frozen, and when a dead one is started again. No I/O and no clock."""

from collections.abc import Callable

__all__ = ["Pulse", "Restarts"]


class Restarts:
    """The delays before a worker is started again: none at first, then longer and longer.

    Args:
        first: The first delay of a worker that keeps dying, in seconds; it doubles each time.
        limit: The longest delay.
        stable: Seconds of life after which a death counts as the first again.
    """

    def __init__(self, first: float = 0.5, limit: float = 30.0, stable: float = 30.0) -> None:
        self._first = first
        self._limit = limit
        self._stable = stable
        self._deaths = 0
        self._started = 0.0

    def started(self, now: float) -> None:
        """The worker was started.

        Args:
            now: Seconds of any clock.
        """
        self._started = now

    def ended(self, now: float) -> float:
        """The worker has ended.

        Returns:
            Seconds to wait before it is started again.
        """
        if now - self._started >= self._stable:
            self._deaths = 0
        self._deaths += 1
        if self._deaths == 1:
            return 0.0
        return min(self._first * 2.0 ** min(self._deaths - 2, 30), self._limit)


class Pulse:
    """Tells from heartbeats whether a worker is frozen.

    Args:
        now: When the worker was started, in seconds of any clock.
        patience: Seconds of silence after which it counts as frozen.
        start_patience: The same until the first heartbeat.
    """

    #: Seconds of silence after which it is worth asking whether the process is stopped.
    NOTICEABLE = 0.5
    #: Seconds between two questions after which it was the asking process that stood still.
    OWN_DELAY = 0.4

    def __init__(self, now: float, patience: float, start_patience: float = 60.0) -> None:
        self._heard = self._asked = now
        self._patience = patience
        self._limit = max(start_patience, patience)
        self._begun = False

    def beat(self, now: float) -> None:
        """A heartbeat has come in."""
        self._begun = True
        self._limit = self._patience
        self._heard = now

    def frozen(self, now: float, is_stopped: Callable[[], bool]) -> bool:
        """Ask, several times a second, whether the worker is frozen.

        Args:
            now: Seconds of the same clock.
            is_stopped: Whether the process is stopped by a signal; asked only when it is silent.
        """
        asked, self._asked = self._asked, now
        if now - asked > self.OWN_DELAY:
            # After a pause of our own, as by Ctrl-Z, its heartbeats may still lie unread.
            self._heard = max(self._heard, now - self.NOTICEABLE)
            return False
        silence = now - self._heard
        return silence > self._limit or (self._begun and silence > self.NOTICEABLE and is_stopped())
