"""The tables of a service: the models' and the framework's own."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
)
from sqlalchemy.dialects.mysql import LONGBLOB, MEDIUMTEXT

# Wherever tables are known, they are created by its rules.
import core.database.ddl  # noqa: F401
from core.database.types import BigId, Instant

__all__ = [
    "dead_letter_table",
    "lease_table",
    "metadata",
    "run_table",
    "subscription_table",
    "suspect_table",
    "writer_table",
]

# MySQL's TEXT and BLOB end at 64 KiB.
_LongText = Text().with_variant(MEDIUMTEXT(), "mysql", "mariadb")
_LongBinary = LargeBinary().with_variant(LONGBLOB(), "mysql", "mariadb")

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
    Column("filters", _LongText, nullable=False),
)

#: Which process may use a client id: the holder shows by counting beats that it lives; without one it is free.
lease_table = Table(
    "mqueduct_leases",
    metadata,
    Column("client_id", String(255), primary_key=True),
    Column("holder", String(64)),
    Column("beat", BigInteger, nullable=False),
)

#: Whether a process of a client id is at work; still true at the next start if it went down.
run_table = Table(
    "mqueduct_runs",
    metadata,
    Column("client_id", String(255), primary_key=True),
    Column("running", Boolean, nullable=False),
)

#: After a crash: how often each redelivered message was begun.
suspect_table = Table(
    "mqueduct_suspects",
    metadata,
    Column("client_id", String(255), primary_key=True),
    Column("fingerprint", String(64), primary_key=True),
    Column("attempts", Integer, nullable=False),
)

#: The high-water row of each writer: the number of the last flush that it committed.
writer_table = Table(
    "mqueduct_writers",
    metadata,
    Column("writer", String(64), primary_key=True),
    Column("sequence", BigInteger, nullable=False),
    Column("moved_at", DateTime(timezone=True), nullable=False),
)

#: Messages that could not be handled, with all that is needed to handle them later.
dead_letter_table = Table(
    "dead_letters",
    metadata,
    Column("id", BigId, primary_key=True),
    # Tells a redelivery from a new message; see ``core.dead_letter``.
    Column("fingerprint", String(64), nullable=False, index=True),
    Column("topic", _LongText, nullable=False),
    Column("payload", _LongBinary, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("digest", String(64)),
    Column("qos", SmallInteger, nullable=False),
    Column("retain", Boolean, nullable=False),
    Column("properties", _LongText, nullable=False),
    Column("route", String(255)),
    Column("reason", String(32), nullable=False),
    Column("error", Text, nullable=False),
    Column("traceback", _LongText),
    Column("attempts", Integer, nullable=False),
    Column("received_at", Instant, nullable=False),
    Column("failed_at", Instant, nullable=False, index=True),
)
