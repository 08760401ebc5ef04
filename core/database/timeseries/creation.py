"""Making a table a time series, or a plain table again, whatever rows it has. Only PostgreSQL has to be told."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection, text

from core.database.timeseries.partitions import crowded_chunks
from core.database.timeseries.ranges import Range, missing, partition_name
from core.database.timeseries.relation import Kind, Relation, columns_of, has_timescale, kind_of
from core.database.timeseries.timescale import make_hypertable
from core.instants import now

__all__ = ["AHEAD", "CROWDED", "create", "dissolve", "past"]

#: Chunks that there are besides the present one, so that rows of tomorrow find their place.
AHEAD = 3
#: So many rows of a chunk are worth a partition of their own; fewer stay in the default partition.
CROWDED = 10_000

_LIKE = (
    "INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING GENERATED INCLUDING IDENTITY INCLUDING STORAGE "
    "INCLUDING COMMENTS"
)

# What PostgreSQL itself says of everything that CREATE TABLE (LIKE ...) leaves out, as statements.
_BELONGINGS = {
    "constraints": """
        SELECT format('ALTER TABLE %s ADD CONSTRAINT %I %s', CAST(:name AS text), conname, pg_get_constraintdef(oid))
        FROM pg_constraint WHERE conrelid = to_regclass(:name) AND contype IN ('u', 'x', 'f') ORDER BY conname""",
    "indexes": """
        SELECT replace(pg_get_indexdef(indexrelid), ' ON ONLY ', ' ON ') FROM pg_index
        WHERE indrelid = to_regclass(:name)
        AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid AND conrelid = indrelid)
        ORDER BY indexrelid""",
    "triggers": """
        SELECT pg_get_triggerdef(oid) FROM pg_trigger
        WHERE tgrelid = to_regclass(:name) AND NOT tgisinternal AND tgname <> 'ts_insert_blocker' ORDER BY tgname""",
    "rights": """
        SELECT format('GRANT %s ON TABLE %s TO %s', privilege_type, CAST(:name AS text),
            CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END)
        FROM pg_class, aclexplode(relacl) WHERE pg_class.oid = to_regclass(:name) AND grantee <> relowner""",
    "comment": """
        SELECT format('COMMENT ON TABLE %s IS %L', CAST(:name AS text), obj_description(to_regclass(:name), 'pg_class'))
        WHERE obj_description(to_regclass(:name), 'pg_class') IS NOT NULL""",
}
_PRIMARY_KEY = """
SELECT conname, array(
    SELECT attname::text FROM unnest(conkey) WITH ORDINALITY AS key(number, place)
    JOIN pg_attribute ON attrelid = conrelid AND attnum = number ORDER BY place)
