"""The writer for PostgreSQL: one statement per batch, its rows as arrays, over asyncpg directly."""

from collections.abc import Sequence
from operator import itemgetter
from typing import Any, cast

import asyncpg
import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from core.database.flush import Batch
from core.database.options import EngineOptions
from core.database.writers.base import Contention, RowLocked, encoding, translated_driver
from core.database.writers.postgresql_sql import PostgreSQLStatements
from core.database.writers.read_back import read_back

__all__ = ["PostgreSQLWriter"]

_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
_CLOSED = (asyncpg.InterfaceError, asyncpg.InternalClientError)

# Classes derived from str are text, too; anything else is refused.
_json = msgspec.json.Encoder(enc_hook=str.__str__)

# Long enough for a passing lock, short enough that one locked row does not hold up all others.
_LOCK_TIMEOUT = "300ms"
# While it is searched for the locked row.
_SHORT_LOCK_TIMEOUT = "10ms"
# For an older connection that is still committing.
_FENCE_TIMEOUT = "5s"


class PostgreSQLWriter:
    """Writes flushes over one reserved asyncpg connection.

    Args:
        engine: Whose one connection is reserved for this writer.
        name: Names this writer's high-water row and its connections; letters and digits.
        options: Of the database. Through PgBouncer no setting outlives its transaction, or others would get it.
    """

    def __init__(self, engine: AsyncEngine, name: str, options: EngineOptions) -> None:
        self._engine = engine
        self._name = name
        self._pgbouncer = options.pgbouncer
        self._sql = PostgreSQLStatements(engine.dialect, name, options)
        self._connection: AsyncConnection | None = None
        self._driver: asyncpg.Connection[Any] | None = None
        self._opened_before = False
        self.uncertain = False
        self.failing: Batch | None = None

    async def open(self) -> None:
        """Connect and end what an older connection of this writer may still be doing."""
        await self.close()
        with translated_driver(_ERRORS, _CLOSED):
            self._connection = await self._engine.connect()
            # BEGIN and COMMIT are ours to say.
            await self._connection.execution_options(isolation_level="AUTOCOMMIT")
            raw = await self._connection.get_raw_connection()
            driver = self._driver = cast("asyncpg.Connection[Any]", raw.driver_connection)
            if not self._pgbouncer:
                await driver.execute(self._sql.settings(_LOCK_TIMEOUT))
            if self._opened_before:
                # By name: process ids are given to others after a restart of the server.
                await driver.execute(self._sql.end_others)
            else:
                await driver.execute(self._sql.prune)
            self._opened_before = True

    async def flush(self, sequence: int, batches: Sequence[Batch], *, patient: bool = True) -> None:
        """Write batches and commit."""
        driver = self._driver
        assert driver is not None, "open() comes first"
        self.uncertain, self.failing = False, None
        with translated_driver(_ERRORS, _CLOSED):
            if patient and len(batches) == 1 and self._is_one_statement(batches[0]):
                await self._write_at_once(driver, sequence, batches[0])
                return
            await self._begin(driver, sequence, patient)
            for batch in batches:
                self.failing = batch
                await self._write(driver, batch)
                if batch.readings:
                    await read_back(self._connection, batch.readings)
            self.uncertain, self.failing = True, None
            await driver.execute("COMMIT")
            self.uncertain = False

    def _is_one_statement(self, batch: Batch) -> bool:
        return bool(batch.shape.key) and not batch.readings and not self._pgbouncer

    async def _write_at_once(self, driver: "asyncpg.Connection[Any]", sequence: int, batch: Batch) -> None:
        """Write one batch and advance in a single statement that commits by itself: one round trip, not three."""
        for row in batch.rows:
            # Should its answer get lost: what counts as stored before is found by its key.
            row.duplicate = batch.change is None
        self.uncertain, self.failing = True, batch
        await self._write(driver, batch, sequence)
        self.uncertain, self.failing = False, None

    async def _begin(self, driver: "asyncpg.Connection[Any]", sequence: int, patient: bool) -> None:
        settings = ""
        if self._pgbouncer or not patient:
            settings = self._sql.settings(_LOCK_TIMEOUT if patient else _SHORT_LOCK_TIMEOUT, local=True) + "; "
        try:
            with translated_driver(_ERRORS, _CLOSED):
                await driver.execute(f"BEGIN; {settings}{self._sql.advance(sequence)}")
        except RowLocked as error:
            # Not a row of any atom.
            raise Contention(str(error)) from error

    async def _write(self, driver: "asyncpg.Connection[Any]", batch: Batch, sequence: int | None = None) -> None:
        shape = batch.shape
        alone = sequence is not None
        if batch.change is not None:
            statement = self._sql.upsert(shape, batch.change, alone=alone)
            await driver.execute(statement, *self._parameters(batch), *([sequence] if alone else []))
        elif batch.wants_rows:
            await self._insert(driver, batch, sequence)
        elif shape.key:
            await self._insert_only(driver, batch, sequence)
        else:
            await self._copy(driver, batch)

    async def _copy(self, driver: "asyncpg.Connection[Any]", batch: Batch) -> None:
        table = batch.shape.table
        columns = [column.name for column in batch.shape.columns]
        records = [row.bound for row in batch.rows]
        try:
            await driver.copy_records_to_table(table.name, records=records, columns=columns, schema_name=table.schema)
        except _ERRORS:
            raise
        except Exception:
            # COPY does not say which value it could not write, and what remains of the connection is unclear.
            if driver.is_closed():
                raise
            with encoding():
                raise

    async def _insert(self, driver: "asyncpg.Connection[Any]", batch: Batch, sequence: int | None) -> None:
        rows, shape = batch.rows, batch.shape
        alone = sequence is not None
        statement = self._sql.insert(shape, alone=alone)
        returned = await driver.fetch(statement, *self._parameters(batch), *([sequence] if alone else []))
        if len(returned) < len(rows):
            await self._find_new_ones(driver, batch, returned)
            return
        if shape.generated:
            # Ids are counted up in the order of the rows; in which order they come back is not said.
            returned.sort(key=itemgetter(0))
        width = len(shape.generated)
        for row, record in zip(rows, returned, strict=True):
            row.generated = record[:width]
            row.duplicate = False

    async def _insert_only(self, driver: "asyncpg.Connection[Any]", batch: Batch, sequence: int | None) -> None:
        """Write rows that nobody asks to have back; PostgreSQL only says how many were new."""
        alone = sequence is not None
        statement = self._sql.insert(batch.shape, alone=alone, returning=False)
        status = await driver.execute(statement, *self._parameters(batch), *([sequence] if alone else []))
        known = len(batch.rows) - int(status.rpartition(" ")[2])
        for number, row in enumerate(batch.rows):
            row.duplicate = number < known

    async def _find_new_ones(self, driver: "asyncpg.Connection[Any]", batch: Batch, returned: list[Any]) -> None:
        """Tell which rows of a batch were written, when some were there already."""
        shape = batch.shape
        width = len(shape.primary_key)
        new = {tuple(record[-width:]): record for record in returned}
        for row in batch.rows:
            row.duplicate = True
        if not new:
            return
        parameters = self._parameters(batch)
        keys = [parameters[shape.attributes.index(name)] for name in shape.key]
        for record in await driver.fetch(self._sql.lookup(shape), *keys):
            written = new.get(tuple(record[1:]))
            if written is not None:
                row = batch.rows[record[0] - 1]
                row.generated = written[: len(shape.generated)]
                row.duplicate = False

    def _parameters(self, batch: Batch) -> list[Any]:
        """A parameter for each column of the shape: the values of all rows."""
        parameters: list[Any] = list(zip(*[row.bound for row in batch.rows], strict=True))
        with encoding():
            for position in self._sql.texts(batch.shape):
                parameters[position] = _json.encode(parameters[position]).decode()
        return parameters

    async def rollback(self) -> None:
        """Give up the transaction."""
        assert self._driver is not None, "open() comes first"
        with translated_driver(_ERRORS, _CLOSED):
            await self._driver.execute("ROLLBACK")

    async def reached(self, sequence: int) -> bool:
        """Whether a flush was committed; waits for an older connection that is still committing."""
        driver = self._driver
        assert driver is not None, "open() comes first"
        try:
            with translated_driver(_ERRORS, _CLOSED):
                # The first statement waits for a row that is being inserted, the second for one that is being changed.
                await driver.execute(f"BEGIN; {self._sql.settings(_FENCE_TIMEOUT, local=True)}; {self._sql.ensure}")
                found = await driver.fetchval(self._sql.fence)
                await driver.execute("COMMIT")
        except RowLocked as error:
            raise Contention(str(error)) from error
        return bool(found >= sequence)

    async def close(self) -> None:
        """Give the connection back, in whatever state it is."""
        connection, self._connection, driver, self._driver = self._connection, None, self._driver, None
        if driver is not None:
            # At once: a farewell would wait for a server that may be frozen.
            driver.terminate()
        if connection is not None:
            with translated_driver(_ERRORS, _CLOSED):
                await connection.invalidate()
                await connection.close()
