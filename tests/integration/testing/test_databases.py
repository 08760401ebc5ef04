"""A database for each test of a user's."""

import asyncio
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import inspect, make_url, select

from app.models import Device, SensorReading
from core import testing
from core.database.database import Database
from core.exceptions import DatabaseUnavailable, SchemaError
from core.model import Model
from tests.acceptance.test_documentation import ROOT, SKELETON, python_fences
from tests.conftest import FreshDatabase
from tests.servers import PostgreSQL

READING = {"device_id": "pump-1", "sensor_id": "t", "sensor_type": "temperature", "value": 21.5, "timestamp": 1}


async def test_each_test_has_its_own(database_url: str) -> None:
    """Whatever one commits, by group commit or by a session, the next does not see; two may run at once."""
    for _ in range(2):
        async with testing.database(database_url):
            await Device.create(device_id="pump-1")
            async with await Model.get_session() as session:
                session.add(Device(device_id="pump-2"))
                await session.commit()
            assert ["pump-1", "pump-2"] == [device.device_id for device in await Device.all()]
            async with testing.database(database_url):
                assert [] == await Device.all()
                await SensorReading.create(**READING)
            assert [] == await SensorReading.all()
            assert 2 == len(await Device.all())


async def test_in_memory() -> None:
    """Without a URL nothing is needed but Python."""
    for _ in range(2):
        async with testing.database() as database:
            assert "sqlite" == database.engine.dialect.name
            writes = [Device.create(device_id=f"pump-{number}") for number in range(20)]
            assert 20 == len({device.id for device in await asyncio.gather(*writes)})


async def test_nothing_is_left(fresh_database: FreshDatabase) -> None:
    """Also after a failure; what was in the database before is not touched."""
    before = Model.configure(fresh_database.url)
    await before.create_tables()
    await Device.create(device_id="mine")
    places = await _places(fresh_database, before)
    with pytest.raises(RuntimeError, match="the test failed"):
        await _fail(fresh_database.url)
    assert before is Model.database()
    assert ["mine"] == [device.device_id for device in await Device.all()]
    assert places == await _places(fresh_database, before)
    await Model.cleanup()


async def _fail(url: str) -> None:
    async with testing.database(url):
        await Device.create(device_id="pump-1")
        raise RuntimeError("the test failed")


async def _places(fresh: FreshDatabase, database: Database) -> object:
    if fresh.server is None:
        return sorted(Path(make_url(fresh.url).database or "").parent.iterdir())
    async with database.engine.connect() as connection:
        return await connection.run_sync(lambda sync: inspect(sync).get_schema_names())


async def test_options_and_errors(free_port: int) -> None:
    """Options are those of a database; a server that is not there is said to be so."""
    async with testing.database(slow_query_ms=5, max_clock_skew=1) as database:
        assert 5 == database.options.slow_query_ms
    with pytest.raises(DatabaseUnavailable, match="cannot be reached"):
        async with testing.database(f"postgresql://app@127.0.0.1:{free_port}/plant"):
            pass


async def test_a_user_without_the_right(postgres: PostgreSQL) -> None:
    """The message says what to grant."""
    postgres.create_database("strict")
    postgres.sql("create role reader login password 'reader'")
    url = make_url(postgres.database_url("strict")).set(username="reader", password="reader")
    with pytest.raises(SchemaError, match="fix: let the user of the tests create schemas"):
        async with testing.database(url.render_as_string(hide_password=False)):
            pass
    postgres.drop_database("strict")
    postgres.sql("drop role reader")


async def test_readings_through_a_session_of_a_test(database_url: str) -> None:
    """Selects find the tables of the test, and no others."""
    async with testing.database(database_url):
        await SensorReading.create(**READING)
        async with await Model.get_session(read=True) as session:
            assert [21.5] == list(await session.scalars(select(SensorReading.value)))


def test_the_page_runs_under_pytest(fresh_database: FreshDatabase, tmp_path: Path) -> None:
    """Whoever pastes its snippets has tests that pass, in memory and on a server."""
    for part in (*SKELETON, "pyproject.toml"):
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, tmp_path)
    for fence in python_fences((ROOT / "docs" / "database" / "testing.md").read_text()):
        path, code = fence.code.split("\n", 1)
        file = tmp_path / path.removeprefix("# ")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(code)
    for variables in ({}, {"TEST_DATABASE_URL": fresh_database.url}):
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/plant"],
            cwd=tmp_path,
            env={"PYTHONPATH": str(tmp_path), **variables},
            capture_output=True,
            text=True,
            check=False,
        )
        assert 0 == done.returncode, done.stdout
        assert "4 passed" in done.stdout
