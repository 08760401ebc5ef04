"""The statements of the PostgreSQL writer, built once per shape."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Column, Dialect, Table
from sqlalchemy import types as sqltypes

from core.database.atoms import Change
from core.database.options import EngineOptions, milliseconds
from core.database.shapes import Shape
from core.database.writers.base import STALE_DAYS

__all__ = ["PostgreSQLStatements"]

_LONGEST_PREFIX = 20
_TEXT = "TEXT[]"


class PostgreSQLStatements:
    """Builds and remembers statements; every column travels as one parameter.

    It is an array, but for text, which is a JSON array: asyncpg looks at each element of an array three times,
    and text takes a third of the processor's time this way.

    Args:
        dialect: Knows types and how names are quoted.
        writer: Names the high-water row; letters and digits.
        options: Of the database.
    """

    def __init__(self, dialect: Dialect, writer: str, options: EngineOptions) -> None:
        self._dialect = dialect
        self._writer = writer
        self._options = options
        # The server cuts names after 63 bytes.
        self._name = f"{options.application_name[:_LONGEST_PREFIX]} writer {writer}"
        #: End older connections of this writer.
        self.end_others = (
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            f"WHERE application_name = '{self._name}' AND pid <> pg_backend_pid()"
        )
        #: Remove the rows of writers that ended long ago; those that somebody is at work with stay.
        self.prune = (
            "DELETE FROM mqueduct_writers WHERE writer IN (SELECT writer FROM mqueduct_writers "
            f"WHERE moved_at < now() - INTERVAL '{STALE_DAYS} days' FOR UPDATE SKIP LOCKED)"
        )
        #: Make sure that there is a high-water row.
        self.ensure = (
            "INSERT INTO mqueduct_writers (writer, sequence, moved_at) "
            f"VALUES ('{writer}', 0, now()) ON CONFLICT (writer) DO NOTHING"
        )
        #: Read it when nobody is changing it.
        self.fence = f"SELECT sequence FROM mqueduct_writers WHERE writer = '{writer}' FOR UPDATE"
        self._quote = dialect.identifier_preparer.quote
        self._texts: dict[Shape, Sequence[int]] = {}
        self._inserts: dict[tuple[Shape, bool, bool], str] = {}
        self._lookups: dict[Shape, str] = {}
        self._upserts: dict[tuple[Shape, Change, bool], str] = {}

    def settings(self, lock_timeout: str, *, local: bool = False) -> str:
        """Name the connection and limit how long it waits for locks.

        Args:
            lock_timeout: For example ``"300ms"``.
            local: Whether for the present transaction only.
        """
        scope = "LOCAL" if local else "SESSION"
        settings = [f"SET {scope} lock_timeout = '{lock_timeout}'", f"SET {scope} application_name = '{self._name}'"]
        if local and self._options.pgbouncer:
            settings.append(f"SET LOCAL statement_timeout = {milliseconds(self._options.statement_timeout)}")
        return "; ".join(settings)

    def advance(self, sequence: int) -> str:
        """Move the high-water row."""
        return (
            f"INSERT INTO mqueduct_writers (writer, sequence, moved_at) VALUES ('{self._writer}', {sequence}, now()) "
            "ON CONFLICT (writer) DO UPDATE SET sequence = EXCLUDED.sequence, moved_at = EXCLUDED.moved_at"
        )

    def insert(self, shape: Shape, *, alone: bool = False, returning: bool = True) -> str:
        """Insert rows that are not there yet.

        Args:
            shape: Of the rows.
            alone: Whether the statement also moves the high-water row, to its last parameter.
            returning: Whether it returns generated values, then primary keys; once if they are the same.
        """
        known = (shape, alone, returning)
        statement = self._inserts.get(known)
        if statement is None:
            statement = self._moving(shape, alone) + self._insert(shape)
            if returning:
                statement += self._returning(shape)
            self._inserts[known] = statement
        return statement

    def _moving(self, shape: Shape, alone: bool) -> str:
        if not alone:
            return ""
        return (
            "WITH mqueduct_moved AS (INSERT INTO mqueduct_writers (writer, sequence, moved_at) "
            f"VALUES ('{self._writer}', ${len(shape.columns) + 1}::BIGINT, now()) "
            "ON CONFLICT (writer) DO UPDATE SET sequence = EXCLUDED.sequence, moved_at = EXCLUDED.moved_at) "
        )

    def _insert(self, shape: Shape) -> str:
        names = self._names(shape.columns)
        conflict = f" ON CONFLICT ({self._key(shape)}) DO NOTHING" if shape.key else ""
        # Sorted by ordinal, so that ids are counted up in the order of the rows.
        return (
            f"INSERT INTO {self._table(shape.table)} ({names}) SELECT {names} "
            f"FROM {self._parameters(shape.columns)} WITH ORDINALITY AS given({names}, mqueduct_ordinal) "
            f"ORDER BY mqueduct_ordinal{conflict}"
        )

    def _returning(self, shape: Shape) -> str:
        wanted = shape.generated if shape.generated == shape.primary_key else (*shape.generated, *shape.primary_key)
        return f" RETURNING {self._names([shape.column(name) for name in wanted])}"

    def lookup(self, shape: Shape) -> str:
        """Find rows by natural key; returns their ordinal among the keys asked for, then primary keys."""
        statement = self._lookups.get(shape)
        if statement is None:
            statement = self._lookups[shape] = self._lookup(shape)
        return statement

    def _lookup(self, shape: Shape) -> str:
        columns = [shape.column(name) for name in shape.key]
        primary = ", ".join(f"stored.{self._quote(shape.column(name).name)}" for name in shape.primary_key)
        match = " AND ".join(f"stored.{self._quote(c.name)} = given.{self._quote(c.name)}" for c in columns)
        return (
            f"SELECT given.mqueduct_ordinal, {primary} FROM {self._parameters(columns)} WITH ORDINALITY "
            f"AS given({self._names(columns)}, mqueduct_ordinal) JOIN {self._table(shape.table)} AS stored ON {match}"
        )

    def upsert(self, shape: Shape, change: Change, *, alone: bool = False) -> str:
        """Insert rows, or let existing ones take over the given fields; ``alone`` as in ``insert``."""
        known = (shape, change, alone)
        statement = self._upserts.get(known)
        if statement is None:
            statement = self._upserts[known] = self._moving(shape, alone) + self._upsert(shape, change)
        return statement

    def _upsert(self, shape: Shape, change: Change) -> str:
        names = self._names(shape.columns)
        changed = [self._quote(column.name) for column in shape.changed(change.update)]
        changes = ", ".join(f"{name} = EXCLUDED.{name}" for name in changed)
        action = f"DO UPDATE SET {changes}" if changes else "DO NOTHING"
        if change.newer_than is not None and changes:
            guard = self._quote(shape.column(change.newer_than).name)
            action += f" WHERE stored.{guard} IS NULL OR stored.{guard} <= EXCLUDED.{guard}"
        return (
            f"INSERT INTO {self._table(shape.table)} AS stored ({names}) "
            f"SELECT {names} FROM {self._parameters(shape.columns)} AS given({names}) "
            f"ON CONFLICT ({self._key(shape)}) {action}"
        )

    def texts(self, shape: Shape) -> Sequence[int]:
        """The positions of the columns that travel as a JSON array each."""
        positions = self._texts.get(shape)
        if positions is None:
            kinds = [self._array_type(column) for column in shape.columns]
            positions = self._texts[shape] = [position for position, kind in enumerate(kinds) if kind == _TEXT]
        return positions

    def _parameters(self, columns: Sequence[Column[Any]]) -> str:
        functions = [self._function(f"${number}", column) for number, column in enumerate(columns, start=1)]
        return f"ROWS FROM ({', '.join(functions)})"

    def _function(self, parameter: str, column: Column[Any]) -> str:
        kind = self._array_type(column)
        if kind == _TEXT:
            return f"json_array_elements_text({parameter}::TEXT::JSON)"
        return f"unnest({parameter}::{kind})"

    def _array_type(self, column: Column[Any]) -> str:
        kind = column.type.dialect_impl(self._dialect)
        if isinstance(kind, sqltypes.TypeDecorator):
            kind = kind.impl_instance.dialect_impl(self._dialect)
        if isinstance(kind, sqltypes.String) and not isinstance(kind, sqltypes.Enum):
            # A cast to VARCHAR(n) would cut text off silently; without n the column itself refuses it.
            return _TEXT
        return f"{self._dialect.type_compiler_instance.process(kind)}[]"

    def _names(self, columns: Sequence[Column[Any]]) -> str:
        return ", ".join(self._quote(column.name) for column in columns)

    def _key(self, shape: Shape) -> str:
        return self._names([shape.column(name) for name in shape.key])

    def _table(self, table: Table) -> str:
        return self._dialect.identifier_preparer.format_table(table)
