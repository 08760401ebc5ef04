"""Time series on plain PostgreSQL: native partitions, with thirty days of rows, late ones and early ones."""

import asyncio
import dataclasses
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from core.database.database import Database
from core.database.timeseries import TimeSeries, care, declarations, maintenance
from core.database.timeseries.creation import create
from core.database.timeseries.maintenance import Maintained, maintain
from core.exceptions import DatabaseUnavailable, InvalidValue
from core.model import Model
from tests.integration.database.timeseries.models import Event, Reading

pytestmark = pytest.mark.parametrize("fresh_database", ["postgres"], indirect=True)

DAY = timedelta(days=1)
TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def name(day: int) -> str:
    """The partition of a day, counted from today."""
    return f"series_readings_p{TODAY + day * DAY:%Y%m%d}"


async def sql(database: Database, statement: str) -> list[Any]:
    async with database.engine.begin() as connection:
        result = await connection.execute(text(statement))
        return [tuple(row) for row in result] if result.returns_rows else []


async def partitions(database: Database) -> dict[str, int]:
    """How many rows are in each partition of the readings."""
    children = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'series_readings'::regclass"
    names = await sql(database, children)
    return {found: (await sql(database, f"SELECT count(*) FROM {found}"))[0][0] for (found,) in sorted(names)}


async def fill(database: Database, first: int, last: int, per_day: int) -> None:
    """Rows in each of some days, counted from today."""
    await sql(
        database,
        "INSERT INTO series_readings (sensor, at, value) "
        f"SELECT 'sensor ' || n % 10, timestamptz '{TODAY}' + day * interval '1 day' + n * interval '1 second', n "
        f"FROM generate_series({first}, {last}) AS day, generate_series(0, {per_day - 1}) AS n",
    )


async def maintained(database: Database) -> Maintained:
    """What was done for the readings."""
    (done,) = [each for each in await maintain(database) if each.table == "series_readings"]
    return done


@pytest.fixture
def declare(monkeypatch: pytest.MonkeyPatch) -> Callable[[TimeSeries], None]:
    """Let the readings be declared otherwise."""

    def declare(series: TimeSeries) -> None:
        (declaration,) = [each for each in declarations() if each.model is Reading]
        changed = dataclasses.replace(declaration, series=series)
        for module in (care, maintenance):
            monkeypatch.setattr(module, "declarations", lambda: [changed])

    return declare


async def test_partitions_are_made_ahead_of_time(database: Database) -> None:
    """Today, three days to come, and one for all other rows; nothing is due then."""
    assert {name(day) for day in range(4)} | {"series_readings_default"} == set(await partitions(database))
    assert Maintained("series_readings") == await maintained(database)


async def test_thirty_days(database: Database) -> None:
    """Rows of former days gather in the default partition, and get their own when they are many."""
    await fill(database, -30, -1, 10_000)
    await fill(database, 0, 0, 500)
    await fill(database, -40, -40, 9_999)
    done = await maintained(database)
    assert Maintained("series_readings", made=30, moved=300_000) == done
    found = await partitions(database)
    assert {name(day): 10_000 for day in range(-30, 0)}.items() < found.items()
    assert (500, 9_999) == (found[name(0)], found["series_readings_default"])
    assert Maintained("series_readings") == await maintained(database)
    assert [(310_499,)] == await sql(database, "SELECT count(*) FROM series_readings")
    # And they are indexed as the others are.
    unindexed = await sql(
        database,
        "SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent = 'series_readings'::regclass "
        "AND (SELECT count(*) FROM pg_index WHERE indrelid = inhrelid) <> 4",
    )
    assert [] == unindexed


async def test_early_rows_move_when_their_day_comes(database: Database, declare: Callable[[TimeSeries], None]) -> None:
    """With their ids; one of next year stays where it is, and each is found by its id."""
    early = [await Reading.create(sensor="a", at=TODAY + day * DAY, value=day) for day in (1, 5, 400)]
    assert 2 == (await partitions(database))["series_readings_default"]
    declare(TimeSeries(time="at", chunk="6 hours"))
    assert Maintained("series_readings") == await maintained(database)
    declare(TimeSeries(time="at", chunk="2 days"))
    done = await maintained(database)
    assert (1, True) == (done.moved, done.made > 0)
    found = await partitions(database)
    assert 1 == found["series_readings_default"]
    for reading in early:
        assert reading.at == (await Reading.find(reading.id)).at  # type: ignore[union-attr]


