"""The writer for SQLite: executemany over aiosqlite; ids are found by counting."""

import sqlite3
from collections.abc import Sequence
from typing import Any, cast

import aiosqlite
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from core.database.flush import Batch
from core.database.shapes import Row, Shape
from core.database.writers.base import translated_driver

__all__ = ["SQLiteWriter"]

_SEEN = "SELECT sequence FROM mqueduct_writers WHERE writer = ?"
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

    def __init__(self, engine: AsyncEngine, name: str) -> None:
        self._engine = engine
        self._name = name
        self._quote = engine.dialect.identifier_preparer.quote
        self._statements: dict[Any, str] = {}
        self._connection: AsyncConnection | None = None
        self._driver: aiosqlite.Connection | None = None
        self.uncertain = False

    async def open(self) -> None:
        """Connect."""
        with translated_driver((sqlite3.Error,), ()):
            self._connection = await self._engine.connect()
            raw = await self._connection.get_raw_connection()
            self._driver = cast("aiosqlite.Connection", raw.driver_connection)
            # BEGIN and COMMIT are ours to say.
            self._driver.isolation_level = None

    async def flush(self, sequence: int, batches: Sequence[Batch]) -> None:
        """Write batches and commit."""
        driver = self._driver
        assert driver is not None, "open() comes first"
        self.uncertain = False
        with translated_driver((sqlite3.Error,), ()):
            # IMMEDIATE, so that nobody else counts up ids while this flush does.
            await driver.execute("BEGIN IMMEDIATE")
            await driver.execute(_ADVANCE, (self._name, sequence))
            for batch in batches:
                await self._write(driver, batch)
            self.uncertain = True
            await driver.execute("COMMIT")
            self.uncertain = False

    async def _write(self, driver: aiosqlite.Connection, batch: Batch) -> None:
        shape, rows = batch.shape, batch.rows
        if batch.upsert:
            await driver.executemany(self._upsert(shape, batch.newer_than), [row.bound for row in rows])
            return
        written = await driver.executemany(self._insert(shape), [row.bound for row in rows])
        if written.rowcount < len(rows):
            await self._find_new_ones(driver, batch, written.rowcount)
            return
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
            row.duplicate = False

    async def _find_new_ones(self, driver: aiosqlite.Connection, batch: Batch, count: int) -> None:
        """Tell which rows of a batch were written, when some were there already."""
        shape = batch.shape
        names = ", ".join(self._quote(shape.column(n).name) for n in (*shape.generated, *shape.primary_key))
        match = " AND ".join(f"{self._quote(shape.column(name).name)} = ?" for name in shape.key)
        statement = f"SELECT {names} FROM {self._table(shape)} WHERE {match}"
        positions = [shape.attributes.index(name) for name in shape.key]
        found: list[tuple[Row, Any]] = []
        for row in batch.rows:
            record = await (await driver.execute(statement, [row.bound[p] for p in positions])).fetchone()
            row.duplicate = True
            found += [(row, record)] if record is not None else []
        if not shape.generated:
            return
        # The new rows are those of the highest ids.
        found.sort(key=lambda pair: pair[1][0])
        for row, record in found[len(found) - count :]:
            row.generated = tuple(record[: len(shape.generated)])
            row.duplicate = False

    def _insert(self, shape: Shape) -> str:
        statement = self._statements.get(shape)
        if statement is None:
            conflict = f" ON CONFLICT ({self._key(shape)}) DO NOTHING" if shape.key else ""
            statement = self._statements[shape] = f"{self._values(shape)}{conflict}"
        return statement

    def _upsert(self, shape: Shape, newer_than: str | None) -> str:
        statement = self._statements.get((shape, newer_than))
        if statement is None:
            statement = self._statements[shape, newer_than] = self._build_upsert(shape, newer_than)
        return statement

    def _build_upsert(self, shape: Shape, newer_than: str | None) -> str:
        changes = ", ".join(f"{self._quote(c.name)} = excluded.{self._quote(c.name)}" for c in shape.changed)
        if not changes:
            return f"{self._values(shape)} ON CONFLICT ({self._key(shape)}) DO NOTHING"
        guard = ""
        if newer_than is not None:
            stored = f"{self._table(shape)}.{self._quote(shape.column(newer_than).name)}"
            guard = f" WHERE {stored} IS NULL OR {stored} <= excluded.{self._quote(shape.column(newer_than).name)}"
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
        with translated_driver((sqlite3.Error,), ()):
            if self._driver.in_transaction:
                await self._driver.execute("ROLLBACK")

    async def reached(self, sequence: int) -> bool:
        """Whether a flush was committed."""
        assert self._driver is not None, "open() comes first"
        with translated_driver((sqlite3.Error,), ()):
            found = await (await self._driver.execute(_SEEN, (self._name,))).fetchone()
        return found is not None and found[0] >= sequence

    async def close(self) -> None:
        """Give the connection back, in whatever state it is."""
        connection, self._connection, self._driver = self._connection, None, None
        if connection is not None:
            with translated_driver((sqlite3.Error,), ()):
                await connection.invalidate()
                await connection.close()
