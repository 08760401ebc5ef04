"""The framework's own statements: a deadline for them, since a server that vanished cannot time out."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from core.database.attempt import NoAnswer
from core.database.errors import translated

__all__ = ["own_work"]

# Seconds; more than two of them may pass while a connection that was found dead is closed.
_DEADLINE = 5.0


@asynccontextmanager
async def own_work(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A transaction for a few quick statements of the framework itself.

    Args:
        engine: The database.

    Yields:
        A connection of the pool; the block's end commits.

    Raises:
        NoAnswer: It took too long; the connection is given up, and so is every idle one when its turn comes.
        DatabaseError: What else the database has against it.
    """
    # SQLite cannot vanish, and whoever writes to it may have to wait for others.
    limit = None if engine.dialect.name == "sqlite" else _DEADLINE
    try:
        async with asyncio.timeout(limit):
            with translated():
                async with engine.begin() as connection:
                    yield connection
    except TimeoutError as error:
        # As SQLAlchemy does after a connection that was found broken: those beside it have gone the same way, and
        # to wait for each of them in turn would take minutes.
        engine.pool._invalidate_time = time.time()
        raise NoAnswer(
            f"the database did not answer for {limit:g} s, or had no free connection (DB_POOL_SIZE) for so long"
        ) from error
