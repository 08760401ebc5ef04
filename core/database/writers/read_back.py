"""Reading rows back within the transaction that has written them, for those who ask what is stored now."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sqlalchemy import ColumnElement, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from core.database.atoms import Row
from core.database.flush import Reading
from core.exceptions import Contention

__all__ = ["read_back"]

# Of one statement: servers take no more parameters than a multiple of this.
_MOST_ROWS = 1_000

Key = tuple[Any, ...]


async def read_back(connection: AsyncConnection | None, readings: Iterable[Reading]) -> None:
    """Fill in what is stored, with one statement for a thousand rows.

    Args:
        connection: In the transaction of the flush. SQLAlchemy must not begin one of its own: AUTOCOMMIT.
        readings: What is asked for.

    Raises:
        Contention: A row that was left as it was is gone; the next attempt will write it.
    """
    assert connection is not None, "open() comes first"
    for reading in readings:
        names = reading.shape.key
        wanted: dict[Key, list[Row]] = {}
        for row in reading.rows:
            wanted.setdefault(tuple([row.values[name] for name in names]), []).append(row)
        for keys in _parts(list(wanted)):
            missing = set(keys)
            for key, values in await _select(connection, reading, _any_of(reading, keys)):
                if key in missing:
                    missing.remove(key)
                    _fill(wanted[key], values)
            for key in missing:
                # What the database takes for the same may look different: by its collation, or padded.
                found = await _select(connection, reading, _any_of(reading, [key]))
                if not found:
                    raise Contention("another transaction removed a row that was to be read back")
                _fill(wanted[key], found[0][1])


def _parts(keys: Sequence[Key]) -> Iterator[Sequence[Key]]:
    for start in range(0, len(keys), _MOST_ROWS):
        yield keys[start : start + _MOST_ROWS]


def _any_of(reading: Reading, keys: Sequence[Key]) -> ColumnElement[bool]:
    columns = [reading.shape.column(name) for name in reading.shape.key]
    if len(columns) == 1:
        return columns[0].in_([key for (key,) in keys])
    return tuple_(*columns).in_(keys)


async def _select(
    connection: AsyncConnection, reading: Reading, criterion: ColumnElement[bool]
) -> list[tuple[Key, dict[str, Any]]]:
    shape = reading.shape
    names = sorted(reading.names.union(shape.key))
    statement = select(*[shape.column(name) for name in names]).where(criterion)
    if connection.dialect.name in ("mysql", "mariadb"):
        # Else it would show the rows as they were when this transaction first looked at any.
        statement = statement.with_for_update(read=True)
    found = []
    for record in await connection.execute(statement):
        values = dict(zip(names, record, strict=True))
        found.append((tuple([values[name] for name in shape.key]), values))
    return found


def _fill(rows: Iterable[Row], values: dict[str, Any]) -> None:
    for row in rows:
        row.stored = values
