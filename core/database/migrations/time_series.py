"""Time series in revisions: ``op.create_time_series`` and ``op.drop_time_series``, and when they are written down."""

import re
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from alembic.autogenerate import renderers
from alembic.autogenerate.api import AutogenContext
from alembic.operations import MigrateOperation, Operations, ops
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from core.database.timeseries import declarations
from core.database.timeseries.creation import create, dissolve
from core.database.timeseries.relation import Kind, Relation, kind_of
from core.durations import to_duration

__all__ = ["CreateTimeSeries", "DropTimeSeries", "add_time_series", "plain_time_series"]

_MENTIONED = re.compile(r"""\b(create_time_series|drop_time_series|drop_table)\(\s*["']([^"']+)["'],?\s*([^)]*)\)""")


@Operations.register_operation("create_time_series")
class CreateTimeSeries(MigrateOperation):
    """Make a table a time series."""

    def __init__(
        self,
        table: str,
        *,
        time: str,
        chunk: str | timedelta,
        primary_key: Sequence[str] | None = None,
        schema: str | None = None,
    ) -> None:
        self.table, self.time, self.chunk, self.schema = table, time, to_duration(chunk), schema
        self._primary_key = primary_key

    @classmethod
    def create_time_series(
        cls,
        operations: Operations,
        table: str,
        *,
        time: str,
        chunk: str | timedelta,
        schema: str | None = None,
    ) -> None:
        """Make a table a time series, with all its rows; changes nothing on MariaDB, MySQL and SQLite.

        Args:
            operations: Alembic's.
            table: Its unique keys contain the time.
            time: The column of the time.
            chunk: How long a time is kept together, such as ``"1 day"``.
            schema: The table's schema, if it is not the usual one.
        """
        operations.invoke(cls(table, time=time, chunk=chunk, schema=schema))

    def reverse(self) -> "DropTimeSeries":
        """What undoes it."""
        return DropTimeSeries(self.table, primary_key=self._primary_key, schema=self.schema)


@Operations.register_operation("drop_time_series")
class DropTimeSeries(MigrateOperation):
    """Make a time series a plain table again."""

    def __init__(self, table: str, *, primary_key: Sequence[str] | None = None, schema: str | None = None) -> None:
        self.table, self.primary_key, self.schema = table, primary_key, schema

    @classmethod
    def drop_time_series(
        cls,
        operations: Operations,
        table: str,
        *,
        primary_key: Sequence[str] | None = None,
        schema: str | None = None,
    ) -> None:
        """Make a time series a plain table again, with all its rows; changes nothing on MariaDB, MySQL and SQLite.

        Args:
            operations: Alembic's.
            table: The table.
            primary_key: The columns of its primary key then; without them it stays as it is, with the time.
            schema: The table's schema, if it is not the usual one.
        """
        operations.invoke(cls(table, primary_key=primary_key, schema=schema))


class _AsBefore(MigrateOperation):
    """What a former revision says, once more."""

    def __init__(self, source: str) -> None:
        self.source = source


@Operations.implementation_for(CreateTimeSeries)
def _create(operations: Operations, operation: CreateTimeSeries) -> None:
    create(operations.get_bind(), operation.table, operation.time, operation.chunk, operation.schema)


@Operations.implementation_for(DropTimeSeries)
def _drop(operations: Operations, operation: DropTimeSeries) -> None:
    dissolve(operations.get_bind(), operation.table, operation.primary_key, operation.schema)


@renderers.dispatch_for(CreateTimeSeries)
def _render_create(_context: AutogenContext, operation: CreateTimeSeries) -> str:
    options = f"time={operation.time!r}, chunk={_words(operation.chunk)!r}{_schema(operation)}"
    return f"op.create_time_series({operation.table!r}, {options})"


@renderers.dispatch_for(DropTimeSeries)
def _render_drop(_context: AutogenContext, operation: DropTimeSeries) -> str:
    key = f", primary_key={list(operation.primary_key)!r}" if operation.primary_key else ""
    return f"op.drop_time_series({operation.table!r}{key}{_schema(operation)})"


@renderers.dispatch_for(_AsBefore)
def _render_as_before(_context: AutogenContext, operation: _AsBefore) -> str:
    return operation.source


def add_time_series(script: ops.MigrationScript, scripts: ScriptDirectory) -> None:
    """Add to a new revision what it takes to make tables time series, or plain ones again, as models say.

    What former revisions have done is read in their files: most databases do not tell a time series from a table.

    Args:
        script: The revision as Alembic has made it.
        scripts: The former ones.
    """
    upgrade, downgrade = script.upgrade_ops, script.downgrade_ops
    assert upgrade is not None
    assert downgrade is not None
    made = _made_by(scripts)
    dropped = {operation.table_name for operation in upgrade.ops if isinstance(operation, ops.DropTableOp)}
    created = {operation.table_name for operation in upgrade.ops if isinstance(operation, ops.CreateTableOp)}
    declared = {declaration.table.name: declaration for declaration in declarations()}
    for name in sorted(made.keys() - declared.keys() - dropped):
        upgrade.ops.append(DropTimeSeries(name))
        downgrade.ops.insert(0, _AsBefore(f"op.create_time_series({name!r}, {made[name]})"))
    for name in sorted(declared.keys() - made.keys()):
        declaration = declared[name]
        operation = CreateTimeSeries(
            name,
            time=declaration.time.name,
            chunk=declaration.series.chunk,
            primary_key=[column.name for column in declaration.table.primary_key],
            schema=declaration.table.schema,
        )
        upgrade.ops.append(operation)
        if name not in created:
            downgrade.ops.insert(0, operation.reverse())


def plain_time_series(connection: Connection) -> list[str]:
    """The tables of PostgreSQL that models declare as time series, and that are plain ones."""
    if connection.dialect.name != "postgresql":
        return []
    tables = [declaration.table for declaration in declarations()]
    return [table.name for table in tables if kind_of(connection, Relation(table.name, table.schema)) is Kind.PLAIN]


def _made_by(scripts: ScriptDirectory) -> dict[str, str]:
    """The tables that revisions have made time series, and with which options."""
    made: dict[str, str] = {}
    for script in reversed(list(scripts.walk_revisions())):
        upgrade = Path(script.path).read_text(encoding="utf-8").partition("def downgrade")[0]
        for operation, name, options in _MENTIONED.findall(upgrade):
            made.pop(name, None)
            if operation == "create_time_series":
                made[name] = " ".join(options.split())
    return made


def _words(duration: timedelta) -> str:
    for unit, length in (("day", timedelta(days=1)), ("hour", timedelta(hours=1))):
        if not duration % length:
            number = duration // length
            return f"{number} {unit}{'s' * (number != 1)}"
    return f"{int(duration.total_seconds())} seconds"


def _schema(operation: Any) -> str:
    return f", schema={operation.schema!r}" if operation.schema else ""
