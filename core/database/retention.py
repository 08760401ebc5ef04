"""Removing old rows in small transactions, so that a running service does not notice."""

import asyncio
import time as clock
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from typing import Any, Protocol, TypeVar

from sqlalchemy import Column, ColumnElement, Connection, Table, UniqueConstraint, delete, inspect, select, tuple_
from sqlalchemy.dialects.mysql import limit

from core.database.database import Database
from core.database.errors import translated
from core.database.rows import check_names
from core.database.types import Instant
from core.exceptions import InvalidQuery

__all__ = ["prune", "time_column"]

T = TypeVar("T")

_MYSQL = ("mysql", "mariadb")


async def prune(
    database: Database,
    model: type[Any],
    time: Column[Any],
    before: datetime,
    batch: int,
    progress: Callable[[int], None] | None = None,
) -> int:
    """Remove the rows of a table that are older than a point in time.

    Every batch is a transaction of its own. After each, the database has as long a pause as the batch took.

    Args:
        database: Where the table is.
        model: A mapped class.
        time: The column with the times of its rows.
        before: Rows of this time and later ones stay.
        batch: Rows per transaction, at most.
        progress: Called after every batch with the number of rows removed so far.

    Returns:
        How many rows were removed.

    Raises:
        InvalidQuery: Neither an index nor the primary key leads to the old rows.
    """
    walk = _walk(database.engine.dialect.name, model, time, before, batch)
    removed = 0
    place: Any = None
    while True:
        end = await _run(database, partial(walk.end, place=place))
        full = True
        while full:
            began = clock.monotonic()
            count = await _run(database, partial(walk.remove, place=place, end=end))
            removed += count
            if count and progress is not None:
                progress(removed)
            full = count == batch
            await asyncio.sleep(clock.monotonic() - began)
        if end is None:
            return removed
        place = end


def time_column(model: type[Any], name: str | None) -> Column[Any]:
    """The column that holds the time of a model's rows.

    Args:
        model: A mapped class.
        name: An attribute; without one it is the only ``Instant`` that is never NULL.

    Raises:
        UnknownField: There is no such attribute.
        InvalidQuery: It is no ``Instant``, or it is not clear which one is meant.
    """
    columns = {attribute.key: attribute.columns[0] for attribute in inspect(model).column_attrs}
    if name is not None:
        check_names(model, [name])
        if not isinstance(column := columns.get(name), Column) or not isinstance(column.type, Instant):
            raise InvalidQuery(f"{model.__name__}.{name} is no Instant column, so that no row of it can be old")
        return column
    times = {
        key: column
        for key, column in columns.items()
        if isinstance(column, Column) and isinstance(column.type, Instant) and not column.nullable
    }
    if len(times) != 1:
        found = ", ".join(times) or "none"
        raise InvalidQuery(
            f"which column is the time of {model.__name__}? Its Instant columns that are never NULL: {found}; "
            'fix: name one, as in time="created_at"'
        )
    return next(iter(times.values()))


class _Walk(Protocol):
    """A way through a table, batch by batch."""

    def end(self, connection: Connection, place: Any) -> Any:
        """Find where the batch that begins at a place ends; ``None`` if it is the last one."""

    def remove(self, connection: Connection, place: Any, end: Any) -> int:
        """Remove old rows of the batch, not more than its size; returns how many there were."""


class _ByTime:
    """Along an index that begins with the time: only old rows are read."""

    def __init__(self, table: Table, time: Column[Any], before: datetime, batch: int) -> None:
        self._table, self._time, self._before, self._batch = table, time, before, batch

    def end(self, connection: Connection, place: Any) -> Any:
        times = select(self._time).where(*self._between(place, None)).order_by(self._time)
        return connection.scalar(times.limit(1).offset(self._batch - 1))

    def remove(self, connection: Connection, place: Any, end: Any) -> int:
        old = self._between(place, end)
        # Without the times, PostgreSQL would look for the chosen rows in the whole table.
        statement = delete(self._table).where(*old)
        # Any number of rows may have the same time.
        if connection.dialect.name in _MYSQL:
            return connection.execute(statement.ext(limit(self._batch))).rowcount
        key = list(self._table.primary_key)
        chosen = select(*key).where(*old).limit(self._batch)
        return connection.execute(statement.where((key[0] if len(key) == 1 else tuple_(*key)).in_(chosen))).rowcount

    def _between(self, place: Any, end: Any) -> list[ColumnElement[bool]]:
        # Not from the beginning again: what is removed stays in the index as long as somebody might still see it.
        after = [] if place is None else [self._time >= place]
        return [*after, self._time < self._before if end is None else self._time <= end]


class _ByKey:
    """Along the primary key, where no index begins with the time: every row is looked at once."""

    def __init__(self, table: Table, time: Column[Any], before: datetime, batch: int) -> None:
        self._table, self._time, self._before, self._batch = table, time, before, batch
        (self._key,) = table.primary_key

    def end(self, connection: Connection, place: Any) -> Any:
        keys = select(self._key).where(*self._between(place, None)).order_by(self._key)
        return connection.scalar(keys.limit(1).offset(self._batch - 1))

    def remove(self, connection: Connection, place: Any, end: Any) -> int:
        old = delete(self._table).where(*self._between(place, end), self._time < self._before)
        return connection.execute(old).rowcount

    def _between(self, place: Any, end: Any) -> list[ColumnElement[bool]]:
        after = [] if place is None else [self._key > place]
        return after if end is None else [*after, self._key <= end]


def _walk(dialect: str, model: type[Any], time: Column[Any], before: datetime, batch: int) -> _Walk:
    table = time.table
    assert isinstance(table, Table)
    if any(columns[0] is time for columns in _indexes(table, dialect)):
        return _ByTime(table, time, before, batch)
    if len(table.primary_key) == 1:
        return _ByKey(table, time, before, batch)
    raise InvalidQuery(
        f"no index of {model.__name__} begins with {time.name}, and its primary key has several columns; "
        f'fix: add Index(None, "{time.name}") to __table_args__'
    )


def _indexes(table: Table, dialect: str) -> Iterator[list[Any]]:
    """The columns of the indexes that lead to every row in their order."""
    other_kinds = ("_where", f"{dialect}_using")
    yield list(table.primary_key)
    yield from (list(each.columns) for each in table.constraints if isinstance(each, UniqueConstraint))
    for index in table.indexes:
        if not any(option.endswith(other_kinds) for option in index.kwargs):
            yield list(index.expressions)


async def _run(database: Database, work: Callable[[Connection], T]) -> T:
    """Do something in a transaction of its own."""
    with translated():
        async with database.engine.connect() as connection:
            if connection.dialect.name in _MYSQL:
                # Otherwise InnoDB would lock the gaps between the rows too, against whoever inserts.
                await connection.execution_options(isolation_level="READ COMMITTED")
            async with connection.begin():
                return await connection.run_sync(work)
