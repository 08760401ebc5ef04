"""Several databases at once."""

import asyncio
from collections.abc import Mapping

import structlog

from core.backoff import Backoff
from core.database.attempt import another
from core.database.database import Database
from core.exceptions import DatabaseError, DatabaseUnavailable

__all__ = ["ping_all", "reach_all"]

logger = structlog.get_logger(__name__)


async def reach_all(first: Database, further: Mapping[str, Database], patience: float) -> None:
    """Make a round trip to each, waiting for those that cannot serve yet.

    Args:
        first: The one that needs no name.
        further: The others by name.
        patience: Seconds to wait at most.

    Raises:
        DatabaseUnavailable: One could not be reached in time; the message names it.
        SchemaError: It refuses the user, the password or the database's name.
    """
    backoff = Backoff(first=0.2, limit=3.0)
    deadline = asyncio.get_running_loop().time() + patience
    said = False
    while True:
        try:
            return await ping_all(first, further)
        except DatabaseUnavailable as error:
            if asyncio.get_running_loop().time() > deadline:
                raise
            if not said:
                logger.warning("waiting for the database", reason=str(error), patience=patience)
            said = True
        await asyncio.sleep(backoff.next())


async def ping_all(first: Database, further: Mapping[str, Database]) -> None:
    """Make a round trip to each.

    Args:
        first: The one that needs no name.
        further: The others by name.

    Raises:
        DatabaseUnavailable: One cannot serve now; the message names it.
        SchemaError: It refuses the user, the password or the database's name.
    """
    await first.ping()
    for name, database in further.items():
        try:
            await database.ping()
        except DatabaseError as error:
            raise another(error, f"database {name!r}: {error}") from error
