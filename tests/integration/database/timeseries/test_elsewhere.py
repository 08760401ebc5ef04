"""Time series where there are no partitions: an index on the time, and old rows are removed."""

from datetime import timedelta

import pytest
from sqlalchemy import inspect

from core.database.database import Database
from core.database.timeseries.maintenance import Maintained, maintain
from core.model import now
from tests.integration.database.timeseries.models import Event, Reading

pytestmark = pytest.mark.parametrize("fresh_database", ["sqlite", "mariadb"], indirect=True)


async def test_old_rows_are_removed(database: Database) -> None:
    """By the index; series without a limit keep all."""
    ages = [0, 1, 89, 91, 400]
    await Reading.insert([{"sensor": "a", "at": now() - timedelta(days=age), "value": age} for age in ages])
    await Event.insert([{"at": now() - timedelta(days=age)} for age in ages])
    assert [Maintained("series_events"), Maintained("series_readings", removed=2)] == await maintain(database)
    assert {0.0, 1.0, 89.0} == {reading.value for reading in await Reading.all()}
    assert 5 == len(await Event.all())
    reading = (await Reading.all())[0]
    assert reading.at == (await Reading.find(reading.id)).at  # type: ignore[union-attr]


async def test_tables_that_are_not_there_are_left_out(database: Database) -> None:
    """They may be in another database."""
    async with database.engine.begin() as connection:
        await connection.run_sync(Event.__table__.drop)  # type: ignore[attr-defined]
    assert ["series_readings"] == [done.table for done in await maintain(database)]


async def test_the_time_is_indexed(database: Database) -> None:
    """A plain index."""
    async with database.engine.connect() as connection:
        indexes = await connection.run_sync(lambda sync: inspect(sync).get_indexes("series_events"))
    assert [["at"]] == [index["column_names"] for index in indexes]
