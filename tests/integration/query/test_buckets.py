"""Sums over time on each database."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from app.models import Device, SensorReading
from benchmarks.database_plans import sent
from core.database.database import Database
from core.exceptions import InvalidQuery
from core.model import Model
from core.query import time_buckets
from core.query.bucket_start import BucketStart
from tests.integration.query.models import Item

NOON = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
MEAN, ROWS = func.avg(SensorReading.value), func.count()


def minutes(number: float) -> datetime:
    return NOON + timedelta(minutes=number)


@pytest.fixture
async def readings(database: Database) -> Database:
    """Two devices; between minute 10 and 20 there is nothing."""
    await SensorReading.insert(
        [
            {"device_id": device, "sensor_type": "t", "value": value, "timestamp": minutes(at)}
            for device, at, value in (
                ("a", 0, 1),
                ("a", 4.999, 2),
                ("a", 5, 5),
                ("b", 7, 7),
                ("a", 20, 3),
                ("b", 24.99999, 9),
            )
        ]
    )
    return database


async def test_buckets_in_order_with_one_statement(readings: Database) -> None:
    """A reading belongs to the bucket that began last; starts are aware; aggregates have the names they are given."""
    with sent(readings) as statements:
        found = await time_buckets(
            SensorReading,
            "5m",
            mean=MEAN,
            least=func.min(SensorReading.value),
            most=func.max(SensorReading.value),
            rows=ROWS,
            last=func.max(SensorReading.timestamp),
        )
    assert 1 == len(statements)
    assert [
        {"bucket": minutes(0), "mean": 1.5, "least": 1.0, "most": 2.0, "rows": 2, "last": minutes(4.999)},
        {"bucket": minutes(5), "mean": 6.0, "least": 5.0, "most": 7.0, "rows": 2, "last": minutes(7)},
        {"bucket": minutes(20), "mean": 6.0, "least": 3.0, "most": 9.0, "rows": 2, "last": minutes(24.99999)},
    ] == found
    assert UTC is found[0]["bucket"].tzinfo


async def test_by_device(readings: Database) -> None:
    """Further attributes have buckets of their own; the select's conditions and joins hold."""
    await Device.create(device_id="a", name="north")
    found = await time_buckets(SensorReading, "1h", by="device_id", rows=ROWS)
    assert [("a", NOON, 4), ("b", NOON, 2)] == [(one["device_id"], one["bucket"], one["rows"]) for one in found]
    some = select(SensorReading.id).where(SensorReading.value > 2).order_by(SensorReading.value)
    found = await time_buckets(some, timedelta(minutes=10), by=("device_id", "sensor_type"), rows=ROWS)
    expected = [("a", "t", 0), ("a", "t", 20), ("b", "t", 0), ("b", "t", 20)]
    assert [(device, kind, minutes(at)) for device, kind, at in expected] == [
        (one["device_id"], one["sensor_type"], one["bucket"]) for one in found
    ]
    assert [1, 1, 1, 1] == [one["rows"] for one in found]
    joined = select(SensorReading).join(SensorReading.device).where(Device.name == "north")
    assert [4] == [one["rows"] for one in await time_buckets(joined, "1d", rows=ROWS)]


async def test_empty_buckets(readings: Database) -> None:
    """Between the first and the last, or from start to end; counts are 0, all else is None."""
    found = await time_buckets(SensorReading, "5m", empty=True, mean=MEAN, rows=ROWS)
    assert [2, 2, 0, 0, 2] == [one["rows"] for one in found]
    assert {"bucket": minutes(10), "mean": None, "rows": 0} == found[2]
    found = await time_buckets(
        SensorReading, "5m", by="device_id", empty=True, start=minutes(4), end=minutes(15.01), rows=ROWS
    )
    assert [("a", 1), ("a", 1), ("a", 0), ("a", 0), ("b", 0), ("b", 1), ("b", 0), ("b", 0)] == [
        (one["device_id"], one["rows"]) for one in found
    ]
    nothing = select(SensorReading).where(SensorReading.value > 99)
    assert [] == await time_buckets(nothing, "5m", empty=True, rows=ROWS)
    found = await time_buckets(nothing, "5m", empty=True, start=NOON, end=minutes(15), rows=ROWS)
    assert [minutes(0), minutes(5), minutes(10)] == [one["bucket"] for one in found]