FROM pg_constraint WHERE conrelid = to_regclass(:name) AND contype = 'p'
"""
# Sequences of SERIAL columns (a) would be dropped with the table; those of IDENTITY columns (i) begin anew.
_SEQUENCES = """
SELECT deptype::text, pg_class.oid::regclass::text, attname::text
FROM pg_depend JOIN pg_class ON pg_class.oid = objid AND relkind = 'S'
JOIN pg_attribute ON attrelid = refobjid AND attnum = refobjsubid
WHERE classid = 'pg_class'::regclass AND refobjid = to_regclass(:name) AND deptype IN ('a', 'i')
"""


class _PrimaryKey(NamedTuple):
    name: str
    columns: Sequence[str]


def create(connection: Connection, name: str, time: str, chunk: timedelta, schema: str | None = None) -> None:
    """Make a table a time series, in the present transaction; nothing happens to one that is a time series already.

    With TimescaleDB it becomes a hypertable, on plain PostgreSQL a partitioned table; its primary key gets the time
    added. On other databases a time series is a plain table.

    Args:
        connection: In a transaction.
        name: The table; its unique keys contain the time.
        time: The column of the time.
        chunk: How long a chunk is.
        schema: The table's schema, if it is not the usual one.
    """
    relation = Relation(name, schema)
    if connection.dialect.name != "postgresql" or kind_of(connection, relation) is not Kind.PLAIN:
        return

    def with_time(columns: Sequence[str]) -> list[str]:
        return [*columns, *([] if time in columns else [time])]

    if has_timescale(connection):
        _change_primary_key(connection, relation, with_time)
        make_hypertable(connection, relation, time, chunk)
        return
    quoted = connection.dialect.identifier_preparer.quote(time)
    _rebuild(
        connection,
        relation,
        f" PARTITION BY RANGE ({quoted})",
        with_time,
        lambda new: _prepare_partitions(connection, relation, new, time, chunk),
    )


def dissolve(
    connection: Connection, name: str, primary_key: Sequence[str] | None = None, schema: str | None = None
) -> None:
    """Make a time series a plain table again, with all its rows, in the present transaction.

    Args:
        connection: In a transaction.
        name: The table.
        primary_key: The columns of its primary key then; ``None`` leaves it as it is.
        schema: The table's schema, if it is not the usual one.
    """
    relation = Relation(name, schema)
    if connection.dialect.name == "postgresql" and kind_of(connection, relation) in (Kind.PARTITIONED, Kind.HYPERTABLE):
        _rebuild(connection, relation, "", lambda columns: primary_key or columns, lambda _: None)


def past(retain: timedelta | None) -> Range:
    """From the oldest instant whose rows are kept up to now."""
    present = now()
    return Range(present - retain if retain else present.replace(year=1, month=1, day=2), present)


def _prepare_partitions(connection: Connection, old: Relation, new: Relation, time: str, chunk: timedelta) -> None:
    """Make the partitions for the rows that there are, and for those to come."""
    present = now()
    wanted = [
        *crowded_chunks(connection, old, time, past(None), chunk, CROWDED),
        *missing(Range(present, present + AHEAD * chunk), chunk, []),
    ]
    for start, end in dict.fromkeys(wanted):
        partition = old.named(partition_name(old.name, start)).quoted(connection)
        connection.exec_driver_sql(
            f"CREATE TABLE {partition} PARTITION OF {new.quoted(connection)} "
            f"FOR VALUES FROM ('{start.isoformat()}') TO ('{end.isoformat()}')"
        )
    default = old.named(f"{old.name}_default").quoted(connection)
    connection.exec_driver_sql(f"CREATE TABLE {default} PARTITION OF {new.quoted(connection)} DEFAULT")


def _rebuild(
    connection: Connection,
    relation: Relation,
    ending: str,
    change_key: Callable[[Sequence[str]], Sequence[str]],
    prepare: Callable[[Relation], Any],
) -> None:
    """Copy a table into one of another kind that takes its place: PostgreSQL can change no table's kind."""
    new = relation.named(f"{relation.name}_mqueduct")
    old_name, new_name = relation.quoted(connection), new.quoted(connection)
    connection.exec_driver_sql(f"LOCK TABLE {old_name} IN ACCESS EXCLUSIVE MODE")
    key = _primary_key(connection, relation)
    belongings = [
        statement for query in _BELONGINGS.values() for statement in connection.scalars(text(query), {"name": old_name})
    ]
    connection.exec_driver_sql(f"CREATE TABLE {new_name} (LIKE {old_name} {_LIKE}){ending}")
    prepare(new)
    columns = columns_of(connection, relation)
    connection.exec_driver_sql(
        f"INSERT INTO {new_name} ({columns}) OVERRIDING SYSTEM VALUE SELECT {columns} FROM {old_name}"
    )
    _take_sequences(connection, relation, new)
    connection.exec_driver_sql(f"DROP TABLE {old_name}")
    quote = connection.dialect.identifier_preparer.quote
    connection.exec_driver_sql(f"ALTER TABLE {new_name} RENAME TO {quote(relation.name)}")
    if key is not None:
        _add_primary_key(connection, relation, _PrimaryKey(key.name, change_key(key.columns)))
    for statement in belongings:
        connection.exec_driver_sql(statement)


def _take_sequences(connection: Connection, old: Relation, new: Relation) -> None:
    quote = connection.dialect.identifier_preparer.quote
    new_name = new.quoted(connection)
    for kind, sequence, column in connection.execute(text(_SEQUENCES), {"name": old.quoted(connection)}).all():
        if kind == "a":
            connection.exec_driver_sql(f"ALTER SEQUENCE {sequence} OWNED BY {new_name}.{quote(column)}")
        else:
            connection.execute(
                text(f"SELECT setval(pg_get_serial_sequence(:new, :column), last_value, is_called) FROM {sequence}"),
                {"new": new_name, "column": column},
            )


def _primary_key(connection: Connection, relation: Relation) -> _PrimaryKey | None:
    found = connection.execute(text(_PRIMARY_KEY), {"name": relation.quoted(connection)}).first()
    return None if found is None else _PrimaryKey(*found)


def _change_primary_key(
    connection: Connection, relation: Relation, change: Callable[[Sequence[str]], Sequence[str]]
) -> None:
    key = _primary_key(connection, relation)
    if key is not None and list(key.columns) != (wanted := list(change(key.columns))):
        quote = connection.dialect.identifier_preparer.quote
        name = relation.quoted(connection)
        connection.exec_driver_sql(f"ALTER TABLE {name} DROP CONSTRAINT {quote(key.name)}")
        _add_primary_key(connection, relation, _PrimaryKey(key.name, wanted))


def _add_primary_key(connection: Connection, relation: Relation, key: _PrimaryKey) -> None:
    quote = connection.dialect.identifier_preparer.quote
    columns = ", ".join(map(quote, key.columns))
    connection.exec_driver_sql(
        f"ALTER TABLE {relation.quoted(connection)} ADD CONSTRAINT {quote(key.name)} PRIMARY KEY ({columns})"
    )
