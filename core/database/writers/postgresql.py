"""The writer for PostgreSQL: one statement per batch, its rows as arrays, over asyncpg directly."""

from collections.abc import Sequence
from typing import Any, cast

import asyncpg
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from core.database.flush import Batch
from core.database.shapes import Row
from core.database.writers.base import translated_driver
from core.database.writers.postgresql_sql import PostgreSQLStatements

__all__ = ["PostgreSQLWriter"]

_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
_CLOSED = (asyncpg.InterfaceError, asyncpg.InternalClientError)

# Long enough for a passing lock, short enough that one locked row does not hold up all others.
_LOCK_TIMEOUT = "300ms"


class PostgreSQLWriter:
    """Writes flushes over one reserved asyncpg connection.

    Args:
        engine: Whose connections are not pooled.
        name: Names this writer's high-water row; letters and digits.
    """

    def __init__(self, engine: AsyncEngine, name: str) -> None:
        self._engine = engine
        self._name = name
        self._sql = PostgreSQLStatements(engine.dialect)
        self._connection: AsyncConnection | None = None
        self._driver: asyncpg.Connection[Any] | None = None
        self._backend = 0
        self.uncertain = False

    async def open(self) -> None:
        """Connect and end what an older connection of this writer may still be doing."""
        with translated_driver(_ERRORS, _CLOSED):
            self._connection = await self._engine.connect()
            raw = await self._connection.get_raw_connection()
            driver = self._driver = cast("asyncpg.Connection[Any]", raw.driver_connection)
            await driver.execute(f"SET lock_timeout = '{_LOCK_TIMEOUT}'")
            if self._backend:
                await driver.execute("SELECT pg_terminate_backend($1)", self._backend)
            self._backend = driver.get_server_pid()

    async def flush(self, sequence: int, batches: Sequence[Batch]) -> None:
        """Write batches and commit."""
        driver = self._driver
        assert driver is not None, "open() comes first"
        self.uncertain = False
        with translated_driver(_ERRORS, _CLOSED):
            await driver.execute(f"BEGIN; {self._sql.advance(self._name, sequence)}")
            for batch in batches:
                await self._write(driver, batch)
            self.uncertain = True
            await driver.execute("COMMIT")
            self.uncertain = False

    async def _write(self, driver: "asyncpg.Connection[Any]", batch: Batch) -> None:
        shape = batch.shape
        if batch.upsert:
            await driver.execute(self._sql.upsert(shape, batch.newer_than), *_arrays(batch.rows))
        elif batch.wants_rows or shape.key:
            await self._insert(driver, batch)
        else:
            await driver.copy_records_to_table(
                shape.table.name,
                records=[row.bound for row in batch.rows],
                columns=[column.name for column in shape.columns],
                schema_name=shape.table.schema,
            )

    async def _insert(self, driver: "asyncpg.Connection[Any]", batch: Batch) -> None:
        rows, shape = batch.rows, batch.shape
        returned = await driver.fetch(self._sql.insert(shape), *_arrays(rows))
        if len(returned) < len(rows):
            await self._find_new_ones(driver, batch, returned)
            return
        if shape.generated:
            # Ids are counted up in the order of the rows; in which order they come back is not said.
            returned.sort(key=_first)
        width = len(shape.generated)
        for row, record in zip(rows, returned, strict=True):
            row.generated = record[:width]
            row.duplicate = False

    async def _find_new_ones(self, driver: "asyncpg.Connection[Any]", batch: Batch, returned: list[Any]) -> None:
        """Tell which rows of a batch were written, when some were there already."""
        shape = batch.shape
        width = len(shape.primary_key)
        new = {tuple(record[-width:]): record for record in returned}
        positions = [shape.attributes.index(name) for name in shape.key]
        keys = [[row.bound[position] for row in batch.rows] for position in positions]
        for row in batch.rows:
            row.duplicate = True
        for record in await driver.fetch(self._sql.lookup(shape), *keys):
            written = new.get(tuple(record[1:]))
            if written is not None:
                row = batch.rows[record[0] - 1]
                row.generated = written[: len(shape.generated)]
                row.duplicate = False

    async def rollback(self) -> None:
        """Give up the transaction."""
        assert self._driver is not None, "open() comes first"
        with translated_driver(_ERRORS, _CLOSED):
            await self._driver.execute("ROLLBACK")

    async def reached(self, sequence: int) -> bool:
        """Whether a flush was committed; waits for an older connection that is still committing."""
        assert self._driver is not None, "open() comes first"
        with translated_driver(_ERRORS, _CLOSED):
            found = await self._driver.fetchval(
                "SELECT sequence FROM mqueduct_writers WHERE writer = $1 FOR UPDATE", self._name
            )
        return found is not None and found >= sequence

    async def close(self) -> None:
        """Give the connection back, in whatever state it is."""
        connection, self._connection, self._driver = self._connection, None, None
        if connection is not None:
            with translated_driver(_ERRORS, _CLOSED):
                await connection.invalidate()
                await connection.close()


def _first(record: Any) -> Any:
    return record[0]


def _arrays(rows: Sequence[Row]) -> list[tuple[Any, ...]]:
    return list(zip(*[row.bound for row in rows], strict=True))
