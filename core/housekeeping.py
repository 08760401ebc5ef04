"""Housekeeping: what a service does about its own tables while it runs."""

import asyncio
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from core.exceptions import DatabaseError
from core.instants import now

__all__ = ["remove_old_letters"]

_INTERVAL = 3600.0

logger = structlog.get_logger(__name__)


class Prunable(Protocol):
    """What grows old."""

    async def prune(self, before: datetime) -> int:
        """Remove what is older."""


async def remove_old_letters(letters: Prunable, age: float, interval: float = _INTERVAL) -> None:
    """Remove dead letters that are too old, now and then, until cancelled.

    Args:
        letters: The letters.
        age: How old they may grow, in seconds; 0 for any age.
        interval: Seconds between two looks.
    """
    while age:
        try:
            removed = await letters.prune(now() - timedelta(seconds=age))
        except DatabaseError as error:
            logger.info("old dead letters were not removed; they are looked for again", reason=str(error))
        else:
            if removed:
                logger.warning("old dead letters were removed (DEAD_LETTER_RETENTION)", letters=removed)
        await asyncio.sleep(interval)
