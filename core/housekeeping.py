"""Housekeeping: what a service does about its own tables while it runs."""

import asyncio
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from core.exceptions import DatabaseError
from core.instants import now

__all__ = ["note_stop", "remove_old_letters"]

_FAREWELL_SECONDS = 1.0

logger = structlog.get_logger(__name__)


class Prunable(Protocol):
    """What grows old."""

    async def prune(self, before: datetime) -> int:
        """Remove what is older."""


class Run(Protocol):
    """The note that a process runs."""

    async def end(self) -> None:
        """It stops in order."""


async def note_stop(run: Run) -> None:
    """Note that the service stops in order; without the note the next start is a little more careful."""
    try:
        async with asyncio.timeout(_FAREWELL_SECONDS):
            await run.end()
    except (DatabaseError, TimeoutError) as error:
        reason = str(error) or "the database does not answer"
        logger.info("the orderly stop was not noted; the next start takes it for a crash", reason=reason)


async def remove_old_letters(letters: Prunable, age: float) -> None:
    """Remove dead letters that are too old.

    Args:
        letters: The letters.
        age: How old they may grow, in seconds; 0 for any age.
    """
    removed = await letters.prune(now() - timedelta(seconds=age)) if age else 0
    if removed:
        logger.warning("old dead letters were removed (DEAD_LETTER_RETENTION)", letters=removed)
