"""The watchdog: notices routes that get no messages although they should, and tells once."""

import asyncio
from collections.abc import Callable, Sequence
from time import monotonic
from typing import NamedTuple

import structlog

__all__ = ["Expectation", "Watchdog"]

# Seconds between two looks: a part of the shortest silence that is told, within these bounds.
_SHORTEST_LOOK = 0.05
_LONGEST_LOOK = 10.0

logger = structlog.get_logger(__name__)


class Expectation(NamedTuple):
    """A route that should never be silent for long.

    Attributes:
        route: How people know it.
        within: Seconds of silence that are normal.
    """

    route: str
    within: float


class Watchdog:
    """Compares the last message of each route with what is expected of it. ``look`` is synchronous.

    While this service itself cannot take messages in, silence says nothing of the devices: it counts anew
    when it can again.

    Args:
        expectations: The routes to watch.
        last: When the last message of each came, in the same order, in seconds of the monotonic clock.
        able: Whether messages can come in.
    """

    def __init__(
        self, expectations: Sequence[Expectation], last: Callable[[], Sequence[float]], able: Callable[[], bool]
    ) -> None:
        self._expectations = expectations
        self._last = last
        self._able = able
        self._since = 0.0
        self._silent: set[int] = set()
        #: How often a route fell silent.
        self.silences = 0

    def __repr__(self) -> str:
        return f"<Watchdog routes={len(self._expectations)} silent={len(self._silent)}>"

    async def run(self) -> None:
        """Look now and then, until cancelled."""
        self._since = monotonic()
        shortest = min([expectation.within for expectation in self._expectations], default=_LONGEST_LOOK * 10)
        pause = min(max(shortest / 10, _SHORTEST_LOOK), _LONGEST_LOOK)
        while True:
            await asyncio.sleep(pause)
            self.look(monotonic())

    def look(self, now: float) -> None:
        """Tell of routes that have fallen silent since the last look, and of those that speak again."""
        if not self._able():
            self._since = now
        for number, (expectation, last) in enumerate(zip(self._expectations, self._last(), strict=True)):
            silence = now - max(last, self._since)
            if silence <= expectation.within:
                # Not merely because the counting began anew.
                if number in self._silent and last >= self._since:
                    self._silent.remove(number)
                    logger.info("messages come in again", route=expectation.route)
            elif number not in self._silent:
                self._silent.add(number)
                self.silences += 1
                logger.warning(
                    "no message for longer than expected",
                    route=expectation.route,
                    expected_every=expectation.within,
                    silence=round(silence, 1),
                )
