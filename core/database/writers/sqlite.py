"""The writer for SQLite: executemany over aiosqlite; ids are found by counting."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import aiosqlite
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from core.database.atoms import Change, Row
from core.database.flush import Batch
from core.database.options import EngineOptions
from core.database.shapes import Shape
from core.database.writers.base import STALE_DAYS, Contention, encoding, translated_driver
from core.database.writers.read_back import read_back
from core.exceptions import DatabaseUnavailable

__all__ = ["SQLiteWriter"]

# Milliseconds for which SQLite itself waits for another writer; in between, we can be cancelled.
_BUSY_TIMEOUT = 500

_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)

_SEEN = "SELECT sequence FROM mqueduct_writers WHERE writer = ?"
_PRUNE = f"DELETE FROM mqueduct_writers WHERE moved_at < datetime('now', '-{STALE_DAYS} days')"
_ADVANCE = (
    "INSERT INTO mqueduct_writers (writer, sequence, moved_at) VALUES (?, ?, CURRENT_TIMESTAMP) "
    "ON CONFLICT (writer) DO UPDATE SET sequence = excluded.sequence, moved_at = excluded.moved_at"
)


class SQLiteWriter:
    """Writes flushes over one reserved connection.

    Args:
        engine: Whose one connection is reserved for this writer.
        name: Names this writer's high-water row.
    """

    def __init__(self, engine: AsyncEngine, name: str, _options: EngineOptions) -> None:
        self._engine = engine
        self._name = name
        self._quote = engine.dialect.identifier_preparer.quote
        self._statements: dict[Any, str] = {}
        self._connection: AsyncConnection | None = None
        self._driver: aiosqlite.Connection | None = None
        self._pruned = False
        self.uncertain = False
        self.failing: Batch | None = None

    async def open(self) -> None:
        """Connect."""
        await self.close()
        with translated_driver((sqlite3.Error,), ()):
            self._connection = await self._engine.connect()
            # BEGIN and COMMIT are ours to say.
            await self._connection.execution_options(isolation_level="AUTOCOMMIT")
            raw = await self._connection.get_raw_connection()
            self._driver = cast("aiosqlite.Connection", raw.driver_connection)
            await self._driver.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT}")

    async def flush(self, sequence: int, batches: Sequence[Batch], *, patient: bool = True) -> None:
        """Write batches and commit."""
        driver = self._driver
        assert driver is not None, "open() comes first"
        self.uncertain, self.failing = False, None
        with _translated():
            # IMMEDIATE, so that nobody else counts up ids while this flush does.
            await driver.execute("BEGIN IMMEDIATE")
            if not self._pruned:
                await driver.execute(_PRUNE)
                self._pruned = True
            await driver.execute(_ADVANCE, (self._name, sequence))
            for batch in batches:
                self.failing = batch
                with translated_driver((sqlite3.Error,), (), batch.shape.table.name):
                    await self._write(driver, batch)
                    if batch.readings:
                        await read_back(self._connection, batch.readings)
            self.uncertain, self.failing = True, None
            await driver.execute("COMMIT")
            self.uncertain = False

    async def _write(self, driver: aiosqlite.Connection, batch: Batch) -> None:
        shape, rows = batch.shape, batch.rows
        if batch.change is not None:
            await _execute_many(driver, self._upsert(shape, batch.change), rows)
            return
        # What a row refers to must be there before it, so the rows of one batch go in their order.
        written = await _execute_many(driver, self._insert(shape), rows)
        if written < len(rows):
            await self._find_new_ones(driver, batch, written)
            return
        for row in rows:
            row.duplicate = False
        if shape.generated and batch.wants_rows:
            await self._read_generated(driver, shape, rows)

    async def _read_generated(self, driver: aiosqlite.Connection, shape: Shape, rows: Sequence[Row]) -> None:
        """Read what the database filled in for new rows: the last ids of the table, in their order."""
        names = ", ".join(self._quote(shape.column(name).name) for name in shape.generated)
        counted = self._quote(shape.column(shape.generated[0]).name)
        statement = f"SELECT {names} FROM {self._table(shape)} ORDER BY {counted} DESC LIMIT ?"
        found = list(await driver.execute_fetchall(statement, (len(rows),)))
        for row, record in zip(rows, reversed(found), strict=True):
            row.generated = tuple(record)

    async def _find_new_ones(self, driver: aiosqlite.Connection, batch: Batch, count: int) -> None:
        """Tell which rows of a batch were written, when some were there already.

        Of a model without generated values nobody can tell; what counts as stored before is read
        back, and that is right too.
        """
        shape = batch.shape
        for row in batch.rows:
            row.duplicate = True
        if not count or not shape.generated:
            return
        names = ", ".join(self._quote(shape.column(name).name) for name in shape.generated)
        match = " AND ".join(f"{self._quote(shape.column(name).name)} = ?" for name in shape.key)
        statement = f"SELECT {names} FROM {self._table(shape)} WHERE {match}"
        positions = [shape.attributes.index(name) for name in shape.key]
        found: list[tuple[Row, Any]] = []
        for row in batch.rows:
            record = await (await driver.execute(statement, [row.bound[p] for p in positions])).fetchone()
            found += [(row, record)] if record is not None else []
        # The new rows are those of the highest ids.
        found.sort(key=lambda pair: pair[1][0])
        for row, record in found[len(found) - count :]:
            row.generated = tuple(record)
            row.duplicate = False

    def _insert(self, shape: Shape) -> str:
        statement = self._statements.get(shape)
        if statement is None:
            conflict = f" ON CONFLICT ({self._key(shape)}) DO NOTHING" if shape.key else ""
            statement = self._statements[shape] = f"{self._values(shape)}{conflict}"
        return statement

    def _upsert(self, shape: Shape, change: Change) -> str:
        statement = self._statements.get((shape, change))
        if statement is None:
            statement = self._statements[shape, change] = self._build_upsert(shape, change)
        return statement

    def _build_upsert(self, shape: Shape, change: Change) -> str:
        changed = [self._quote(column.name) for column in shape.changed(change.update)]
        changes = ", ".join(f"{name} = excluded.{name}" for name in changed)
        if not changes:
            return f"{self._values(shape)} ON CONFLICT ({self._key(shape)}) DO NOTHING"
        guard = ""
        if change.newer_than is not None:
            name = self._quote(shape.column(change.newer_than).name)
            stored = f"{self._table(shape)}.{name}"
            guard = f" WHERE {stored} IS NULL OR {stored} <= excluded.{name}"
        return f"{self._values(shape)} ON CONFLICT ({self._key(shape)}) DO UPDATE SET {changes}{guard}"

    def _values(self, shape: Shape) -> str:
        names = ", ".join(self._quote(column.name) for column in shape.columns)
        marks = ", ".join("?" for _ in shape.columns)
        return f"INSERT INTO {self._table(shape)} ({names}) VALUES ({marks})"

    def _key(self, shape: Shape) -> str:
        return ", ".join(self._quote(shape.column(name).name) for name in shape.key)

    def _table(self, shape: Shape) -> str:
        return self._engine.dialect.identifier_preparer.format_table(shape.table)

    async def rollback(self) -> None:
        """Give up the transaction, if one is open: some errors end it by themselves."""
        assert self._driver is not None, "open() comes first"
        with _translated():
            if self._driver.in_transaction:
                await self._driver.execute("ROLLBACK")

    async def reached(self, sequence: int) -> bool:
        """Whether a flush was committed; waits for an older connection that is still committing."""
        driver = self._driver
        assert driver is not None, "open() comes first"
        with _translated():
            # A reader would see what was there before; nobody else holds the writer's lock when we have it.
            await driver.execute("BEGIN IMMEDIATE")
            found = await (await driver.execute(_SEEN, (self._name,))).fetchone()
            await driver.execute("ROLLBACK")
        return found is not None and found[0] >= sequence

    async def close(self) -> None:
        """Give the connection back, in whatever state it is."""
        connection, self._connection, self._driver = self._connection, None, None
        if connection is not None:
            with _translated():
                await connection.invalidate()
                await connection.close()


async def _execute_many(driver: aiosqlite.Connection, statement: str, rows: Sequence[Row]) -> int:
    """Write rows; returns how many were inserted or changed."""
    try:
        return (await driver.executemany(statement, [row.bound for row in rows])).rowcount
    except (sqlite3.Error, OSError):
        raise
    except Exception:
        with encoding():
            raise


@contextmanager
def _translated() -> Iterator[None]:
    try:
        with translated_driver((sqlite3.Error,), ()):
            yield
    except DatabaseUnavailable as error:
        if getattr(error.__cause__, "sqlite_errorcode", 0) & 0xFF in _BUSY:
            raise Contention(
                f"another connection has been writing to the database for too long ({error}); if it is a session "
                "of the same handler: commit or close it before writing through Model"
            ) from error
        raise
