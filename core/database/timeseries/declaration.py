"""What a model says with ``__timeseries__``, and whether its table can be one."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import Column, Connection, Index, Table, UniqueConstraint, event, inspect

from core.database.metadata import metadata
from core.database.types import Instant
from core.durations import to_duration
from core.exceptions import ConfigurationError

__all__ = ["Declaration", "TimeSeries", "declarations", "declare"]

_SHORTEST_CHUNK = timedelta(hours=1)

# PostgreSQL's names have 63 bytes, and those of partitions end in "_p20261231_235959".
_LONGEST_NAME = 63 - 17


@dataclass(frozen=True, slots=True)
class TimeSeries:
    """How the rows of a model are kept by their time: ``__timeseries__ = TimeSeries(time="timestamp")``.

    Durations are texts such as ``"12 hours"``, ``"1 day"`` and ``"90d"``, or timedeltas.

    Attributes:
        time: The ``Instant`` attribute that is the time of a row.
        chunk: Rows of so long a time are kept together.
        compress_after: The age at which TimescaleDB compresses chunks; no other database does. ``None`` for never.
        retain: The age at which rows go. ``None`` for never.

    Raises:
        ConfigurationError: A duration is none, or they contradict each other.
    """

    time: str
    chunk: timedelta
    compress_after: timedelta | None
    retain: timedelta | None

    def __init__(
        self,
        time: str,
        chunk: str | timedelta = "1 day",
        compress_after: str | timedelta | None = None,
        retain: str | timedelta | None = None,
    ) -> None:
        # Frozen, so not by simple assignment.
        object.__setattr__(self, "time", time)
        object.__setattr__(self, "chunk", _duration("chunk", chunk))
        object.__setattr__(self, "compress_after", _duration("compress_after", compress_after))
        object.__setattr__(self, "retain", _duration("retain", retain))
        if self.chunk < _SHORTEST_CHUNK or self.chunk.microseconds:
            raise ConfigurationError(
                f"TimeSeries: chunk={chunk!r}: each chunk is a table; fix: make it whole seconds, 1 hour at least"
            )
        if self.retain is not None and self.retain < self.chunk:
            raise ConfigurationError(f"TimeSeries: retain={retain!r} is shorter than a chunk; fix: keep one at least")
        if self.retain is not None and self.compress_after is not None and self.compress_after >= self.retain:
            raise ConfigurationError(
                f"TimeSeries: compress_after={compress_after!r} comes when the rows are gone (retain={retain!r}); "
                "fix: compress earlier, or not at all"
            )


@dataclass(frozen=True, slots=True, eq=False)
class Declaration:
    """A table that is to be a time series.

    Attributes:
        model: The mapped class.
        table: Its table.
        time: The column that is the time of a row.
        series: What the model says.
    """

    model: type[Any]
    table: Table
    time: Column[Any]
    series: TimeSeries

    @property
    def segments(self) -> list[str]:
        """The columns whose values come in series of their own: those of the natural key, without the time."""
        columns = self.model.__mapper__.columns
        key = [columns[name].name for name in getattr(self.model, "__natural_key__", ())]
        return [name for name in key if name != self.time.name]


def declarations() -> list[Declaration]:
    """The time series of all models that are imported, in the order of their names.

    Raises:
        ConfigurationError: A foreign key refers to one of them.
    """
    found = {table: declaration for table, declaration in _known().items() if table in metadata.tables.values()}
    for table in metadata.tables.values():
        for reference in table.foreign_keys:
            if (referred := found.get(reference.column.table)) is not None:
                raise ConfigurationError(
                    f"{table.name}.{reference.parent.name} is a foreign key to {referred.table.name}, which is a time "
                    "series: PostgreSQL cannot refer to it by its id alone; fix: keep the id without a foreign key"
                )
    return sorted(found.values(), key=lambda declaration: declaration.table.key)


def declare(model: type[Any]) -> None:
    """Make a model's table a time series, if the model says so.

    An index on the time is added, where none begins with it: BRIN on PostgreSQL. When the table is created,
    the database is told as well.

    Args:
        model: A mapped class, or one without a table.

    Raises:
        ConfigurationError: The table cannot be a time series; the message says what to change.
    """
    series = model.__timeseries__
    table = getattr(model, "__table__", None)
    if series is None or table is None or table in _known():
        return
    if not isinstance(series, TimeSeries):
        raise _error(model, "it is no TimeSeries", '__timeseries__ = TimeSeries(time="timestamp")')
    time = _time_column(model, series.time)
    _check_keys(model, table, time)
    if len(table.name) > _LONGEST_NAME:
        raise _error(model, f"the table's name has {len(table.name)} characters", f"use {_LONGEST_NAME} at most")
    if not any(next(iter(index.expressions)) is time for index in table.indexes):
        Index(None, time, postgresql_using="brin")
    declaration = _known()[table] = Declaration(model, table, time, series)
    event.listen(table, "after_create", _Creation(declaration))


def _known() -> dict[Table, Declaration]:
    # Not Table.info, which Alembic writes into revisions.
    known: dict[Table, Declaration] = metadata.info.setdefault("time_series", {})
    return known


class _Creation:
    """Tells the database when the table was created."""

    def __init__(self, declaration: Declaration) -> None:
        self._declaration = declaration

    def __call__(self, _table: Table, connection: Connection, **_: Any) -> None:
        # Late, for the SQL knows what is declared.
        from core.database.timeseries.creation import create

        declared = self._declaration
        create(connection, declared.table.name, declared.time.name, declared.series.chunk, declared.table.schema)


def _duration(name: str, value: str | timedelta | None) -> timedelta | None:
    try:
        return None if value is None else to_duration(value)
    except ValueError as error:
        raise ConfigurationError(f"TimeSeries: {name}: {error}") from error


def _time_column(model: type[Any], name: Any) -> Column[Any]:
    columns = dict(model.__mapper__.columns.items())
    column: Column[Any] | None = columns.get(name)
    if column is None:
        raise _error(model, f"{name!r} is no column of it", f"name one of: {', '.join(columns)}")
    if not isinstance(column.type, Instant):
        raise _error(model, f"{name} is no Instant", f"{name}: Mapped[datetime] = mapped_column(Instant)")
    if column.nullable:
        raise _error(model, f"{name} may be NULL, and rows without a time belong nowhere", "declare nullable=False")
    return column


def _check_keys(model: type[Any], table: Table, time: Column[Any]) -> None:
    """What is unique, is so within one chunk only: databases do not look into the others."""
    unique = [list(each.columns) for each in table.constraints if isinstance(each, UniqueConstraint)]
    unique += [list(index.columns) for index in table.indexes if index.unique]
    for columns in unique:
        if time not in columns:
            names = ", ".join(column.name for column in columns)
            raise _error(
                model,
                f"{names} is unique without {time.name}, which no database can see to across chunks",
                f'add "{time.name}" to it',
            )
    key = list(table.primary_key)
    if time not in key and not (len(key) == 1 and _is_made_up(key[0])):
        names = ", ".join(column.name for column in key)
        raise _error(
            model,
            f"the primary key {names} has no {time.name}, and is not made up either",
            f"an id that is counted up or a UUIDv7Key, or add {time.name} to the key",
        )


def _is_made_up(column: Column[Any]) -> bool:
    """Whether values of a key are new by themselves, so that uniqueness need not be checked."""
    counted = inspect(column).table.autoincrement_column is column
    return counted or column.default is not None or column.server_default is not None


def _error(model: type[Any], problem: str, fix: str) -> ConfigurationError:
    return ConfigurationError(f"{model.__module__}.{model.__name__}: __timeseries__: {problem}; fix: {fix}")
