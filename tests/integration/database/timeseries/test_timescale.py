"""The statements for TimescaleDB, against functions of its documented names and types: it is not installed here.

ALTER TABLE ... SET (timescaledb.compress, ...) is the one that plain PostgreSQL cannot even parse; it is noted instead.
"""

import dataclasses
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, text

from core.database.database import Database
from core.database.metadata import metadata
from core.database.timeseries import TimeSeries, care, declarations
from core.database.timeseries.creation import create, dissolve
from core.database.timeseries.maintenance import maintain
from core.model import Model
from tests.integration.database.timeseries.conftest import TABLES
from tests.integration.database.timeseries.models import Event, Reading

pytestmark = pytest.mark.parametrize("fresh_database", ["postgres"], indirect=True)

STAND_IN = Path(__file__).with_name("timescale.sql")


@pytest.fixture
async def timescale(database_url: str) -> AsyncIterator[Database]:
    """A database that has the functions, and no tables yet."""
    database = Model.configure(database_url)
    event.listen(database.engine.sync_engine, "before_cursor_execute", note_compression, retval=True)
    async with database.engine.connect() as connection:
        driver = (await connection.get_raw_connection()).driver_connection
        assert driver is not None
        await driver.execute(STAND_IN.read_text())
    yield database
    await Model.cleanup()


def note_compression(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> tuple[str, Any]:
    """Note what PostgreSQL does not know."""
    if "timescaledb.compress" in statement:
        noted = statement.replace("'", "''")
        return f"INSERT INTO calls (call) VALUES ('{noted}')", parameters
    return statement, parameters


async def calls(database: Database) -> list[str]:
    """What TimescaleDB was asked for since the last time."""
    async with database.engine.begin() as connection:
        found = list(await connection.scalars(text("SELECT call FROM calls ORDER BY number")))
        await connection.execute(text("DELETE FROM calls"))
    return found


async def set_policies(database: Database) -> None:
    """What ``maintain`` does, on a connection whose statements are watched."""
    async with database.engine.connect() as connection:
        await care.care_for_all(connection, remove=True)


async def test_life_of_a_hypertable(timescale: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Made with the table; policies follow what the model declares, and are left alone when they fit."""
    async with timescale.engine.begin() as connection:
        await connection.run_sync(metadata.create_all, tables=TABLES)
    assert {
        "create_hypertable series_readings at 24:00:00 default indexes f, data t",
        "create_hypertable series_events at 168:00:00 default indexes f, data t",
    } == set(await calls(timescale))
    await set_policies(timescale)
    assert [
        "remove_compression_policy series_readings",
        "ALTER TABLE series_readings SET (timescaledb.compress, timescaledb.compress_orderby = 'at DESC, id', "
        "timescaledb.compress_segmentby = 'sensor')",
        "add_compression_policy series_readings 168:00:00",
        "remove_retention_policy series_readings",
        "add_retention_policy series_readings 2160:00:00",
    ] == await calls(timescale)
    await set_policies(timescale)
    assert [] == await calls(timescale)
    (declared,) = [each for each in declarations() if each.model is Reading]
    changed = dataclasses.replace(declared, series=TimeSeries(time="at", chunk="12h", retain="30 days"))
    monkeypatch.setattr(care, "declarations", lambda: [changed])
    await set_policies(timescale)
    assert [
        "set_chunk_time_interval series_readings 12:00:00",
        "remove_compression_policy series_readings",
        "remove_retention_policy series_readings",
        "add_retention_policy series_readings 720:00:00",
    ] == await calls(timescale)
    await set_policies(timescale)
    assert [] == await calls(timescale)
    reading = await Reading.create(sensor="a", value=1)
    assert reading.id == (await Reading.create(sensor="a", value=2, at=reading.at)).id
    assert await Reading.find(reading.id) is not None


async def test_what_maintain_finds_in_order(timescale: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through the command's own connection, too."""
    async with timescale.engine.begin() as connection:
        await connection.run_sync(metadata.create_all, tables=TABLES)
    (declared,) = [each for each in declarations() if each.model is Event]
    monkeypatch.setattr(care, "declarations", lambda: [declared])
    assert ["series_events"] == [done.table for done in await maintain(timescale)]


async def test_table_with_rows(timescale: Database) -> None:
    """It becomes a hypertable with its rows, and a table again."""
    async with timescale.engine.begin() as connection:
        await connection.execute(text("CREATE TABLE plain (id serial PRIMARY KEY, at timestamptz NOT NULL)"))
        await connection.execute(text("INSERT INTO plain (at) SELECT now() FROM generate_series(1, 5)"))
    async with timescale.engine.begin() as connection:
        await connection.run_sync(create, "plain", "at", timedelta(days=1))
    async with timescale.engine.begin() as connection:
        await connection.run_sync(create, "plain", "at", timedelta(days=1))
    assert ["create_hypertable plain at 24:00:00 default indexes f, data t"] == await calls(timescale)
    async with timescale.engine.begin() as connection:
        await connection.run_sync(dissolve, "plain", ["id"])
        assert 5 == await connection.scalar(text("SELECT count(*) FROM plain"))
        key = "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'plain'::regclass"
        assert "PRIMARY KEY (id)" == await connection.scalar(text(key))
