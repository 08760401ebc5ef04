"""Delays between attempts."""

import random

from core.backoff import Backoff


def test_bounds_double_up_to_the_limit() -> None:
    """Each delay is drawn from zero to a bound, which doubles with every attempt as far as the limit."""

    class Highest(random.Random):
        def uniform(self, a: float, b: float) -> float:
            assert 0 == a
            return b

    backoff = Backoff(first=1, limit=5, source=Highest())
    assert [1, 2, 4, 5, 5] == [backoff.next() for _ in range(5)]


def test_success_begins_anew() -> None:
    """After a success the bound is the first one again."""
    backoff = Backoff(first=1, limit=60)
    for _ in range(10):
        backoff.next()
    backoff.reset()
    assert backoff.next() <= 1


def test_delays_differ() -> None:
    """Clients that lost their broker at the same moment do not all come back at the same moment."""
    assert len({Backoff().next() for _ in range(20)}) == 20
