"""Tables as they are created, and connections as they are given back."""

import asyncio
import datetime as dt
import gc

import pytest
from sqlalchemy import select, text

import app.models
from core.database.database import Database
from core.database.metadata import metadata, subscription_table, writer_table
from tests.conftest import FreshDatabase
from tests.integration.database.models import Gauge

MODELS = [app.models.User, app.models.Device, app.models.SensorReading, app.models.TransferLog]


async def create(database: Database) -> None:
    tables = [*(model.__table__ for model in MODELS), subscription_table, writer_table]
    async with database.engine.begin() as connection:
        await connection.run_sync(metadata.create_all, tables=tables)


async def test_the_shipped_tables_can_be_created_again_and_again(database_url: str) -> None:
    """What exists stays as it is."""
    database = Database(database_url)
    await create(database)
    await database.create(app.models.User, {"user_id": "u"})
    await create(database)
    assert 1 == len(await database.all(app.models.User))
    await database.close()


@pytest.mark.parametrize("fresh_database", ["mariadb"], indirect=True)
async def test_tables_do_not_depend_on_the_defaults_of_mariadb(fresh_database: FreshDatabase) -> None:
    """InnoDB, every character, byte by byte, microseconds: also in a database of Aria and latin1."""
    server, name = fresh_database.server, fresh_database.url.rpartition("/")[2]
    assert server is not None
    server.sql(f"alter database {name} character set latin1")
    server.sql("set global default_storage_engine = 'Aria'")
    try:
        database = Database(fresh_database.url)
        await create(database)
        await database.close()
    finally:
        server.sql("set global default_storage_engine = 'InnoDB'")
    of = "from information_schema.{} where table_schema = '{}'"
    tables = server.sql(f"select distinct engine, table_collation {of.format('tables', name)}")
    assert [["InnoDB", "utf8mb4_nopad_bin"]] == tables
    texts = server.sql(f"select distinct collation_name {of.format('columns', name)} and collation_name is not null")
    assert [["utf8mb4_nopad_bin"]] == texts
    times = server.sql(
        f"select distinct datetime_precision {of.format('columns', name)} and data_type = 'datetime' "
        "and table_name not like 'mqueduct%'"
    )
    assert [["6"]] == times


@pytest.mark.parametrize("fresh_database", ["mariadb"], indirect=True)
async def test_a_mariadb_url_is_the_same_as_a_mysql_url(fresh_database: FreshDatabase) -> None:
    """SQLAlchemy takes them for two dialects; tables, times and writes are alike."""
    database = Database(fresh_database.url.replace("mysql+aiomysql://", "mariadb://"))
    await create(database)
    reading = app.models.SensorReading
    for _ in range(2):
        await database.create(reading, {"device_id": "d", "value": 1, "timestamp": 1700000000.123456})
    async with database.session() as session:
        shifted = await session.scalar(
            select(reading.timestamp + dt.timedelta(microseconds=1)).where(reading.timestamp >= 1700000000.123456)
        )
        created = (await session.execute(text("SHOW CREATE TABLE sensor_readings"))).one()[1]
    await database.close()
    assert 1700000000.123457 == shifted.timestamp()
    assert "ENGINE=InnoDB" in created
    assert "utf8mb4_nopad_bin" in created


async def test_closing_ends_sessions_that_are_open(database_url: str, recwarn: pytest.WarningsRecorder) -> None:
    """Idle in a transaction or never used, they leave neither a connection nor a warning behind."""
    database = Database(database_url)
    await create(database)
    idle, unused = database.session(), database.session()
    await idle.execute(select(app.models.User))
    await database.close()
    if not database_url.startswith("sqlite"):
        probe = "postgres" in database_url
        other = Database(database_url)
        async with other.session() as session:
            counted = await session.scalar(
                text(
                    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                    if probe
                    else "SELECT count(*) FROM information_schema.processlist WHERE db = database()"
                )
            )
        await other.close()
        assert 1 == counted
    await idle.close()
    await unused.close()
    del idle, unused
    gc.collect()
    assert [] == [str(warning.message) for warning in recwarn]


async def test_a_closed_database_can_be_used_again(database: Database) -> None:
    """Closing gives the connections back; it takes nothing else."""
    await Gauge.create(name="g")
    await database.close()
    assert ["g"] == [gauge.name for gauge in await database.all(Gauge)]


async def test_closing_while_a_session_is_at_work(database: Database) -> None:
    """The work ends, with a result or an error; nothing hangs."""

    async def work() -> None:
        async with database.session() as session:
            for _ in range(200):
                await session.execute(text("SELECT 1"))

    working = asyncio.create_task(work())
    await asyncio.sleep(0)
    await database.close()
    await asyncio.wait([working])
    assert working.done()
    working.exception()
