"""The statements of the MySQL writer: multi-row VALUES, so that a batch is one round trip."""

import re
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Column, Dialect

from core.database.atoms import Change
from core.database.shapes import Shape
from core.database.writers.base import STALE_DAYS

__all__ = ["COLLISION", "MySQLStatements"]

#: "Subquery returns more than 1 row": what our statements run into on purpose, see ``_checked``.
COLLISION = 1242

# What MySQL, from this version on, wants to be called by a name.
_NAMES_NEW_ROW = (8, 0, 20)


class MySQLStatements:
    """Builds statements; aiomysql writes the values into them, so that a literal % is doubled.

    Args:
        dialect: Knows how names are quoted.
        writer: Names the high-water row; letters and digits.
    """

    def __init__(self, dialect: Dialect, writer: str) -> None:
        self._dialect = dialect
        self._writer = writer
        self.mariadb = True
        self._alias = ""
        row = f"WHERE writer = '{writer}'"
        lock = f"'mqueduct-{writer}'"
        self.settings = "SELECT @@max_allowed_packet, @@auto_increment_increment"
        self.take_name = f"SELECT GET_LOCK({lock}, 0), IS_USED_LOCK({lock})"
        self.wait_for_name = f"SELECT GET_LOCK({lock}, 3), NULL"
        self.fence = f"SELECT sequence FROM mqueduct_writers {row} FOR UPDATE"
        self.ensure = (
            "INSERT INTO mqueduct_writers (writer, sequence, moved_at) "
            f"VALUES ('{writer}', 0, UTC_TIMESTAMP()) ON DUPLICATE KEY UPDATE sequence = sequence"
        )
        old = f"moved_at < UTC_TIMESTAMP() - INTERVAL {STALE_DAYS} DAY"
        self.stale = f"SELECT writer FROM mqueduct_writers WHERE {old}"
        # One by one: a delete that searches would lock the rows of the living too.
        self.prune = f"DELETE FROM mqueduct_writers WHERE writer = %s AND {old}"

    def learn(self, version: str) -> None:
        """Take note of the server.

        Args:
            version: As in its greeting.
        """
        self.mariadb = "mariadb" in version.lower()
        numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:3])
        self._alias = "" if self.mariadb or numbers < _NAMES_NEW_ROW else " AS mqueduct_new"

    def advance(self, sequence: int) -> str:
        """Move the high-water row."""
        return (
            "INSERT INTO mqueduct_writers (writer, sequence, moved_at) "
            f"VALUES ('{self._writer}', {sequence}, UTC_TIMESTAMP()) "
            f"ON DUPLICATE KEY UPDATE sequence = {sequence}, moved_at = UTC_TIMESTAMP()"
        )

    def insert(self, shape: Shape, count: int, *, returning: bool = False) -> str:
        """Insert rows that are not there yet.

        Not INSERT IGNORE, which would also swallow values that do not fit; setting a key column to
        itself changes nothing.
        """
        conflict = f" ON DUPLICATE KEY UPDATE {self._checked(shape)}" if shape.key else ""
        names = self._names(shape.column(name) for name in shape.generated)
        return f"{self._values(shape, count, conflict)}{f' RETURNING {names}' if returning else ''}"

    def upsert(self, shape: Shape, change: Change, count: int) -> str:
        """Insert rows, or let existing ones take over the given fields."""
        table = self._table(shape)
        names = [self._quote(column) for column in shape.changed(change.update)]
        if change.newer_than is None:
            changes = [f"{name} = {self._new(name)}" for name in names]
        else:
            guard = self._quote(shape.column(change.newer_than))
            newer = f"{table}.{guard} IS NULL OR {table}.{guard} <= {self._new(guard)}"
            # Assigned from left to right: the guard comes last, or it would switch off all after it.
            names.sort(key=lambda name: name == guard)
            changes = [f"{name} = IF({newer}, {self._new(name)}, {table}.{name})" for name in names]
        checked = [self._checked(shape)] if shape.other_unique or not changes else []
        return self._values(shape, count, f" ON DUPLICATE KEY UPDATE {', '.join([*checked, *changes])}")

    def _checked(self, shape: Shape) -> str:
        """Leave the key as it is, and fail where the row that was met has another one.

        MySQL takes a row for the same if any of its unique keys is; without the check an upsert would
        change a row of somebody else.
        """
        table = self._table(shape)
        keys = [self._quote(shape.column(name)) for name in shape.key]
        same = f"{keys[0]} = {table}.{keys[0]}"
        if not shape.other_unique:
            return same
        equal = " AND ".join(f"{table}.{key} = {self._new(key)}" for key in keys)
        return f"{keys[0]} = IF({equal}, {table}.{keys[0]}, (SELECT 1 UNION ALL SELECT 2))"

    def lookup(self, shape: Shape, count: int) -> str:
        """Find rows by natural key; returns their position among the keys asked for, then generated values."""
        table = self._table(shape)
        keys = [self._quote(shape.column(name)) for name in shape.key]
        names = "".join(f", {table}.{self._quote(shape.column(name))}" for name in shape.generated)
        match = " AND ".join(f"{table}.{key} = %s" for key in keys)
        one = f"(SELECT {{}}{names} FROM {table} WHERE {match} LOCK IN SHARE MODE)"
        return " UNION ALL ".join(one.format(position) for position in range(count))

    def last(self, shape: Shape) -> str:
        """The generated values of the row that this connection inserted last."""
        names = self._names(shape.column(name) for name in shape.generated)
        counted = self._quote(shape.column(shape.generated[0]))
        return f"SELECT {names} FROM {self._table(shape)} WHERE {counted} = LAST_INSERT_ID()"

    def _values(self, shape: Shape, count: int, conflict: str) -> str:
        mark = f"({', '.join(['%s'] * len(shape.columns))})"
        alias = self._alias if conflict else ""
        names = self._names(shape.columns)
        return f"INSERT INTO {self._table(shape)} ({names}) VALUES {', '.join([mark] * count)}{alias}{conflict}"

    def _new(self, quoted: str) -> str:
        """A column of the row that was to be inserted."""
        return f"mqueduct_new.{quoted}" if self._alias else f"VALUES({quoted})"

    def _names(self, columns: Iterable[Column[Any]]) -> str:
        return ", ".join(self._quote(column) for column in columns)

    def _table(self, shape: Shape) -> str:
        return self._dialect.identifier_preparer.format_table(shape.table)

    def _quote(self, column: Column[Any]) -> str:
        return self._dialect.identifier_preparer.quote(column.name)
