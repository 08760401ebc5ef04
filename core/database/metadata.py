"""The tables of a service: the models' and the framework's own."""

from sqlalchemy import Column, MetaData, String, Table, Text

__all__ = ["metadata", "subscription_table"]

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
    # The length lifts MySQL's TEXT of 64 KiB to MEDIUMTEXT.
    Column("filters", Text(2**24 - 1), nullable=False),
)
