"""Times on every database: stored to the microsecond, read back aware, compared in every form."""

import asyncio
import datetime as dt
from typing import Any

import pytest
from sqlalchemy import func, insert, select, text

from core.database.database import Database
from core.model import Model
from tests.conftest import FreshDatabase
from tests.integration.database.models import Sample

AT = dt.datetime(2023, 11, 14, 22, 13, 20, 123456, tzinfo=dt.UTC)
SECONDS = 1700000000.123456
MICROSECOND = dt.timedelta(microseconds=1)


async def stored_sources(*criteria: Any) -> list[str]:
    async with await Model.get_session() as session:
        return list(await session.scalars(select(Sample.source).where(*criteria).order_by(Sample.at)))


@pytest.fixture
async def samples(database: Database) -> None:
    """One sample a microsecond before, one at, and one a microsecond after."""
    for source, at in (("after", AT + MICROSECOND), ("before", AT - MICROSECOND), ("at", AT)):
        await Sample.create(source=source, at=at, value=1)


@pytest.mark.parametrize(
    "form",
    [
        SECONDS,
        SECONDS * 1000,
        1700000000123456,
        "2023-11-14T22:13:20.123456Z",
        "2023-11-15T00:13:20.123456+02:00",
        AT,
        AT.replace(tzinfo=None),
        AT.astimezone(dt.timezone(dt.timedelta(hours=-8))),
    ],
    ids=str,
)
async def test_every_form_is_stored_and_compared_to_the_microsecond(samples: None, form: Any) -> None:
    """Equal, greater, between, in: the same answers whatever form the other side has."""
    assert ["at"] == await stored_sources(Sample.at == form)
    assert ["before", "after"] == await stored_sources(Sample.at != form)
    assert ["after"] == await stored_sources(Sample.at > form)
    assert ["before", "at"] == await stored_sources(Sample.at <= form)
    assert ["at", "after"] == await stored_sources(Sample.at.between(form, AT + MICROSECOND))
    assert ["at"] == await stored_sources(Sample.at.in_([form, 0]))
    created = await Sample.create(source="at", at=form, value=2)
    assert (AT, 1.0) == (created.at, created.value)


async def test_times_read_back_aware(samples: None) -> None:
    """Columns, aggregates and shifted times are aware datetimes in UTC."""
    async with await Model.get_session() as session:
        row = (
            await session.execute(
                select(func.min(Sample.at), func.max(Sample.at), func.max(Sample.at - dt.timedelta(days=1)))
            )
        ).one()
    assert (AT - MICROSECOND, AT + MICROSECOND, AT + MICROSECOND - dt.timedelta(days=1)) == tuple(row)
    assert {dt.UTC} == {moment.tzinfo for moment in row}
    found = (await Sample.all())[0]
    assert dt.UTC is found.at.tzinfo
    assert dt.UTC is found.stored_at.tzinfo


async def test_times_can_be_shifted(samples: None) -> None:
    """By a timedelta, on either side of a comparison and before the first day of a year."""
    hour = dt.timedelta(hours=1)
    assert ["at", "after"] == await stored_sources(Sample.at - hour >= AT - hour)
    assert ["after"] == await stored_sources(hour + Sample.at > (AT + hour).timestamp())
    assert ["before", "at", "after"] == await stored_sources(Sample.at + dt.timedelta(days=400) > "2024-12-01")


async def test_many_rows_at_once_are_converted_too(database: Database) -> None:
    """Bulk inserts of SQLAlchemy go through the same type."""
    async with await Model.get_session() as session:
        rows = [{"source": str(n), "at": SECONDS + n, "value": n} for n in range(3)]
        await session.execute(insert(Sample), rows)
        await session.commit()
    assert [AT + dt.timedelta(seconds=n) for n in range(3)] == [sample.at for sample in await Sample.all()]


async def test_an_assigned_time_is_what_will_be_stored(database: Database) -> None:
    """On the instance at once, and after commit in the row."""
    async with await Model.get_session() as session:
        sample = Sample(source="s", at=0, value=1)
        session.add(sample)
        await session.flush()
        sample.at = SECONDS  # type: ignore[assignment]
        assert AT == sample.at
        await session.commit()
    assert [AT] == [each.at for each in await Sample.all()]


@pytest.mark.parametrize("form", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", -1, 0])
async def test_the_edges_of_time(database: Database, form: Any) -> None:
    """The years 1 to 9999, and the time before 1970."""
    created = await Sample.create(source="s", at=form, value=1)
    stored = await Sample.find(created.id)
    assert stored is not None
    assert created.at == stored.at


async def test_ten_samples_in_a_second_are_ten_rows(database: Database) -> None:
    """A time column without a fraction would make one of them."""
    await asyncio.gather(*(Sample.create(source="s", at=1700000000 + n / 10, value=n) for n in range(10)))
    assert [1700000000 + n / 10 for n in range(10)] == sorted(each.at.timestamp() for each in await Sample.all())


@pytest.mark.parametrize("fresh_database", ["postgres", "mariadb"], indirect=True)
async def test_the_time_zone_of_a_server_does_not_matter(fresh_database: FreshDatabase, database: Database) -> None:
    """Neither for what Python writes nor for what the server's own clock writes."""
    server = fresh_database.server
    assert server is not None
    name = database.engine.url.database
    if fresh_database.kind == "postgres":
        server.sql(f"alter database {name} set timezone to 'Asia/Kathmandu'")
        reset = f"alter database {name} reset timezone"
    else:
        server.sql("set global time_zone = '+05:45'")
        reset = "set global time_zone = 'SYSTEM'"
    try:
        await database.close()
        database = Model.configure(database.engine.url.render_as_string(hide_password=False))
        created = await Sample.create(source="s", at=SECONDS, value=1)
        assert AT == created.at
        assert abs(created.stored_at - dt.datetime.now(dt.UTC)) < dt.timedelta(hours=1)
        assert ["s"] == await stored_sources(Sample.stored_at <= dt.datetime.now(dt.UTC) + dt.timedelta(hours=1))
        async with await Model.get_session() as session:
            kathmandu = "'Asia/Kathmandu'" if fresh_database.kind == "postgres" else "'+05:45'"
            keyword = "timezone to" if fresh_database.kind == "postgres" else "time_zone ="
            await session.execute(text(f"set {keyword} {kathmandu}"))
            assert AT == await session.scalar(select(Sample.at).where(Sample.at == SECONDS))
    finally:
        server.sql(reset)
