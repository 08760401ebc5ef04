"""Housekeeping: what a service does about its own tables while it runs."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Protocol

import structlog

from core.chores import Chore
from core.database.database import Database
from core.database.timeseries.maintenance import maintain
from core.exceptions import DatabaseError
from core.instants import now

__all__ = ["chores", "note_stop", "remove_old_letters"]

# Seconds; partitions are made for at least three hours to come.
_TIME_SERIES_EVERY = 900.0
_OLD_LETTERS_EVERY = 3600.0
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


def chores(databases: Sequence[Database], letters: Prunable, retention: float) -> list[Chore]:
    """What is to be done now and then.

    Args:
        databases: All of the service.
        letters: Its dead letters.
        retention: Their greatest age in seconds; 0 for any.
    """
    return [
        *[Chore("time series", _TIME_SERIES_EVERY, partial(maintain, database)) for database in databases],
        Chore("old dead letters", _OLD_LETTERS_EVERY, partial(remove_old_letters, letters, retention)),
    ]


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
