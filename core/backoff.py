"""How long to wait before trying again."""

import random

__all__ = ["Backoff"]


class Backoff:
    """Exponential backoff with full jitter.

    Args:
        first: Upper bound of the first delay, in seconds.
        limit: Upper bound of every delay, in seconds.
        source: Where chance comes from; tests give a seeded one.
    """

    def __init__(self, first: float = 0.5, limit: float = 30.0, source: random.Random | None = None) -> None:
        self._first = first
        self._limit = limit
        self._bound = first
        # Not for secrets: jitter only spreads clients over time.
        self._uniform = (source or random).uniform

    def next(self) -> float:
        """The next delay in seconds; its bound doubles with every call."""
        delay = self._uniform(0, self._bound)
        self._bound = min(self._bound * 2, self._limit)
        return delay

    def reset(self) -> None:
        """Begin anew after a success."""
        self._bound = self._first
