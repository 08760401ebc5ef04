"""The lock around migrations, on SQLite, where it is a transaction."""

import asyncio
from pathlib import Path

import pytest

from core.database.migrations.lock import exclusive
from core.database.options import EngineOptions
from core.database.url import parse_url

SLOW = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 2000000) SELECT count(*) FROM n"


async def test_a_migration_that_is_cancelled_leaves_nothing_and_says_nothing_else(tmp_path: Path) -> None:
    """A service may be stopped in the middle of its start; that its statement was broken off is no error of its own."""
    url = parse_url(f"sqlite:///{tmp_path / 'test.db'}")
    at_work = asyncio.Event()

    async def migrate() -> None:
        async with exclusive(url, EngineOptions()) as connection:
            await connection.exec_driver_sql("CREATE TABLE half_done (id INTEGER)")
            at_work.set()
            await connection.exec_driver_sql(SLOW)

    task = asyncio.create_task(migrate())
    await at_work.wait()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with exclusive(url, EngineOptions()) as connection:
        assert [] == (await connection.exec_driver_sql("SELECT name FROM sqlite_master")).all()