async def test_origin_start_and_end(readings: Database) -> None:
    """Weeks begin with Mondays unless the origin says otherwise; the end is not included."""
    (week,) = await time_buckets(SensorReading, "1w", rows=ROWS)
    assert datetime(2026, 1, 26, tzinfo=UTC) == week["bucket"]
    found = await time_buckets(SensorReading, "5m", origin=minutes(2), start=NOON, end=minutes(20), rows=ROWS)
    assert [(minutes(-3), 1), (minutes(2), 2), (minutes(7), 1)] == [(one["bucket"], one["rows"]) for one in found]


async def test_whole_numbers_alike(database: Database) -> None:
    """The mean of whole numbers is a float and their sum a whole number, whatever the database computes with."""
    await Item.insert([{"code": "a", "at": 1, "rank": rank, "price": Decimal("0.10")} for rank in (1, 2, None)])
    (found,) = await time_buckets(
        Item,
        "1d",
        time="at",
        mean=func.avg(Item.rank),
        total=func.sum(Item.rank),
        known=func.count(Item.rank),
        first=func.min(Item.code),
    )
    expected = {"mean": 1.5, "total": 3, "known": 2, "first": "a"}
    assert {"bucket": datetime(1970, 1, 1, tzinfo=UTC)} | expected == found
    assert [float, int] == [type(found["mean"]), type(found["total"])]
    assert [] == await time_buckets(Item, "1d", time="seen", rows=ROWS)


moments = st.datetimes(timezones=st.just(UTC)).filter(lambda moment: 1000 < moment.year < 9000)
widths = st.one_of(
    st.sampled_from([1, 1_000_000, 300_000_000, 86_400_000_000, 7 * 86_400_000_000]),
    st.integers(1, 3_000 * 86_400_000_000),
)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(moment=moments, width=widths, origin=moments)
async def test_every_width_origin_and_time(database: Database, moment: Any, width: int, origin: Any) -> None:
    """A bucket starts a whole number of widths from the origin, and holds the time."""
    wide = timedelta(microseconds=width)
    async with await Model.get_session() as session:
        session.add(Item(code="a", at=moment))
        await session.flush()
        start = await session.scalar(select(BucketStart(Item.at, wide, origin)))
        await session.rollback()
    assert moment - (moment - origin) % wide == start


async def test_what_cannot_be_is_refused(database: Database) -> None:
    """With the reason."""
    for arguments, options, problem in (
        ((SensorReading, "5 moons"), {"rows": ROWS}, "is no duration"),
        ((SensorReading, "9999999d"), {"rows": ROWS}, "too wide"),
        ((SensorReading, "5m"), {"most": 4}, "most is no aggregate"),
        ((SensorReading, "5m"), {}, "name an aggregate"),
        ((SensorReading, "5m"), {"rows": ROWS, "start": "soon"}, "is no time"),
        ((SensorReading, "5m"), {"rows": ROWS, "by": "device"}, "no column 'device'"),
        ((SensorReading, "5m"), {"rows": ROWS, "time": "value"}, "no Instant"),
        ((SensorReading, "5m"), {"bucket": ROWS}, "'bucket' is taken"),
        ((SensorReading, "5m"), {"by": "value", "value": ROWS}, "'value' is taken"),
        ((Device, "5m"), {"rows": ROWS}, "name one with time="),
        ((select(SensorReading).limit(1), "5m"), {"rows": ROWS}, "limit"),
        ((SensorReading, "1s"), {"rows": ROWS, "empty": True, "start": 0, "end": 2e9}, "more than 100000 buckets"),
    ):
        with pytest.raises(InvalidQuery, match=problem):
            await time_buckets(*arguments, **options)  # type: ignore[arg-type]
    await SensorReading.insert([{"device_id": "a", "value": 1, "timestamp": 60 * n} for n in range(5)])
    with pytest.raises(InvalidQuery, match="more than 4 buckets"):
        await time_buckets(SensorReading, "1m", max_buckets=4, rows=ROWS)