async def test_chunks_may_get_longer_and_shorter(database: Database, declare: Callable[[TimeSeries], None]) -> None:
    """What is there stays; new ones have the new length, and none overlaps another."""
    for chunk in ("7 days", "1 hour", "1 day"):
        declare(TimeSeries(time="at", chunk=chunk))
        await maintained(database)
    assert Maintained("series_readings") == await maintained(database)


async def test_old_rows_go(database: Database) -> None:
    """Whole partitions are dropped, single rows of the default partition are removed; what is not too old stays."""
    await fill(database, -95, -89, 10_000)
    await fill(database, -100, -100, 7)
    await fill(database, -80, -80, 3)
    done = await maintained(database)
    assert (0, 1) == (done.dropped, done.made)
    removed = done.removed
    found = await partitions(database)
    assert 10_000 == found[name(-89)]
    assert 3 + 7 + 6 * 10_000 - removed == found["series_readings_default"]
    ((oldest,),) = await sql(database, "SELECT min(at) FROM series_readings")
    assert datetime.now(UTC) - 90 * DAY - timedelta(minutes=5) <= oldest


async def test_old_partitions_are_detached_and_dropped(
    database: Database, declare: Callable[[TimeSeries], None]
) -> None:
    """The moment when all of a partition is too old."""
    await fill(database, -3, -1, 10_000)
    await maintained(database)
    declare(TimeSeries(time="at", retain="2 days"))
    done = await maintained(database)
    assert Maintained("series_readings", dropped=1) == done
    found = await partitions(database)
    assert name(-3) not in found
    assert (10_000, 10_000) == (found[name(-2)], found[name(-1)])
    assert [] == await sql(database, f"SELECT FROM pg_class WHERE relname = '{name(-3)}'")


async def test_group_commit_writes_through(database: Database) -> None:
    """create, insert and upsert find rows that are there, in every partition and in the default one."""
    times = [TODAY, TODAY + DAY, TODAY - 60 * DAY, TODAY + 60 * DAY]
    first = await asyncio.gather(*[Reading.create(sensor="a", at=at, value=1) for at in times])
    again = await asyncio.gather(*[Reading.create(sensor="a", at=at, value=2) for at in times])
    assert [reading.id for reading in first] == [reading.id for reading in again]
    assert {1.0} == {reading.value for reading in again}
    await Reading.insert([{"sensor": sensor, "at": at, "value": 3} for sensor in "ab" for at in times])
    await Reading.upsert([{"sensor": "b", "at": at, "value": 4} for at in times])
    await Event.insert([{"at": at} for at in times])
    created = await Event.create(at=TODAY - 60 * DAY)
    assert 5 == len(await Event.all())
    assert created.at == (await Event.find(created.id)).at  # type: ignore[union-attr]
    rows = await sql(database, "SELECT sensor, value, count(*) FROM series_readings GROUP BY 1, 2 ORDER BY 1, 2")
    assert [("a", 1.0, 4), ("b", 4.0, 4)] == rows
    with pytest.raises(InvalidValue):
        await Reading.create(sensor="a", at=TODAY, value=-301)


async def test_questions_read_only_the_partitions_of_their_time(database: Database) -> None:
    """EXPLAIN names no other."""
    await fill(database, -5, -1, 10_000)
    await maintained(database)
    question = f"SELECT avg(value) FROM series_readings WHERE at >= '{TODAY - 2 * DAY}' AND at < '{TODAY - DAY}'"
    ((plan,),) = await sql(database, f"EXPLAIN (FORMAT JSON) {question}")
    read = set(re.findall(r'"Relation Name": "(\w+)"', plan if isinstance(plan, str) else json.dumps(plan)))
    assert {name(-2)} == read


