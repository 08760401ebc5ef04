"""Another client of the database, which gets in the service's way."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from tests.conftest import FreshDatabase

__all__ = ["Rival"]

_LOCK = "SELECT latest FROM sources WHERE source = 's' AND lane = :lane FOR UPDATE"
_CHANGE = "UPDATE sources SET latest = latest WHERE source = 's' AND lane = :lane"

# Errors by which the database ends a quarrel of transactions, in the words of PostgreSQL and of MariaDB.
_BALLAST = "CREATE TABLE IF NOT EXISTS ballast (number INTEGER)", "INSERT INTO ballast SELECT seq FROM seq_1_to_1000"

_QUARREL = ("deadlock", "could not serialize", "lock wait timeout")


class Rival:
    """Locks and changes rows that the service writes, too.

    Attributes:
        quarrels: How often the database ended one of its own transactions for a deadlock or a conflict.
        rounds: Transactions that it has brought to their end.
    """

    def __init__(self, database: FreshDatabase) -> None:
        """Take the database that it shares with the service."""
        # InnoDB ends the transaction that has changed less.
        self._heavy = database.kind == "mariadb"
        self._engine = create_async_engine(database.url, poolclass=NullPool)
        self.quarrels = 0
        self.rounds = 0

    @contextlib.asynccontextmanager
    async def lock(self, lane: str) -> AsyncIterator[None]:
        """Hold the lock of a lane's row."""
        async with self._engine.connect() as connection:
            assert (await connection.execute(sa.text(_LOCK), {"lane": lane})).one()
            yield
            await connection.rollback()

    async def quarrel(self, lanes: Sequence[str]) -> None:
        """Change rows in an order of its own, again and again, until cancelled."""
        async with self._engine.connect() as connection:
            if self._heavy:
                await connection.execute(sa.text(_BALLAST[0]))
            while True:
                try:
                    await self._change_all(connection, lanes)
                    self.rounds += 1
                except exc.DBAPIError as error:
                    await connection.rollback()
                    if not any(word in str(error).lower() for word in _QUARREL):
                        raise
                    self.quarrels += 1

    async def _change_all(self, connection: AsyncConnection, lanes: Sequence[str]) -> None:
        if self._heavy:
            await connection.execute(sa.text(_BALLAST[1]))
        for lane in lanes:
            await connection.execute(sa.text(_CHANGE), {"lane": lane})
            # Long enough for the service to be in the middle of its own transaction.
            await asyncio.sleep(0.005)
        # The ballast is not to pile up.
        await (connection.rollback() if self._heavy else connection.commit())

    async def close(self) -> None:
        """Close its connections."""
        await self._engine.dispose()
