"""What tests see of a flush from outside."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from sqlalchemy import select

from core.database.database import Database
from core.database.writers.mysql import MySQLWriter
from core.database.writers.postgresql import PostgreSQLWriter
from core.database.writers.sqlite import SQLiteWriter


async def together(*writes: Awaitable[Any]) -> list[Any]:
    """Let writes wait for the same flush; returns results and errors in their order."""
    return await asyncio.gather(*writes, return_exceptions=True)


async def stored(database: Database, model: type[Any], *names: str) -> list[tuple[Any, ...]]:
    """What is in a table, in the order of its primary key."""
    columns = [getattr(model, name) for name in names]
    async with database.session() as session:
        found = await session.execute(select(*columns).order_by(*model.__table__.primary_key))
        return [tuple(row) for row in found]


async def until(condition: Callable[[], bool | Awaitable[bool]]) -> None:
    """Wait for a condition; the test's own timeout ends it."""
    while True:
        met = condition()
        if await met if isinstance(met, Awaitable) else met:
            return
        await asyncio.sleep(0.01)


def writer(database: Database) -> PostgreSQLWriter | MySQLWriter | SQLiteWriter:
    """The reserved connection of a database."""
    return database._writes.buffer._writer


def attempts(database: Database) -> int:
    """How often flushing was tried."""
    return database._writes.buffer._sequence


def ids(rows: Iterable[Any]) -> list[Any]:
    return [row.id for row in rows]
