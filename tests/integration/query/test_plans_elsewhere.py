"""What MariaDB and SQLite read for the queries on a history, by their own account."""

import pytest
from sqlalchemy import select

from app.models import SensorReading
from benchmarks.database_plans import Plan, explain, fill, page
from core.database.database import Database
from core.query import fetch, latest_per

DEVICES = 1000
HISTORIES = [
    select(SensorReading),
    select(SensorReading).order_by(SensorReading.device_id, SensorReading.timestamp),
    select(SensorReading).order_by(SensorReading.device_id.desc(), SensorReading.timestamp.desc()),
]

# Columns of MariaDB's ANALYZE.
TABLE, KIND, ROWS_READ = 2, 3, 9


@pytest.fixture
async def readings(database: Database) -> Database:
    """20,000 readings of 1,000 devices."""
    await fill(database, 20_000, DEVICES)
    return database


def of_table(plan: Plan) -> list[list[str]]:
    """The lines of MariaDB's account that are about the readings, by columns."""
    lines = [line.split("  ") for line in plan.words.splitlines()]
    found = [line for line in lines if line[TABLE] == "sensor_readings"]
    assert found
    return found


@pytest.mark.parametrize("fresh_database", ["mariadb"], indirect=True)
async def test_mariadb_finds_the_latest_rows_by_the_index(readings: Database) -> None:
    """It jumps from device to device in the index, and reads no more rows than there are devices."""
    plan = await explain(readings, lambda: fetch(latest_per(SensorReading, "device_id")))
    assert "Using index for group-by" in plan.words
    assert "ALL" not in {line[KIND] for line in of_table(plan)}
    assert {DEVICES, 1} == {round(float(line[ROWS_READ])) for line in of_table(plan)}


@pytest.mark.parametrize("fresh_database", ["mariadb"], indirect=True)
async def test_mariadb_begins_a_far_page_at_its_place(readings: Database) -> None:
    """A page of 20 reads 21 rows, the first as well as the five hundredth."""
    for statement in HISTORIES:
        for number, kind in ((1, "index"), (500, "range")):
            (line,) = of_table(await explain(readings, await page(statement, number, 20)))
            assert (kind, 21) == (line[KIND], round(float(line[ROWS_READ])))


@pytest.mark.parametrize("fresh_database", ["sqlite"], indirect=True)
async def test_sqlite_finds_the_latest_rows_by_the_index(readings: Database) -> None:
    """It looks the next device up in the index, one after the other, and its newest reading there, too."""
    plan = await explain(readings, lambda: fetch(latest_per(SensorReading, "device_id")))
    searches = [line for line in plan.words.splitlines() if "SEARCH sensor_readings" in line]
    by_index = "USING COVERING INDEX ix_sensor_readings_device_id_timestamp"
    by_key = "USING INTEGER PRIMARY KEY (rowid=?)"
    assert searches
    assert [] == [line for line in searches if by_index not in line and by_key not in line]
    assert "SCAN sensor_readings" not in plan.words


@pytest.mark.parametrize("fresh_database", ["sqlite"], indirect=True)
async def test_sqlite_begins_a_far_page_at_its_place(readings: Database) -> None:
    """In the index or the primary key, without sorting."""
    for statement in HISTORIES:
        plan = await explain(readings, await page(statement, 500, 20))
        assert "SEARCH sensor_readings USING IN" in plan.words
        assert "SCAN sensor_readings" not in plan.words
        assert "TEMP B-TREE" not in plan.words
