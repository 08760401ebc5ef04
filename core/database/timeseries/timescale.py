"""Hypertables of TimescaleDB, in the words of its documentation: https://docs.tigerdata.com/api/latest/."""

from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, text

from core.database.timeseries.declaration import Declaration
from core.database.timeseries.relation import Relation

__all__ = ["make_hypertable", "set_policies"]

_OF_TABLE = (
    "JOIN pg_class ON relname = hypertable_name JOIN pg_namespace ON pg_namespace.oid = relnamespace "
    "AND nspname = hypertable_schema WHERE pg_class.oid = to_regclass(:name)"
)
# Intervals are compared by the server: it has several spellings of one.
_CHUNK = f"""
SELECT time_interval = CAST(:wanted AS INTERVAL) FROM timescaledb_information.dimensions {_OF_TABLE}
AND column_name = :time
"""
_POLICY = f"""
SELECT CAST(config ->> :setting AS INTERVAL) = CAST(:wanted AS INTERVAL)
FROM timescaledb_information.jobs {_OF_TABLE} AND proc_name = :procedure
"""


def make_hypertable(connection: Connection, relation: Relation, time: str, chunk: timedelta) -> None:
    """Make a table a hypertable; rows that it has are moved into chunks.

    Args:
        connection: In a transaction.
        relation: A table whose unique keys contain the time.
        time: The column of the time.
        chunk: How long a chunk is.
    """
    connection.exec_driver_sql(
        f"SELECT create_hypertable({_literal(relation.quoted(connection))}::regclass, {_literal(time)}::name, "
        f"chunk_time_interval => {_interval(chunk)}, create_default_indexes => FALSE, migrate_data => TRUE)"
    )


def set_policies(connection: Connection, declared: Declaration) -> list[str]:
    """Bring a hypertable's chunks and policies to what its model declares.

    Args:
        connection: In a transaction.
        declared: The model's words.

    Returns:
        What was changed.
    """
    changed = []
    relation = Relation(declared.table.name, declared.table.schema)
    table = f"{_literal(relation.quoted(connection))}::regclass"
    series = declared.series
    chunk = {"wanted": series.chunk, "time": declared.time.name}
    if connection.scalar(text(_CHUNK), {"name": relation.quoted(connection)} | chunk) is False:
        connection.exec_driver_sql(f"SELECT set_chunk_time_interval({table}, {_interval(series.chunk)})")
        changed.append("chunk")
    if not _has_policy(connection, relation, "policy_compression", "compress_after", series.compress_after):
        connection.exec_driver_sql(f"SELECT remove_compression_policy({table}, if_exists => TRUE)")
        if series.compress_after is not None:
            connection.exec_driver_sql(_enable_compression(connection, relation, declared))
            connection.exec_driver_sql(
                f"SELECT add_compression_policy({table}, compress_after => {_interval(series.compress_after)})"
            )
        changed.append("compression")
    if not _has_policy(connection, relation, "policy_retention", "drop_after", series.retain):
        connection.exec_driver_sql(f"SELECT remove_retention_policy({table}, if_exists => TRUE)")
        if series.retain is not None:
            connection.exec_driver_sql(
                f"SELECT add_retention_policy({table}, drop_after => {_interval(series.retain)})"
            )
        changed.append("retention")
    return changed


def _has_policy(
    connection: Connection, relation: Relation, procedure: str, setting: str, wanted: timedelta | None
) -> bool:
    """Whether the policy is as it is wanted, or is not there and not wanted."""
    values: dict[str, Any] = {"name": relation.quoted(connection), "procedure": procedure, "setting": setting}
    fits = list(connection.scalars(text(_POLICY), values | {"wanted": wanted or timedelta()}))
    return fits == ([] if wanted is None else [True])


def _enable_compression(connection: Connection, relation: Relation, declared: Declaration) -> str:
    quote = connection.dialect.identifier_preparer.quote
    segments = ", ".join(map(quote, declared.segments))
    # Every column of a unique key must be in one of the two.
    placed = [*declared.segments, declared.time.name]
    rest = [quote(column.name) for column in declared.table.primary_key if column.name not in placed]
    order = ", ".join([f"{quote(declared.time.name)} DESC", *rest])
    options = f"timescaledb.compress, timescaledb.compress_orderby = {_literal(order)}"
    if segments:
        options += f", timescaledb.compress_segmentby = {_literal(segments)}"
    return f"ALTER TABLE {relation.quoted(connection)} SET ({options})"


def _interval(duration: timedelta) -> str:
    return f"INTERVAL '{int(duration.total_seconds())} seconds'"


def _literal(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
