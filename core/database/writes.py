"""Writing through the shared flush: create, insert, upsert and units of work."""

import copy
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

from sqlalchemy import inspect
from sqlalchemy.ext.asyncio import AsyncEngine

from core.database.atoms import Insert, Operation, Row, Upsert
from core.database.buffer import WriteBuffer
from core.database.intents import Intent, Returning
from core.database.options import EngineOptions
from core.database.shapes import UNFIT, ComputedBySQL, Shape, Shapes
from core.database.slow_queries import SlowQueries, WatchedWriter
from core.database.types import Instant
from core.database.writers.base import Writer, collision
from core.database.writers.mysql import MySQLWriter
from core.database.writers.postgresql import PostgreSQLWriter
from core.database.writers.sqlite import SQLiteWriter
from core.exceptions import InvalidValue
from core.instants import now, to_instant

__all__ = ["Writes", "given_back"]

_WRITERS: Mapping[str, Callable[[AsyncEngine, str, EngineOptions], Writer]] = {
    "postgresql": PostgreSQLWriter,
    "sqlite": SQLiteWriter,
    "mysql": MySQLWriter,
    "mariadb": MySQLWriter,
}


class Writes:
    """The writes of one database.

    Args:
        engine: Of one connection, which is reserved for the shared flush.
        options: Of the database.
        deadline: Seconds after which a flush counts as lost, if ever.
        find: Reads the row of a natural key.
        write_alone: Writes what no bulk statement can carry, in a transaction of its own; returns
            the instances, and how many of them were there already.
        max_clock_skew: Seconds by which a time in ``newer_than`` may be ahead of ours.
        slow_queries: Is told of every flush.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        options: EngineOptions,
        deadline: float | None,
        find: Callable[[type[Any], Mapping[str, Any]], Awaitable[Any]],
        write_alone: Callable[[Sequence[Intent]], Awaitable[tuple[list[Any], int]]],
        max_clock_skew: float,
        slow_queries: SlowQueries | None = None,
    ) -> None:
        # Its own name in every process and at every start: two writers never share a high-water row.
        writer = _WRITERS[engine.dialect.name](engine, uuid.uuid4().hex, options)
        if slow_queries is not None:
            writer = WatchedWriter(writer, slow_queries)
        self._engine = engine
        self._shapes = Shapes(engine.dialect)
        self._find = find
        self._write_alone = write_alone
        self._max_clock_skew = timedelta(seconds=max_clock_skew)
        self.buffer = WriteBuffer(writer, self._shapes, deadline)
        self.rows = 0
        self.duplicates = 0

    async def create(self, model: type[Any], fields: dict[str, Any]) -> Any:
        """Insert a row, or find the one of the same natural key, and return it after COMMIT."""
        shape = self._shapes.of(model, fields)
        try:
            row = shape.row(fields) if shape.bulk else None
        except ComputedBySQL:
            row = None
        if row is None:
            written, known = await self._write_alone([Intent(model, [fields], wants_rows=True)])
            self.count(1, known)
            return written[0]
        await self.buffer.write([Insert(shape, [row])])
        first = row.twin or row
        self.count(1, int(first is not row or first.duplicate))
        if not first.duplicate:
            return first.shape.instance(first)
        found = await self._find(model, {name: first.values[name] for name in shape.key})
        if found is None:
            raise collision(first.shape)
        return found

    async def commit(self, intents: Sequence[Intent], *, counted: bool = True) -> list[Any]:
        """Write several intents together and return after COMMIT.

        Args:
            intents: What to write.
            counted: Whether the rows count in the statistics.

        Returns:
            What the only intent asks for of its rows, in their order; or nothing.
        """
        intents = [self._clamped(intent) for intent in intents]
        try:
            operations = self._operations(intents)
        except ComputedBySQL:
            operations = None
        if operations is None:
            written, known = await self._write_alone(intents)
            self.count(len(written), known)
            return given_back(intents, written)
        await self.buffer.write(operations)
        rows = [row for operation in operations for row in operation.rows]
        if counted:
            self.count(len(rows), sum(1 for row in rows if row.twin is not None or row.duplicate))
        returning = intents[0].returning
        return [] if returning is None else [_stored(row, returning) for row in rows]

    def _operations(self, intents: Sequence[Intent]) -> list[Operation] | None:
        """The operations of intents, or ``None`` when one of them cannot be written in bulk."""
        operations: list[Operation] = []
        for intent in intents:
            number = 0
            for _, run in groupby(intent.rows, tuple):  # by the names of their fields
                alike = list(run)
                shape = self._shapes.of(intent.model, alike[0], intent.key)
                if not (shape.bulk if intent.change is None else shape.bulk_upsert):
                    return None
                rows = _rows(shape, alike, number, single=len(intent.rows) == 1)
                operations.append(_operation(intent, shape, rows))
                number += len(rows)
        return operations

    def _clamped(self, intent: Intent) -> Intent:
        """Bring device clocks from the far future back, or their rows could never be changed again."""
        name = None if intent.change is None else intent.change.newer_than
        if name is None or not isinstance(getattr(inspect(intent.model).columns.get(name), "type", None), Instant):
            return intent
        latest = now() + self._max_clock_skew
        return intent._replace(rows=[_not_after(latest, name, fields) for fields in intent.rows])

    def count(self, rows: int, duplicates: int) -> None:
        """Note rows that are committed, some of which were there before."""
        self.rows += rows - duplicates
        self.duplicates += duplicates

    def one_by_one(self) -> "Writes":
        """The same without the shared flush: every write is a matter of SQLAlchemy, in a session of its own."""
        others = copy.copy(self)
        others._shapes = Shapes(self._engine.dialect, bulk=False)
        return others

    async def close(self) -> None:
        """Stop flushing and give the reserved connection back."""
        await self.buffer.close()
        await self._engine.dispose()


def _not_after(latest: datetime, name: str, fields: dict[str, Any]) -> dict[str, Any]:
    try:
        instant = to_instant(fields[name])
    except ValueError:
        # NULL, or an error that the row itself will tell.
        return fields
    return {**fields, name: latest} if instant > latest else fields


def _rows(shape: Shape, listed: Sequence[Mapping[str, Any]], number: int, *, single: bool) -> list[Row]:
    """Build rows at once; if that fails, one by one, to find out which one is to blame.

    Args:
        shape: Of the rows.
        listed: Their fields.
        number: Of the first one, for a message.
        single: Whether no message needs a number.
    """
    try:
        return shape.rows([dict(fields) for fields in listed])
    except UNFIT:
        pass
    rows = []
    for place, fields in enumerate(listed, start=number):
        try:
            rows.append(shape.row(dict(fields)))
        except InvalidValue as error:
            if single:
                raise
            raise InvalidValue(f"row {place}: {error}") from error
    return rows


def _operation(intent: Intent, shape: Shape, rows: list[Row]) -> Operation:
    returning = () if intent.returning is None else intent.returning.names
    if intent.change is not None:
        return Upsert(shape, rows, intent.change, returning)
    if not shape.key:
        # All are new: nothing is to be read of them but what the database fills in.
        return Insert(shape, rows, intent.wants_rows or bool(returning))
    return Insert(shape, rows, intent.wants_rows, returning)


def given_back(intents: Sequence[Intent], written: Sequence[Any]) -> list[Any]:
    """What the only intent asks for of its rows, which were written as instances; or nothing."""
    returning = intents[0].returning
    return [] if returning is None else [returning.of(instance) for instance in written]


def _stored(row: Row, returning: Returning) -> Any:
    if not row.shape.key:
        return returning.of(row.shape.instance(row))
    return row.shape.detached(row.stored) if returning.whole else returning.chosen(row.stored)
