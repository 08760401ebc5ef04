"""What a service does now and then beside its messages."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from core.backoff import Backoff
from core.exceptions import DatabaseUnavailable, MqueductError

__all__ = ["Chore", "repeat"]

# Seconds that a chore may take at least.
_LEAST_TIME = 600.0

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Chore:
    """Something to be done at the start and then again and again.

    Attributes:
        name: For the log.
        every: Seconds from the end of one time to the next.
        work: Does it; must bear being cancelled at any moment, and being done by several processes at once.
    """

    name: str
    every: float
    work: Callable[[], Awaitable[object]]


async def _in_time(chore: Chore) -> None:
    limit = max(chore.every, _LEAST_TIME)
    try:
        async with asyncio.timeout(limit):
            await chore.work()
    except TimeoutError as error:
        raise DatabaseUnavailable(f"it was not done after {limit:g} s; a server that vanished never answers") from error


async def repeat(chore: Chore) -> None:
    """Do a chore again and again, until cancelled.

    An outage of the database is waited out with growing pauses, and told of once; after another error of ours,
    which is logged, the chore has its next turn as if nothing had happened.
    """
    backoff = Backoff(first=1.0, limit=max(1.0, chore.every))
    failing = False
    while True:
        try:
            await _in_time(chore)
        except DatabaseUnavailable as error:
            log = logger.debug if failing else logger.warning
            log("a chore waits for the database", chore=chore.name, reason=str(error))
            failing = True
            await asyncio.sleep(backoff.next())
            continue
        except MqueductError as error:
            logger.error("a chore failed; its next turn comes", chore=chore.name, reason=str(error))
        failing = False
        backoff.reset()
        # Services that were started together need not come together for ever.
        await asyncio.sleep(chore.every * random.uniform(0.9, 1.1))  # noqa: S311
