"""Many rows that are built at once are what they would be one by one."""

import math
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Dialect, Float, String, Text
from sqlalchemy.dialects.mysql import aiomysql
from sqlalchemy.dialects.postgresql import asyncpg
from sqlalchemy.dialects.sqlite import aiosqlite

from core.database.shapes import UNFIT, ComputedBySQL, Shapes
from core.exceptions import InvalidValue
from core.model import BigId, Instant, Json, Mapped, Model, Timestamps, mapped_column

POSTGRESQL: Dialect = asyncpg.dialect()
MYSQL: Dialect = aiomysql.dialect()
SQLITE: Dialect = aiosqlite.dialect()

BAD = ["x" * 21, "nul \0", "\ud800", math.nan, math.inf, 2**63, object(), True, b"x", "1900-13-01", [object()]]


class Colour(StrEnum):
    RED = "red"


class Sample(Timestamps, Model):
    __tablename__ = "rows_at_once"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    name: Mapped[str | None] = mapped_column(String(20))
    notes: Mapped[str | None] = mapped_column(Text)
    value: Mapped[float | None] = mapped_column(Float(53))
    number: Mapped[int | None]
    at: Mapped[datetime | None] = mapped_column(Instant)
    more: Mapped[Any] = mapped_column(Json, nullable=True)
    kind: Mapped[str] = mapped_column(String(10), default="usual")


texts = st.none() | st.text(max_size=25) | st.sampled_from(list(Colour))
fields = st.fixed_dictionaries(
    {
        "name": texts,
        "notes": texts,
        "value": st.none() | st.floats() | st.integers(-(2**70), 2**70),
        "number": st.none() | st.integers(-(2**64), 2**64),
        "at": st.none() | st.datetimes(timezones=st.none() | st.just(UTC)) | st.floats(0, 1e9) | st.just("2026-11-21"),
        "more": st.none() | st.dictionaries(st.text(max_size=3), st.integers(0, 9), max_size=2),
    }
)
TIMES = ("created_at", "updated_at")


@given(st.lists(fields, min_size=1, max_size=5), st.sampled_from([POSTGRESQL, MYSQL, SQLITE]))
def test_same_rows_or_a_refusal(listed: list[dict[str, Any]], dialect: Dialect) -> None:
    """The same values and parameters, and refused as soon as one of them would be."""
    shape = Shapes(dialect).of(Sample, listed[0])
    try:
        expected = [shape.row(dict(each)) for each in listed]
    except (InvalidValue, ComputedBySQL):
        with pytest.raises(UNFIT):
            shape.rows([dict(each) for each in listed])
        return
    times = {shape.attributes.index(name) for name in TIMES}
    for one, other in zip(expected, shape.rows([dict(each) for each in listed]), strict=True):
        assert without_times(one.values) == without_times(other.values)
        assert without(one.bound, times) == without(other.bound, times)
        assert type(one.bound) is type(other.bound)


def without_times(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in TIMES}


def without(bound: tuple[Any, ...], places: set[int]) -> list[Any]:
    return [value for place, value in enumerate(bound) if place not in places]


@pytest.mark.parametrize("name", ["name", "notes", "value", "number", "at", "more"])
def test_values_that_are_refused_one_by_one_are_refused_together(name: str) -> None:
    """Whatever stands around them."""
    good = {"name": "a", "notes": "b", "value": 1.0, "number": 1, "at": 1.0, "more": {}}
    shape = Shapes(POSTGRESQL).of(Sample, good)
    refused = 0
    for bad in BAD:
        rows = [dict(good), good | {name: bad}, dict(good)]
        try:
            shape.row(dict(rows[1]))
        except InvalidValue:
            refused += 1
            with pytest.raises(UNFIT):
                shape.rows(rows)
        else:
            assert 3 == len(shape.rows(rows))
    assert refused > 0


@pytest.mark.parametrize("dialect", [POSTGRESQL, MYSQL, SQLITE], ids=lambda dialect: dialect.name)
@pytest.mark.parametrize("at", [None, datetime(1, 1, 1, tzinfo=UTC), datetime(2026, 11, 21, 1, 2, 3, 40, tzinfo=UTC)])
def test_times_are_bound_as_sqlalchemy_does(dialect: Dialect, at: datetime | None) -> None:
    """Which other statements rely on."""
    shape = Shapes(dialect).of(Sample, {"at": at})
    (row,) = shape.rows([{"at": at}])
    processor = Sample.__table__.c.at.type._cached_bind_processor(dialect)
    expected = processor(at) if processor is not None else at
    assert expected == row.bound[shape.attributes.index("at")]


def test_defaults_of_the_present_are_one_instant() -> None:
    """Rows that come together were created together, and are not changed yet."""
    shape = Shapes(POSTGRESQL).of(Sample, {"name": "a"})
    rows = shape.rows([{"name": "a"}, {"name": "b"}])
    assert 1 == len({row.values[name] for row in rows for name in TIMES})
