"""Streams on each database: all rows, little memory, and a connection that comes back."""

import gc
import tracemalloc
from contextlib import aclosing
from typing import Any

import pytest
from sqlalchemy import select, text

from app.models import Device, SensorReading
from benchmarks.database_plans import fill, sent
from core.database.database import Database
from core.exceptions import InvalidQuery, SchemaError
from core.model import Model
from core.query import stream
from tests.integration.query.models import Item, Shelf

ROWS = 20_000


@pytest.fixture
async def readings(database: Database) -> Database:
    await fill(database, ROWS, 100)
    return database


def in_use(database: Database) -> int:
    pool: Any = database.engine.pool
    return int(pool.checkedout())


async def test_all_rows_in_bounded_memory(readings: Database) -> None:
    """At no time are there more rows than two batches; instances are detached; one statement of data."""
    ids = 0
    gc.collect()
    tracemalloc.start()
    with sent(readings) as statements:
        async with aclosing(stream(select(SensorReading).order_by(SensorReading.id), batch=200)) as rows:
            async for reading in rows:
                ids += reading.id
                if reading.id == 1:
                    assert reading.device_id == "device-0"
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert ROWS * (ROWS + 1) // 2 == ids
    assert 1 == sum("FROM sensor_readings" in statement for statement, _ in statements)
    # All rows at once are thirty times as much.
    assert peak < 3_000_000
    assert 0 == in_use(readings)


async def test_closing_early_gives_the_connection_back(readings: Database) -> None:
    """By `aclosing`, by an error in the loop, by a plain `break`; the database serves on."""
    for _ in range(12):  # more than there are connections in the pool
        async with aclosing(stream(select(SensorReading), batch=10)) as rows:
            async for _row in rows:
                break
    assert 0 == in_use(readings)
    with pytest.raises(KeyError):
        await _fail_in_the_middle()
    assert 0 == in_use(readings)
    async for _row in stream(select(SensorReading)):
        break
    assert await SensorReading.find(1) is not None


async def _fail_in_the_middle() -> None:
    async with aclosing(stream(select(SensorReading.id))) as rows:
        async for _row in rows:
            raise KeyError


async def test_values_rows_and_instances(database: Database) -> None:
    """As `fetch` gives them; an instance can load what it lacks while the stream goes on."""
    await Shelf.create(id=1, name="one")
    await Item.insert([{"code": f"c{n}", "at": n, "shelf_id": 1} for n in range(5)])
    assert [f"c{n}" for n in range(5)] == [code async for code in stream(select(Item.code).order_by(Item.id), batch=2)]
    pairs = [(item.id, shelf.name) async for item, shelf in stream(select(Item, Shelf).join(Item.shelf), batch=2)]
    assert 5 == len(pairs)
    async for item in stream(select(Item), batch=2):
        shelf = await item.awaitable_attrs.shelf
        assert "one" == shelf.name
    assert [] == [row async for row in stream(select(Device))]


async def test_a_session_passed_in_stays_open(database: Database) -> None:
    """It sees what it has not committed, and keeps its instances."""
    async with await Model.get_session() as session:
        session.add_all(Item(code=f"c{n}", at=n) for n in range(5))
        await session.flush()
        async for item in stream(select(Item), batch=2, session=session):
            assert item in session
        assert 1 == await session.scalar(text("SELECT 1"))


async def test_errors_are_ours(database: Database) -> None:
    """Also those at the beginning of a stream."""
    with pytest.raises(InvalidQuery, match="batch"):
        await anext(stream(select(Item), batch=0))
    async with database.engine.begin() as connection:
        await connection.run_sync(Item.__table__.drop)
    with pytest.raises(SchemaError):
        await anext(stream(select(Item)))
    assert 0 == in_use(database)


@pytest.mark.parametrize("fresh_database", ["mariadb"], indirect=True)
async def test_other_statements_keep_their_timeout(readings: Database) -> None:
    """The connection with the long timeouts of a stream is not given to anybody else."""
    async for _row in stream(select(SensorReading.id)):
        pass
    async with readings.engine.connect() as connection:
        assert 30 == float(await connection.scalar(text("SELECT @@max_statement_time")))
