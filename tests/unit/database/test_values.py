"""Values that one database would take and another refuse."""

import enum
import math
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    Enum,
    Float,
    Integer,
    LargeBinary,
    Numeric,
    SmallInteger,
    String,
    Text,
    func,
)

from core.database.types import BigId, Instant
from core.database.values import is_sql, normaliser
from core.instants import to_instant


class Colour(enum.StrEnum):
    RED = "red"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 10


class Ways(enum.IntFlag):
    IN = 1
    OUT = 2


class Shape(enum.Enum):
    ROUND = "ROUND"
    OVAL = "round"
    FLAT = 0.5


def normalise(kind: Any, value: Any) -> Any:
    check = normaliser(Column("c", kind))
    assert check is not None
    return check(value)


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (String(3), "abc", "abc"),
        (String(3), "äöü", "äöü"),
        (String(), "a" * 1000, "a" * 1000),
        (Text(), "\U0001f600", "\U0001f600"),
        (String(3), Colour.RED, "red"),
        (Integer(), 2**31 - 1, 2**31 - 1),
        (Integer(), -(2**31), -(2**31)),
        (SmallInteger(), 32767, 32767),
        (BigInteger(), 2**63 - 1, 2**63 - 1),
        (BigId, -(2**63), -(2**63)),
        (Double(), 1, 1.0),
        (Float(), Decimal("1.5"), 1.5),
        (Double(), 1.7976931348623157e308, 1.7976931348623157e308),
        (Numeric(10, 2), Decimal("1.50"), Decimal("1.50")),
        (Numeric(6, 2), 1.005, Decimal("1.01")),
        (Numeric(6, 2), Decimal("-1.005"), Decimal("-1.01")),
        (Numeric(6, 2), 9999.994, Decimal("9999.99")),
        (Numeric(6), 2.5, Decimal(3)),
        (Numeric(60, 30), Decimal("1e29"), Decimal("1e29")),
        (Numeric(6, 2, asdecimal=False), 1.005, 1.01),
        (Numeric(), Decimal("1.23456789"), Decimal("1.23456789")),
        (Instant(), 5, to_instant(5)),
        (Enum(Colour), Colour.RED, Colour.RED),
        (Enum(Colour), "red", Colour.RED),
        (Enum(Colour), "RED", Colour.RED),
        (Enum(Level), 10, Level.HIGH),
        (Enum(Level), "10", Level.HIGH),
        (Enum(Level), "HIGH", Level.HIGH),
        (Enum(Ways), 2, Ways.OUT),
        (Enum(Shape), "round", Shape.OVAL),
        (Enum(Shape), "ROUND", Shape.ROUND),
        (Enum(Shape), 0.5, Shape.FLAT),
    ],
)
def test_fitting_values_become_what_will_read_back(kind: Any, value: Any, expected: Any) -> None:
    """A whole number in a column of reals becomes a float, a time an aware datetime; the rest stays."""
    found = normalise(kind, value)
    assert expected == found
    if isinstance(expected, float):
        assert type(found) is float


@pytest.mark.parametrize(
    ("kind", "value", "reason"),
    [
        (String(3), 17, "must be text, not int"),
        (String(3), b"abc", "must be text, not bytes"),
        (String(3), "abcd", "is 4 characters long; at most 3 fit"),
        (Text(), "a\0b", "NUL"),
        (Text(), "a\ud800", "lone surrogate"),
        (Integer(), 2**31, "does not fit in 32 bits"),
        (SmallInteger(), -32769, "does not fit in 16 bits"),
        (BigInteger(), 2**64, "does not fit in 64 bits"),
        (BigId, 10**400, "does not fit in 64 bits"),
        (Integer(), 1.5, "must be a whole number, not float"),
        (Integer(), "1", "must be a whole number, not str"),
        (Integer(), True, "must be a whole number, not bool"),
        (Double(), "1.5", "must be a number, not str"),
        (Double(), True, "must be a number, not bool"),
        (Double(), math.nan, "finite"),
        (Double(), math.inf, "finite"),
        (Double(), -math.inf, "finite"),
        (Double(), 10**400, "finite"),
        (Numeric(), Decimal("NaN"), "finite"),
        (Numeric(6, 2), Decimal("123456789.00"), "smaller than 1E\\+4"),
        (Numeric(6, 2), 9999.995, "smaller than"),
        (Numeric(6, 2), -10_000, "smaller than"),
        (Numeric(6, 2), "1.5", "must be a number, not str"),
        (Instant(), 1e30, "years 1 to 9999"),
        (Instant(), math.nan, "years 1 to 9999"),
        (Instant(), "hunter2", "no time"),
        (Enum(Colour), "blue", "one of 'red'"),
        (Enum(Colour), ["red"], "one of 'red'"),
        (Enum(Level), 2, "one of 1, 10"),
        (Enum(Level), True, "one of 1, 10"),
        (Enum(Level), 1.0, "one of 1, 10"),
        (Enum(Ways), Ways.IN | Ways.OUT, "one of 1, 2"),
        (Enum(Shape), Colour.RED, "one of 'ROUND', 'round', 0.5"),
    ],
)
def test_values_that_some_database_refuses_are_refused_for_all(kind: Any, value: Any, reason: str) -> None:
    """The reason says what is wrong with the value."""
    with pytest.raises(ValueError, match=reason):
        normalise(kind, value)


@pytest.mark.parametrize("kind", [LargeBinary(), Enum("red", "green", name="colours")])
def test_other_types_are_left_to_sqlalchemy(kind: Any) -> None:
    """There is nothing to check for them."""
    assert normaliser(Column("c", kind)) is None


def test_sql_expressions_are_recognised() -> None:
    """A column, a function and an attribute are SQL; a value is not."""
    assert is_sql(func.now())
    assert is_sql(Column("c", Integer))
    assert not is_sql("now()")
