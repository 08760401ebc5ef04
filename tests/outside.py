"""A second client of a test's database: sees what is committed, and can get in the service's way."""

import contextlib
from collections.abc import AsyncIterator

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.ext.asyncio import create_async_engine

from tests.conftest import FreshDatabase

# Each lets others read readings and nobody write them.
_LOCKS = {
    "postgres": "LOCK TABLE sensor_readings IN EXCLUSIVE MODE",
    "mariadb": "SELECT count(*) FROM sensor_readings FOR UPDATE",
    "sqlite": "BEGIN IMMEDIATE",
}


class Outside:
    """A client of a database that knows nothing of the code under test."""

    def __init__(self, database: FreshDatabase) -> None:
        self._kind = database.kind
        self._engine = create_async_engine(database.url)

    async def value(self, statement: str) -> object:
        """The one value of a SELECT; None while its table does not exist."""
        try:
            async with self._engine.connect() as connection:
                return await connection.scalar(sa.text(statement))
        except (exc.ProgrammingError, exc.OperationalError) as error:
            if "exist" not in str(error) and "no such table" not in str(error):
                raise
            return None

    async def readings(self, where: str = "1 = 1") -> int:
        """How many readings are committed."""
        return int(str(await self.value(f"SELECT count(*) FROM sensor_readings WHERE {where}") or 0))  # noqa: S608

    @contextlib.asynccontextmanager
    async def lock(self) -> AsyncIterator[None]:
        """Let nobody write readings, as somebody's long transaction would."""
        async with self._engine.connect() as connection:
            await connection.exec_driver_sql(_LOCKS[self._kind])
            try:
                yield
            finally:
                await connection.rollback()

    async def close(self) -> None:
        await self._engine.dispose()


@contextlib.asynccontextmanager
async def looking_into(database: FreshDatabase) -> AsyncIterator[Outside]:
    """Look into a database from outside for a while."""
    outside = Outside(database)
    try:
        yield outside
    finally:
        await outside.close()
