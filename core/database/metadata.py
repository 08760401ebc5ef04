"""The tables of a service: the models' and the framework's own."""

from sqlalchemy import BigInteger, Column, DateTime, MetaData, String, Table, Text
from sqlalchemy.dialects.mysql import MEDIUMTEXT

# Wherever tables are known, they are created by its rules.
import core.database.ddl  # noqa: F401

__all__ = ["lease_table", "metadata", "subscription_table", "writer_table"]

metadata = MetaData(
    # Named by rule, so that migrations can name them again on every database.
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

#: Which topic filters the broker holds for a client id, as JSON.
subscription_table = Table(
    "mqueduct_subscriptions",
    metadata,
    Column("client_id", String(255), primary_key=True),
    # MySQL's TEXT ends at 64 KiB.
    Column("filters", Text().with_variant(MEDIUMTEXT(), "mysql", "mariadb"), nullable=False),
)

#: Which process may use a client id: the holder shows by counting beats that it lives; without one it is free.
lease_table = Table(
    "mqueduct_leases",
    metadata,
    Column("client_id", String(255), primary_key=True),
    Column("holder", String(64)),
    Column("beat", BigInteger, nullable=False),
)

#: The high-water row of each writer: the number of the last flush that it committed.
writer_table = Table(
    "mqueduct_writers",
    metadata,
    Column("writer", String(64), primary_key=True),
    Column("sequence", BigInteger, nullable=False),
    Column("moved_at", DateTime(timezone=True), nullable=False),
)