async def test_partitions_are_made_beside_the_traffic(
    database: Database, declare: Callable[[TimeSeries], None]
) -> None:
    """Open transactions that have written into a partition hinder no new one; those in the default one do."""
    declare(TimeSeries(time="at", chunk="3 days"))
    async with await Model.get_session() as session:
        session.add(Reading(sensor="a", at=TODAY, value=1))
        await session.flush()
        assert 0 < (await maintained(database)).made
        await session.commit()


async def test_locks_are_asked_for_patiently_and_then_given_up(
    database: Database, declare: Callable[[TimeSeries], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long transaction in the default partition; once it has ended, all is done."""
    declare(TimeSeries(time="at", chunk="3 days"))
    monkeypatch.setattr(care, "_ATTEMPTS", 2)
    async with await Model.get_session() as session:
        session.add(Reading(sensor="a", at=TODAY - 50 * DAY, value=1))
        await session.flush()
        with pytest.raises(DatabaseUnavailable, match="lock"):
            await maintained(database)
        await session.commit()
    assert 0 < (await maintained(database)).made


async def test_several_at_once(database: Database) -> None:
    """One after the other does what is due; each row is there once."""
    await fill(database, -3, -1, 10_000)
    done = await asyncio.gather(*[maintain(database) for _ in range(3)])
    assert 3 == sum(each.made for report in done for each in report)
    assert [(30_000,)] == await sql(database, "SELECT count(*) FROM series_readings")


async def test_writers_lose_nothing_meanwhile(database: Database) -> None:
    """Rows that come in while others are moved are in their place afterwards."""
    await fill(database, -4, -1, 10_000)
    writing = asyncio.create_task(write())
    await maintained(database)
    writing.cancel()
    await asyncio.wait([writing])
    ((count, places),) = await sql(
        database, "SELECT count(*), count(DISTINCT (sensor, at)) FROM series_readings WHERE sensor LIKE 'live%'"
    )
    assert count == places > 0
    ((misplaced,),) = await sql(
        database, f"SELECT count(*) FROM series_readings_default WHERE at >= '{TODAY - 4 * DAY}' AND at < '{TODAY}'"
    )
    assert 0 == misplaced


async def write() -> None:
    number = 0
    while True:
        number += 1
        at = TODAY - (number % 4 + 1) * DAY + timedelta(milliseconds=number)
        await Reading.insert([{"sensor": f"live {number}", "at": at, "value": 0}])


async def test_triggers_rights_and_comments_are_kept(database: Database) -> None:
    """What a table had before it became a time series."""
    await sql(database, "CREATE TABLE plain (LIKE series_events)")
    for statement in (
        "CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
        "CREATE TRIGGER watch AFTER INSERT ON plain FOR EACH ROW EXECUTE FUNCTION nothing()",
        "COMMENT ON TABLE plain IS 'it''s a table'",
        "GRANT SELECT ON plain TO PUBLIC",
        "ALTER TABLE plain ADD COLUMN counted int GENERATED ALWAYS AS IDENTITY, "
        "ADD COLUMN twice bigint GENERATED ALWAYS AS (id * 2) STORED",
        f"INSERT INTO plain (id, at) VALUES (1, '{TODAY}'), (2, '{TODAY}')",
    ):
        await sql(database, statement)
    async with database.engine.begin() as connection:
        await connection.run_sync(create, "plain", "at", DAY)
    await sql(database, f"INSERT INTO plain (id, at) VALUES (3, '{TODAY}')")
    assert [(1, 1, 2), (2, 2, 4), (3, 3, 6)] == await sql(database, "SELECT id, counted, twice FROM plain ORDER BY id")
    assert [("watch",)] == await sql(database, "SELECT tgname FROM pg_trigger WHERE tgrelid = 'plain'::regclass")
    assert [("it's a table",)] == await sql(database, "SELECT obj_description('plain'::regclass, 'pg_class')")
    assert [(True,)] == await sql(database, "SELECT has_table_privilege('public', 'plain', 'SELECT')")
