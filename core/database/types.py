"""Column types that behave alike on all three databases."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger, DateTime, Dialect, Integer
from sqlalchemy.dialects import mysql
from sqlalchemy.sql.operators import OperatorType
from sqlalchemy.types import TypeDecorator, TypeEngine

from core.instants import to_instant

__all__ = ["BigId", "Instant"]

_MYSQL = ("mysql", "mariadb")

#: Ids are 64 bits wide: a redelivered upsert uses up a sequence value. SQLite counts only INTEGER keys.
BigId = BigInteger().with_variant(Integer(), "sqlite")


class Instant(TypeDecorator[datetime]):
    """A point in time, kept as UTC with microseconds and read back as an aware datetime.

    Takes and compares with whatever ``core.instants.to_instant`` takes: datetimes, seconds or
    milliseconds since 1970, ISO 8601 text.
    """

    impl = DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Choose the column type; plain DATETIME of MySQL would drop the microseconds."""
        if dialect.name in _MYSQL:
            return dialect.type_descriptor(mysql.DATETIME(fsp=6))
        return dialect.type_descriptor(DateTime(timezone=True))

    def coerce_compared_value(self, op: OperatorType | None, value: Any) -> Any:
        """Read the other side of a comparison as an instant too, but leave durations alone."""
        if isinstance(value, timedelta):
            return super().coerce_compared_value(op, value)
        return self

    def process_bind_param(self, value: Any, dialect: Dialect) -> datetime | None:
        """Convert on the way in; databases without zones get naive UTC."""
        if value is None:
            return None
        instant = to_instant(value)
        return instant if dialect.name == "postgresql" else instant.replace(tzinfo=None)

    def process_literal_param(self, value: Any, dialect: Dialect) -> str:
        """Show the value in SQL printed with its literals."""
        return f"'{to_instant(value).replace(tzinfo=None).isoformat(' ')}'"

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Convert on the way out; what comes without a zone is UTC."""
        return None if value is None else to_instant(value)
