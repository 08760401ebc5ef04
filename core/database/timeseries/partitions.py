"""The partitions of a table on plain PostgreSQL: making them, moving rows into them, letting them go."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from sqlalchemy import Connection, text

from core.database.timeseries.ranges import Range, chunk_at, partition_name
from core.database.timeseries.relation import Relation, columns_of

__all__ = [
    "Partition",
    "crowded_chunks",
    "default_partition",
    "drop_partition",
    "make_default_partition",
    "make_partition",
    "partitions_of",
    "purge",
]

# Shorter than what the writer of flushes waits: whoever queues for a lock lets nobody pass, so it is for us to give up.
_LOCK_TIMEOUT = "200ms"

_BOUND = re.compile(r"FOR VALUES FROM \((.+?)\) TO \((.+?)\)")

_PARTITIONS = """
SELECT relname, nspname, pg_get_expr(relpartbound, pg_class.oid) AS bound
FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE inhparent = to_regclass(:name) ORDER BY relname
"""


class Partition(NamedTuple):
    """A partition.

    Attributes:
        relation: Its table.
        range: Its range; ``None`` for the default partition, which takes what is in no range.
    """

    relation: Relation
    range: Range | None


def partitions_of(connection: Connection, parent: Relation) -> list[Partition]:
    """All partitions of a table."""
    # Bounds are written down in the session's zone and style.
    connection.execute(text("SET LOCAL TimeZone = 'UTC'"))
    connection.execute(text("SET LOCAL DateStyle = 'ISO'"))
    found = connection.execute(text(_PARTITIONS), {"name": parent.quoted(connection)})
    return [Partition(Relation(name, schema), _range(bound)) for name, schema, bound in found]


def default_partition(partitions: Sequence[Partition]) -> Relation | None:
    """The partition for rows that are in no range."""
    return next((partition.relation for partition in partitions if partition.range is None), None)


def make_default_partition(connection: Connection, parent: Relation) -> Relation:
    """Make the partition for rows that are in no range."""
    default = parent.named(f"{parent.name}_default")
    _limit_waiting(connection)
    connection.exec_driver_sql(
        f"CREATE TABLE {default.quoted(connection)} PARTITION OF {parent.quoted(connection)} DEFAULT"
    )
    return default


def make_partition(connection: Connection, parent: Relation, default: Relation, time: str, wanted: Range) -> int:
    """Make a partition and move the rows of its range out of the default partition, in the present transaction.

    Rows of other ranges are read and written meanwhile; the default partition is locked.

    Args:
        connection: In a transaction.
        parent: The table.
        default: Its default partition.
        time: The column of the time.
        wanted: The range.

    Returns:
        How many rows were moved.
    """
    partition = parent.named(partition_name(parent.name, wanted.start))
    new, whole, rest = (each.quoted(connection) for each in (partition, parent, default))
    column = connection.dialect.identifier_preparer.quote(time)
    columns = columns_of(connection, parent)
    _limit_waiting(connection)
    # In the order in which ATTACH takes them. CREATE TABLE ... PARTITION OF would lock the whole table instead.
    connection.exec_driver_sql(f"LOCK TABLE ONLY {whole} IN SHARE UPDATE EXCLUSIVE MODE")
    connection.exec_driver_sql(f"LOCK TABLE {rest} IN ACCESS EXCLUSIVE MODE")
    connection.exec_driver_sql(f"CREATE TABLE {new} (LIKE {whole} INCLUDING ALL EXCLUDING IDENTITY)")
    moved = connection.exec_driver_sql(
        f"WITH moved AS (DELETE FROM {rest} WHERE {column} >= '{wanted.start.isoformat()}' "
        f"AND {column} < '{wanted.end.isoformat()}' RETURNING {columns}) "
        f"INSERT INTO {new} ({columns}) SELECT {columns} FROM moved"
    ).rowcount
    connection.exec_driver_sql(
        f"ALTER TABLE {whole} ATTACH PARTITION {new} "
        f"FOR VALUES FROM ('{wanted.start.isoformat()}') TO ('{wanted.end.isoformat()}')"
    )
    return moved


def crowded_chunks(
    connection: Connection, relation: Relation, time: str, within: Range, chunk: timedelta, rows: int
) -> list[Range]:
    """The chunks of which a table has many rows.

    Args:
        connection: In a transaction.
        relation: The table, or its default partition.
        time: The column of the time.
        within: The instants to look at.
        chunk: How long a chunk is.
        rows: How many rows are many.
    """
    column = connection.dialect.identifier_preparer.quote(time)
    table = relation.quoted(connection)
    numbers = connection.scalars(
        text(
            f"SELECT floor(extract(epoch FROM {column}) / :seconds)::bigint AS number FROM {table} "
            f"WHERE {column} >= :start AND {column} < :end GROUP BY number HAVING count(*) >= :rows ORDER BY number"
        ),
        {"seconds": int(chunk.total_seconds()), "start": within.start, "end": within.end, "rows": rows},
    )
    return [chunk_at(number, chunk) for number in numbers]


def drop_partition(connection: Connection, parent: Relation, partition: Relation) -> None:
    """Take a partition out of its table and drop it, in the present transaction: both or neither."""
    _limit_waiting(connection)
    connection.exec_driver_sql(
        f"ALTER TABLE {parent.quoted(connection)} DETACH PARTITION {partition.quoted(connection)}"
    )
    connection.exec_driver_sql(f"DROP TABLE {partition.quoted(connection)}")


def purge(connection: Connection, relation: Relation, time: str, before: datetime, batch: int) -> int:
    """Remove old rows of one table; returns how many there were, not more than a batch."""
    name, column = relation.quoted(connection), connection.dialect.identifier_preparer.quote(time)
    chosen = f"SELECT ctid FROM {name} WHERE {column} < :before LIMIT :batch"
    statement = text(f"DELETE FROM {name} WHERE ctid = ANY (ARRAY({chosen}))")
    return connection.execute(statement, {"before": before, "batch": batch}).rowcount


def _limit_waiting(connection: Connection) -> None:
    connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'")


def _range(bound: str) -> Range | None:
    found = _BOUND.search(bound)
    return Range(_instant(found[1]), _instant(found[2])) if found else None


def _instant(bound: str) -> datetime:
    try:
        return datetime.fromisoformat(bound.strip("'"))
    except ValueError:
        # MINVALUE, -infinity, or years of which Python knows nothing.
        first = bound.startswith(("MIN", "'-")) or bound.endswith("BC'")
        return datetime.min.replace(tzinfo=UTC) if first else datetime.max.replace(tzinfo=UTC)
