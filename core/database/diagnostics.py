"""Which table, columns and constraint an error of a database is about."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from sqlalchemy import Index, Table
from sqlalchemy.sql.schema import ColumnCollectionConstraint

from core.database.metadata import metadata

__all__ = ["Place", "place_of"]


class Place(NamedTuple):
    """What refused a row; empty where the database does not say.

    Attributes:
        table: The table.
        columns: The columns, in the order of the constraint.
        constraint: The name of the constraint.
    """

    table: str = ""
    columns: tuple[str, ...] = ()
    constraint: str = ""


# "Key (device_id, at)=(17, 2026-01-01) already exists."
_POSTGRESQL_KEY = re.compile(r"Key \((.*?)\)=\(")

_MYSQL_KEY = re.compile(r"Duplicate entry .* for key '(?:[^'.]*\.)?([^']+)'", re.DOTALL)
_MYSQL_REFERENCE = re.compile(
    r"\(`[^`]*`\.`(?P<table>[^`]*)`, CONSTRAINT `(?P<name>[^`]*)` FOREIGN KEY \((?P<columns>[^)]*)\)"
)
_MYSQL_CHECK = re.compile(r"CONSTRAINT `(?:[^`]*`?\.`?)?(?P<name>[^`.]+)` failed for `[^`]*`\.`(?P<table>[^`]*)`")
_MYSQL_CHECK_OF_8 = re.compile(r"Check constraint '(?P<name>[^']+)' is violated")
_MYSQL_COLUMN = re.compile(r"(?:[Cc]olumn|Field) (?:`[^`]*`\.`[^`]*`\.)?[`'](?P<column>[^`']+)[`']")

# "UNIQUE constraint failed: readings.device_id, readings.at"
_SQLITE_COLUMNS = re.compile(r"(?:UNIQUE|NOT NULL) constraint failed: (?!index )(.+)")
_SQLITE_CHECK = re.compile(r"CHECK constraint failed: (\w+)")

_WRITTEN = re.compile(
    r"\s*(?:INSERT\s+(?:OR\s+\w+\s+)?INTO|UPDATE|DELETE\s+FROM)\s+([`\"]?)(.+?)\1(?:[\s(]|$)", re.IGNORECASE
)


def place_of(error: BaseException, statement: str | None = None, table: str = "") -> Place:
    """Read what an error says of the place that it is about.

    Args:
        error: As asyncpg, aiomysql, aiosqlite or SQLAlchemy's adapters of them raise it.
        statement: What was executed; MySQL and SQLite do not always name the table.
        table: The table that was written to, where it is known.
    """
    table = table or _written_table(statement)
    for each in _chain(error):
        if hasattr(each, "sqlite_errorcode"):
            return _sqlite(str(each), table)
        if each.args and isinstance(each.args[0], int):
            return _mysql(str(each.args[1]) if len(each.args) > 1 else "", table)
        if hasattr(each, "constraint_name"):
            return _postgresql(each, table)
    return Place(table)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error of SQLAlchemy's adapter, and the driver's own, which says more."""
    while error is not None:
        yield error
        error = error.__cause__


def _written_table(statement: str | None) -> str:
    found = _WRITTEN.match(statement or "")
    return found[2] if found else ""


def _postgresql(error: object, table: str) -> Place:
    name, constraint, column, detail = (
        getattr(error, attribute, None) or ""
        for attribute in ("table_name", "constraint_name", "column_name", "detail")
    )
    columns: tuple[str, ...] = (column,) if column else _columns(name, constraint)
    if not columns and (key := _POSTGRESQL_KEY.match(detail)):
        columns = _names(key[1], '"')
    return Place(name or table, columns, constraint)


def _mysql(text: str, table: str) -> Place:
    if key := _MYSQL_KEY.search(text):
        return Place(table, _columns(table, key[1]) or _column(table, key[1]), key[1])
    if reference := _MYSQL_REFERENCE.search(text):
        return Place(reference["table"], _names(reference["columns"], "`"), reference["name"])
    if check := _MYSQL_CHECK.search(text):
        return Place(check["table"], (), check["name"])
    if check := _MYSQL_CHECK_OF_8.search(text):
        return Place(table, (), check["name"])
    column = _MYSQL_COLUMN.search(text)
    return Place(table, (column["column"],) if column else ())


def _sqlite(text: str, table: str) -> Place:
    if columns := _SQLITE_COLUMNS.match(text):
        pairs = [name.rpartition(".") for name in columns[1].split(", ")]
        return Place(pairs[0][0] or table, tuple(column for _, _, column in pairs))
    check = _SQLITE_CHECK.match(text)
    return Place(table, (), check[1] if check else "")


def _columns(table: str, constraint: str) -> tuple[str, ...]:
    """The columns of a constraint, as the models declare it."""
    declared = _declared(table)
    if declared is None:
        return ()
    if constraint == "PRIMARY":
        return tuple(column.name for column in declared.primary_key)
    listed: list[ColumnCollectionConstraint | Index] = [*declared.indexes]
    listed += [each for each in declared.constraints if isinstance(each, ColumnCollectionConstraint)]
    for each in listed:
        if each.name == constraint:
            return tuple(column.name for column in each.columns)
    return ()


def _column(table: str, key: str) -> tuple[str, ...]:
    """A unique column whose key the database has named: after it."""
    declared = _declared(table)
    return (key,) if declared is not None and key in declared.columns else ()


def _declared(table: str) -> Table | None:
    return next((each for each in metadata.tables.values() if each.name == table), None)


def _names(listed: str, quote: str) -> tuple[str, ...]:
    return tuple(name.strip().strip(quote) for name in listed.split(", "))
