"""What can be declared; each wrong declaration says what to change."""

import datetime as dt
import itertools
import re
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import ForeignKey, Index, String, UniqueConstraint, text

from core.database.metadata import metadata
from core.database.timeseries import declarations
from core.exceptions import ConfigurationError
from core.model import BigId, Instant, Mapped, Model, SoftDeletes, TimeSeries, UUIDv7Key, mapped_column

NAME = String(20)
_numbers = itertools.count()

SERIES = TimeSeries(time="at", chunk="1 day", compress_after="7 days", retain="90 days")


@pytest.fixture(autouse=True)
def only_here() -> Iterator[None]:
    """Tables of these tests are no tables of others."""
    before = set(metadata.tables)
    yield
    for name in set(metadata.tables) - before:
        metadata.remove(metadata.tables[name])


def model(name: str, /, *arguments: Any, key: bool = True, **attributes: Any) -> type[Model]:
    """A model with an id, a time and a name."""
    body: dict[str, Any] = {
        "__tablename__": name,
        "__table_args__": arguments,
        "__timeseries__": SERIES,
        "__annotations__": {"at": Mapped[dt.datetime], "name": Mapped[str]},
        "at": mapped_column(Instant),
        "name": mapped_column(String(20)),
    }
    if key:
        body["id"] = mapped_column(BigId, primary_key=True)
        body["__annotations__"]["id"] = Mapped[int]
    return type(f"Series{next(_numbers)}", (Model,), body | attributes)


def test_durations() -> None:
    """As texts or timedeltas."""
    same = TimeSeries("at", dt.timedelta(days=1), dt.timedelta(days=7), dt.timedelta(days=90))
    assert SERIES == same == TimeSeries(time="at", chunk="24h", compress_after="1w", retain="90d")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"chunk": "1 month"}, "TimeSeries: chunk: '1 month' is no duration"),
        ({"retain": 90}, "TimeSeries: retain: 90 is no duration"),
        ({"chunk": "1 minute"}, "1 hour at least"),
        ({"chunk": dt.timedelta(hours=1, microseconds=1)}, "whole seconds"),
        ({"chunk": "1 week", "retain": "6 days"}, "shorter than a chunk"),
        ({"compress_after": "90 days", "retain": "90 days"}, "comes when the rows are gone"),
    ],
)
def test_impossible_durations_are_refused(options: dict[str, Any], problem: str) -> None:
    """Where they are written."""
    with pytest.raises(ConfigurationError, match=re.escape(problem)):
        TimeSeries(time="at", **options)


def test_series_of_a_model_is_known() -> None:
    """With its table, its time and what its natural key makes of it."""
    made = model("s_known", UniqueConstraint("name", "at"), __natural_key__=("name", "at"))
    (known,) = [each for each in declarations() if each.model is made]
    assert ("s_known", "at", ["name"], SERIES) == (known.table.name, known.time.name, known.segments, known.series)


def test_time_gets_an_index() -> None:
    """BRIN where there is such a thing; none where the model has one that begins with the time."""
    (index,) = model("s_brin").__table__.indexes  # type: ignore[attr-defined]
    assert ("ix_s_brin_at", "brin") == (index.name, index.kwargs["postgresql_using"])
    (own,) = model("s_own", Index("own", "at", "name")).__table__.indexes  # type: ignore[attr-defined]
    assert "own" == own.name


@pytest.mark.parametrize(
    ("arguments", "attributes", "problem"),
    [
        ((), {"__timeseries__": "at"}, "is no TimeSeries; fix: __timeseries__ = TimeSeries("),
        ((), {"__timeseries__": TimeSeries(time="when")}, "'when' is no column of it; fix: name one of: at, name, id"),
        ((), {"__timeseries__": TimeSeries(time="name")}, "name is no Instant"),
        ((), {"at": mapped_column(Instant, nullable=True)}, "at may be NULL"),
        (
            (UniqueConstraint("name"),),
            {},
            "name is unique without at, which no database can see to across chunks",
        ),
        ((Index("u", "name", unique=True),), {}, "name is unique without at"),
        ((Index("u", "name", unique=True, postgresql_where=text("id > 1")),), {}, "name is unique without at"),
        ((), {"name": mapped_column(String(20), unique=True)}, "name is unique without at"),
        (
            (),
            {"key": False, "name": mapped_column(NAME, primary_key=True)},
            "the primary key name has no at, and is not made",
        ),
        ((), {"__tablename__": "s" * 47}, "the table's name has 47 characters; fix: use 46 at most"),
    ],
)
def test_impossible_declarations_are_refused(
    arguments: tuple[Any, ...], attributes: dict[str, Any], problem: str
) -> None:
    """When the class is made, with the fix."""
    with pytest.raises(ConfigurationError, match=re.escape(problem)):
        model("s_wrong", *arguments, **attributes)


def test_keys_that_are_made_up_or_contain_the_time_do() -> None:
    """An id that is counted up, one of UUIDv7, or any with the time."""
    model("s_counted")
    model(
        "s_composed",
        key=False,
        name=mapped_column(NAME, primary_key=True),
        at=mapped_column(Instant, primary_key=True),
    )

    class Made(UUIDv7Key, SoftDeletes, Model):
        __tablename__ = "s_uuid"
        __timeseries__ = SERIES
        at: Mapped[dt.datetime] = mapped_column(Instant)

    assert uuid.UUID is Made.__table__.c.id.type.python_type


def test_declaration_of_a_base_class_counts_for_its_tables() -> None:
    """A class without a table needs no time."""

    class Base(Model):
        __abstract__ = True
        __timeseries__ = SERIES

    class Derived(Base):
        __tablename__ = "s_derived"
        id: Mapped[int] = mapped_column(BigId, primary_key=True)
        at: Mapped[dt.datetime] = mapped_column(Instant)

    assert [Derived] == [each.model for each in declarations() if issubclass(each.model, Base)]


def test_foreign_keys_to_a_series_are_refused() -> None:
    """PostgreSQL would need the time in them."""
    model("s_referred")
    model("s_referring", __timeseries__=None, other=mapped_column(ForeignKey("s_referred.id")))
    with pytest.raises(ConfigurationError, match=r"s_referring\.other is a foreign key to s_referred"):
        declarations()
