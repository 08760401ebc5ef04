"""The writer for MariaDB and MySQL: one multi-row statement per batch over aiomysql directly."""

from collections.abc import Sequence
from typing import Any, cast

import aiomysql
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from core.database.flush import Batch
from core.database.shapes import Row, Shape
from core.database.writers.base import translated_driver
from core.database.writers.mysql_sql import MySQLStatements

__all__ = ["MySQLWriter"]

_ERRORS = (aiomysql.MySQLError,)
_CLOSED = (aiomysql.InterfaceError,)

# Seconds: the server's smallest lock timeout.
_LOCK_TIMEOUT = 1

# Below MariaDB's and MySQL's default max_allowed_packet of 16 MiB with ordinary rows.
_MOST_ROWS = 2000


class MySQLWriter:
    """Writes flushes over one reserved aiomysql connection.

    Args:
        engine: Whose one connection is reserved for this writer.
        name: Names this writer's high-water row; letters and digits.
    """

    def __init__(self, engine: AsyncEngine, name: str) -> None:
        self._engine = engine
        self._name = name
        self._sql = MySQLStatements(engine.dialect)
        self._connection: AsyncConnection | None = None
        self._driver: aiomysql.Connection | None = None
        self._thread = 0
        self._returning = False
        self._highest: dict[Shape, Any] = {}
        self.uncertain = False

    async def open(self) -> None:
        """Connect and end what an older connection of this writer may still be doing."""
        with translated_driver(_ERRORS, _CLOSED):
            self._connection = await self._engine.connect()
            raw = await self._connection.get_raw_connection()
            self._driver = cast("aiomysql.Connection", raw.driver_connection)
            self._returning = "mariadb" in self._driver.get_server_info().lower()
            await self._execute(f"SET SESSION innodb_lock_wait_timeout = {_LOCK_TIMEOUT}, autocommit = 1")
            if self._thread:
                await self._end_thread(self._thread)
            self._thread = self._driver.thread_id()
            self._highest.clear()

    async def _end_thread(self, thread: int) -> None:
        try:
            await self._execute(f"KILL {thread}")
        except aiomysql.OperationalError as error:
            # 1094: it is gone already.
            if error.args[0] != 1094:
                raise

    async def flush(self, sequence: int, batches: Sequence[Batch]) -> None:
        """Write batches and commit."""
        self.uncertain = False
        with translated_driver(_ERRORS, _CLOSED):
            await self._execute("BEGIN")
            await self._execute(self._sql.advance(self._name, sequence))
            for batch in batches:
                for start in range(0, len(batch.rows), _MOST_ROWS):
                    await self._write(batch, batch.rows[start : start + _MOST_ROWS])
            self.uncertain = True
            await self._execute("COMMIT")
            self.uncertain = False

    async def _write(self, batch: Batch, rows: Sequence[Row]) -> None:
        shape = batch.shape
        values = [value for row in rows for value in row.bound]
        if batch.upsert:
            await self._execute(self._sql.upsert(shape, batch.newer_than, len(rows)), values)
        elif not shape.generated:
            await self._write_known(shape, rows, values)
        elif self._returning:
            await self._write_returning(shape, rows, values)
        else:
            await self._write_and_look(shape, rows, values)

    async def _write_known(self, shape: Shape, rows: Sequence[Row], values: list[Any]) -> None:
        """Write rows whose primary keys the caller chose; those that are there already are duplicates."""
        there = await self._look(shape, rows) if shape.key else {}
        for row in rows:
            row.duplicate = shape.key_of(row) in there
        await self._execute(self._sql.insert(shape, len(rows)), values)

    async def _write_returning(self, shape: Shape, rows: Sequence[Row], values: list[Any]) -> None:
        """Write rows on MariaDB, which returns the ids of new and of existing rows alike, in their order."""
        highest = await self._highest_id(shape) if shape.key else None
        returned = await self._execute(self._sql.insert(shape, len(rows), returning=True), values)
        for row, record in zip(rows, returned, strict=True):
            row.generated = record
            row.duplicate = highest is not None and record[0] <= highest
            if highest is not None and record[0] > self._highest[shape]:
                self._highest[shape] = record[0]

    async def _highest_id(self, shape: Shape) -> Any:
        """The highest id of a table before this flush; what is not above it was there before."""
        if shape not in self._highest:
            found = await self._execute(self._sql.highest(shape))
            self._highest[shape] = found[0][0] or 0
        return self._highest[shape]

    async def _write_and_look(self, shape: Shape, rows: Sequence[Row], values: list[Any]) -> None:
        """Write rows on MySQL, which returns nothing: look at what is there before and after."""
        before = await self._look(shape, rows) if shape.key else {}
        if not shape.key:
            for row in rows:
                await self._execute(self._sql.insert(shape, 1), row.bound)
                row.generated = (await self._execute(self._sql.last(shape)))[0]
            return
        await self._execute(self._sql.insert(shape, len(rows)), values)
        after = await self._look(shape, rows)
        for row in rows:
            key = shape.key_of(row)
            row.duplicate = key in before or key not in after
            row.generated = after.get(key, ())

    async def _look(self, shape: Shape, rows: Sequence[Row]) -> dict[Any, Any]:
        """The generated values of the rows that are there, by natural key."""
        positions = [shape.attributes.index(name) for name in shape.key]
        bound = {tuple([row.bound[p] for p in positions]): shape.key_of(row) for row in rows}
        found = await self._execute(self._sql.lookup(shape, len(rows)), [value for key in bound for value in key])
        width = len(positions)
        return {bound[tuple(r[:width])]: r[width:] for r in found if tuple(r[:width]) in bound}

    async def _execute(self, statement: str, values: Sequence[Any] = ()) -> Any:
        assert self._driver is not None, "open() comes first"
        cursor = await self._driver.cursor()
        try:
            await cursor.execute(statement, values or None)
            return await cursor.fetchall()
        finally:
            await cursor.close()

    async def rollback(self) -> None:
        """Give up the transaction."""
        with translated_driver(_ERRORS, _CLOSED):
            await self._execute("ROLLBACK")
        self._highest.clear()

    async def reached(self, sequence: int) -> bool:
        """Whether a flush was committed; waits for an older connection that is still committing."""
        with translated_driver(_ERRORS, _CLOSED):
            found = await self._execute(
                "SELECT sequence FROM mqueduct_writers WHERE writer = %s FOR UPDATE", [self._name]
            )
        return bool(found) and found[0][0] >= sequence

    async def close(self) -> None:
        """Give the connection back, in whatever state it is."""
        connection, self._connection, self._driver = self._connection, None, None
        if connection is not None:
            with translated_driver(_ERRORS, _CLOSED):
                await connection.invalidate()
                await connection.close()
