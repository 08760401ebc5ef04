"""A table of PostgreSQL by its name, and what it is at present."""

from enum import Enum
from typing import NamedTuple

from sqlalchemy import Connection, text

__all__ = ["Kind", "Relation", "columns_of", "has_timescale", "kind_of"]

_PREPARED = "SELECT relkind FROM pg_class WHERE oid = to_regclass(:name)"
_TIMESCALE = "SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb')"
_HYPERTABLE = (
    "SELECT EXISTS (SELECT FROM timescaledb_information.hypertables JOIN pg_class ON relname = hypertable_name "
    "JOIN pg_namespace ON pg_namespace.oid = relnamespace AND nspname = hypertable_schema "
    "WHERE pg_class.oid = to_regclass(:name))"
)
# Columns that the database computes cannot be copied.
_COLUMNS = (
    "SELECT quote_ident(attname) FROM pg_attribute WHERE attrelid = to_regclass(:name) AND attnum > 0 "
    "AND NOT attisdropped AND attgenerated = '' ORDER BY attnum"
)


class Kind(Enum):
    """What a table is."""

    MISSING = "missing"
    PLAIN = "plain"
    PARTITIONED = "partitioned"
    HYPERTABLE = "hypertable"


class Relation(NamedTuple):
    """A table by its name."""

    name: str
    schema: str | None = None

    def named(self, name: str) -> "Relation":
        """Another table of the same schema."""
        return self._replace(name=name)

    def quoted(self, connection: Connection) -> str:
        """The name as SQL wants it."""
        quote = connection.dialect.identifier_preparer
        prefix = f"{quote.quote_schema(self.schema)}." if self.schema else ""
        return prefix + quote.quote(self.name)


def kind_of(connection: Connection, relation: Relation) -> Kind:
    """Look at a table."""
    name = {"name": relation.quoted(connection)}
    kind = connection.scalar(text(_PREPARED), name)
    if kind is None:
        return Kind.MISSING
    # asyncpg gives PostgreSQL's "char" as bytes.
    if kind in ("p", b"p"):
        return Kind.PARTITIONED
    if has_timescale(connection) and connection.scalar(text(_HYPERTABLE), name):
        return Kind.HYPERTABLE
    return Kind.PLAIN


def has_timescale(connection: Connection) -> bool:
    """Whether TimescaleDB is installed in the database."""
    return bool(connection.scalar(text(_TIMESCALE)))


def columns_of(connection: Connection, relation: Relation) -> str:
    """The columns that can be written, for a statement."""
    return ", ".join(connection.scalars(text(_COLUMNS), {"name": relation.quoted(connection)}))
