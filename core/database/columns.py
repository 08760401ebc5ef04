"""The columns of a model, and their values on the way to the driver and back, for one row or for many at once."""

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Column, Dialect
from sqlalchemy import types as sqltypes
from sqlalchemy.orm import Mapper

from core.database.types import Instant
from core.database.values import Normaliser, longest_text

__all__ = ["ColumnCheck", "binds_of", "column_check", "mapped_columns", "reads_of"]

ColumnCheck = Callable[[list[Any]], list[Any]]


def mapped_columns(mapper: Mapper[Any]) -> dict[str, Column[Any]]:
    """The columns of a model by attribute name."""
    return {
        attribute.key: column for attribute in mapper.column_attrs if isinstance(column := attribute.columns[0], Column)
    }


def column_check(column: Column[Any], normalise: Normaliser) -> ColumnCheck:
    """Make a check for all values of a column at once.

    Args:
        column: The column.
        normalise: Checks and converts one value, never ``None``.

    Returns:
        A function from values to values as they will read back; the same list, if nothing was to change. It raises
        whatever ``normalise`` raises on one of them.
    """

    def one_by_one(values: list[Any]) -> list[Any]:
        return [None if value is None else normalise(value) for value in values]

    longest = longest_text(column)
    if longest >= 0:

        def texts(values: list[Any]) -> list[Any]:
            # What most text is, is seen by few calls for all of it.
            if set(map(type, values)) == {str} and max(map(len, values)) <= longest:
                together = "".join(values)
                if together.isascii() and "\0" not in together:
                    return values
            return one_by_one(values)

        return texts
    if isinstance(column.type, sqltypes.Float) and not column.type.asdecimal:

        def numbers(values: list[Any]) -> list[Any]:
            if set(map(type, values)) == {float} and all(map(math.isfinite, values)):
                return values
            return one_by_one(values)

        return numbers
    return one_by_one


def binds_of(columns: Sequence[Column[Any]], dialect: Dialect) -> tuple[tuple[int, Callable[[Any], Any]], ...]:
    """What makes of normalised values what the driver takes, with the position of the column; nothing for most."""
    binds = ((position, _bind(column, dialect)) for position, column in enumerate(columns))
    return tuple((position, bind) for position, bind in binds if bind is not None)


def reads_of(
    names: Sequence[str], columns: Mapping[str, Column[Any]], dialect: Dialect
) -> tuple[tuple[str, Callable[[Any], Any]], ...]:
    """How generated values become what they are in Python: SQLite gives times as text, for example."""
    processors = ((name, columns[name].type._cached_result_processor(dialect, None)) for name in names)
    return tuple((name, processor) for name, processor in processors if processor is not None)


def _bind(column: Column[Any], dialect: Dialect) -> Callable[[Any], Any] | None:
    if type(column.type) is Instant:
        # It is an instant already.
        return _INSTANTS[dialect.name]
    return column.type._cached_bind_processor(dialect)


def _naive(instant: datetime | None) -> datetime | None:
    return None if instant is None else instant.replace(tzinfo=None)


def _text(instant: datetime | None) -> str | None:
    return None if instant is None else instant.isoformat(" ", "microseconds")[:-6]


# The same as SQLAlchemy writes, several times as fast; PostgreSQL's driver takes instants as they are.
_INSTANTS: Mapping[str, Callable[[Any], Any] | None] = {
    "postgresql": None,
    "mysql": _naive,
    "mariadb": _naive,
    "sqlite": _text,
}
