"""Bare drivers: the statements of our writers, given ready rows, with nothing around them."""

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import aiomysql
import aiosqlite
import asyncpg
import msgspec
from sqlalchemy.ext.asyncio import AsyncEngine

from core.database.atoms import Change
from core.database.options import EngineOptions
from core.database.shapes import Shape
from core.database.types import Instant
from core.database.writers.mysql_sql import MySQLStatements
from core.database.writers.postgresql_sql import PostgreSQLStatements

__all__ = ["Bare", "Batch", "open_bare"]

_NAME = "bare"

_ADVANCE_SQLITE = (
    "INSERT INTO mqueduct_writers (writer, sequence, moved_at) VALUES (?, ?, CURRENT_TIMESTAMP) "
    "ON CONFLICT (writer) DO UPDATE SET sequence = excluded.sequence, moved_at = excluded.moved_at"
)


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows for one statement, as a handler has them.

    Attributes:
        shape: What is to become of the rows.
        rows: Values by attribute; what they lack is the same for all.
        constants: That which they lack.
        newer_than: The attribute that must not go back, for an upsert; else rows that are there stay.
    """

    shape: Shape
    rows: Sequence[Mapping[str, Any]]
    constants: Mapping[str, Any]
    newer_than: str | None = None

    def columns(self, convert: Callable[[datetime], Any] | None = None) -> list[list[Any]]:
        """The values column by column, as short as Python can say it.

        Args:
            convert: Makes of a time what the driver takes, if it does not take it as it is.
        """
        columns = []
        for name, column in zip(self.shape.attributes, self.shape.columns, strict=True):
            if name in self.constants:
                columns.append([self.constants[name]] * len(self.rows))
            elif convert is not None and isinstance(column.type, Instant):
                columns.append([convert(fields[name]) for fields in self.rows])
            else:
                columns.append([fields[name] for fields in self.rows])
        return columns


class Bare(Protocol):
    """One connection."""

    async def write(self, batch: Batch) -> None:
        """Write a batch and advance the high-water row in one transaction, and return after COMMIT."""


@contextlib.asynccontextmanager
async def open_bare(engine: AsyncEngine) -> AsyncIterator[Bare]:
    """Take a driver's connection from an engine of its own, with the same settings as ours."""
    async with engine.connect() as connection:
        driver: Any = (await connection.get_raw_connection()).driver_connection
        yield {"postgresql": _PostgreSQL, "mysql": _MySQL, "sqlite": _SQLite}[engine.dialect.name](driver, engine)
        await connection.invalidate()


class _PostgreSQL:
    def __init__(self, driver: "asyncpg.Connection[Any]", engine: AsyncEngine) -> None:
        self._driver = driver
        self._sql = PostgreSQLStatements(engine.dialect, _NAME, EngineOptions())
        self._sequence = 0

    async def write(self, batch: Batch) -> None:
        self._sequence += 1
        if not batch.shape.key:
            await self._copy(batch)
            return
        parameters: list[Any] = batch.columns()
        for position in self._sql.texts(batch.shape):
            parameters[position] = msgspec.json.encode(parameters[position]).decode()
        if batch.newer_than:
            statement = self._sql.upsert(batch.shape, Change(batch.newer_than), alone=True)
        else:
            statement = self._sql.insert(batch.shape, alone=True)
        await self._driver.fetch(statement, *parameters, self._sequence)

    async def _copy(self, batch: Batch) -> None:
        await self._driver.execute(f"BEGIN; {self._sql.advance(self._sequence)}")
        columns = [column.name for column in batch.shape.columns]
        records = zip(*batch.columns(), strict=True)
        await self._driver.copy_records_to_table(batch.shape.table.name, records=records, columns=columns)
        await self._driver.execute("COMMIT")


class _MySQL:
    def __init__(self, driver: aiomysql.Connection, _engine: AsyncEngine) -> None:
        self._driver = driver
        self._sql = MySQLStatements(_engine.dialect, _NAME)
        self._sql.learn(driver.get_server_info())
        self._sequence = 0

    async def write(self, batch: Batch) -> None:
        self._sequence += 1
        if batch.newer_than:
            statement = self._sql.upsert(batch.shape, Change(batch.newer_than), len(batch.rows))
        else:
            statement = self._sql.insert(batch.shape, len(batch.rows))
        async with self._driver.cursor() as cursor:
            await cursor.execute(f"BEGIN; {self._sql.advance(self._sequence)}")
            await cursor.nextset()
            rows = zip(*batch.columns(lambda time: time.replace(tzinfo=None)), strict=True)
            await cursor.execute(statement, [value for row in rows for value in row])
            await cursor.execute("COMMIT")


class _SQLite:
    def __init__(self, driver: aiosqlite.Connection, _engine: AsyncEngine) -> None:
        self._driver = driver
        driver.isolation_level = None
        self._sequence = 0

    async def write(self, batch: Batch) -> None:
        self._sequence += 1
        await self._driver.execute("BEGIN IMMEDIATE")
        await self._driver.execute(_ADVANCE_SQLITE, (_NAME, self._sequence))
        columns = batch.columns(lambda time: time.isoformat(" ", "microseconds")[:-6])
        await self._driver.executemany(_sqlite_statement(batch), list(zip(*columns, strict=True)))
        await self._driver.execute("COMMIT")


def _sqlite_statement(batch: Batch) -> str:
    shape = batch.shape
    names = [column.name for column in shape.columns]
    marks = ", ".join("?" for _ in names)
    statement = f"INSERT INTO {shape.table.name} ({', '.join(names)}) VALUES ({marks})"  # noqa: S608 - a model's names
    if not shape.key:
        return statement
    statement += f" ON CONFLICT ({', '.join(shape.column(name).name for name in shape.key)})"
    if not batch.newer_than:
        return f"{statement} DO NOTHING"
    changes = ", ".join(f"{column.name} = excluded.{column.name}" for column in shape.changed())
    guard = shape.column(batch.newer_than).name
    stored = f"{shape.table.name}.{guard}"
    return f"{statement} DO UPDATE SET {changes} WHERE {stored} IS NULL OR {stored} <= excluded.{guard}"
