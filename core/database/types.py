"""Column types that behave alike on all three databases."""

import enum
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, DateTime, Dialect, Enum, Integer
from sqlalchemy.dialects import mysql
from sqlalchemy.sql import operators
from sqlalchemy.sql.operators import OperatorType
from sqlalchemy.types import TypeDecorator, TypeEngine

from core.database.shifts import Shifted
from core.exceptions import ConfigurationError
from core.instants import to_instant

__all__ = ["BigId", "Instant", "PortableEnum"]

_MYSQL = ("mysql", "mariadb")

#: Ids are 64 bits wide: a redelivered upsert uses up a sequence value. SQLite counts only INTEGER keys.
BigId = BigInteger().with_variant(Integer(), "sqlite")


def _values(members: type[enum.Enum]) -> list[str]:
    texts = [str(member.value) for member in members]
    if len(set(texts)) < len(texts):
        raise ConfigurationError(
            f"{members.__module__}.{members.__qualname__}: two members have values of the same text, and a database "
            "could not tell them apart; fix: give each a value of its own"
        )
    return texts


#: Values are what payloads bring and other programs read; a type of the database's own would need a migration for
#: each new member.
PortableEnum = Enum(enum.Enum, native_enum=False, length=255, values_callable=_values)


class _InstantComparator(DateTime.Comparator[datetime]):
    """Instants can be compared, and shifted by a timedelta."""

    def operate(self, op: OperatorType, *other: Any, **kwargs: Any) -> ColumnElement[Any]:
        """Build ``instant + timedelta`` and ``instant - timedelta``; comparisons go their usual way."""
        if op not in (operators.add, operators.sub):
            return super().operate(op, *other, **kwargs)
        own = getattr(self.expr, "value", None)
        if op is operators.add and isinstance(own, timedelta):
            # "timedelta + Model.attribute" comes as a parameter, to which the column is added.
            return Shifted(other[0], own, self.type)
        if not isinstance(other[0], timedelta):
            raise TypeError(_NO_DIFFERENCE)
        return Shifted(self.expr, other[0] if op is operators.add else -other[0], self.type)

    def reverse_operate(self, op: OperatorType, other: Any, **kwargs: Any) -> ColumnElement[Any]:
        """Build ``timedelta + instant``."""
        if op is operators.add and isinstance(other, timedelta):
            return Shifted(self.expr, other, self.type)
        if op in (operators.add, operators.sub):
            raise TypeError(_NO_DIFFERENCE)
        return super().reverse_operate(op, other, **kwargs)


_NO_DIFFERENCE = (
    "an Instant column can be shifted by a timedelta, nothing else: databases disagree on differences of times; "
    "fix: select both and subtract in Python"
)


class Instant(TypeDecorator[datetime]):
    """A point in time, kept as UTC with microseconds and read back as an aware datetime.

    Takes and compares with whatever ``core.instants.to_instant`` takes: datetimes, seconds or
    milliseconds since 1970, ISO 8601 text. ``column - timedelta(hours=1)`` works on every database.
    """

    impl = DateTime(timezone=True)
    cache_ok = True
    comparator_factory = _InstantComparator

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Choose the column type; plain DATETIME of MySQL would drop the microseconds."""
        if dialect.name in _MYSQL:
            return dialect.type_descriptor(mysql.DATETIME(fsp=6))
        return dialect.type_descriptor(DateTime(timezone=True))

    def coerce_compared_value(self, op: OperatorType | None, value: Any) -> Any:
        """Read the other side of a comparison as an instant too."""
        return self

    def process_bind_param(self, value: Any, dialect: Dialect) -> datetime | None:
        """Convert on the way in; databases without zones get naive UTC."""
        if value is None:
            return None
        instant = to_instant(value)
        return instant if dialect.name == "postgresql" else instant.replace(tzinfo=None)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Convert on the way out; what comes without a zone is UTC."""
        return None if value is None else to_instant(value)
