"""The log of slow queries, on each database."""

import asyncio
from typing import Any

import pytest
import structlog
from sqlalchemy import func, select, text

from core.database.database import Database
from core.exceptions import DatabaseUnavailable
from core.model import Model
from core.query import fetch
from tests.conftest import FreshDatabase
from tests.integration.database.engine.conftest import Open
from tests.integration.database.writes.models import Meter, Note
from tests.integration.database.writes.observing import together

SLEEP = {
    "postgres": "SELECT pg_sleep(0.01) WHERE 'secret' <> :text",
    "mariadb": "SELECT sleep(0.01) WHERE 'secret' <> :text",
    "sqlite": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300000) "
    "SELECT max(i) FROM n WHERE 'secret' <> :text",
}


async def installed(open_database: Open, url: str, **options: Any) -> Database:
    database: Database = await open_database(url, **options)
    Model.install(database)
    return database


@pytest.fixture(autouse=True)
def nothing_installed() -> Any:
    """Take the database away from Model afterwards; whoever opened it closes it."""
    yield
    Model.install(None)


async def test_a_slow_query(open_database: Open, fresh_database: FreshDatabase) -> None:
    """One line with duration, rows, database, the statement without any value, and its fingerprint."""
    database = await installed(open_database, fresh_database.url, slow_query_ms=1)
    with structlog.testing.capture_logs() as logs:
        for value in ("also secret", "another secret"):
            async with database.session() as session:
                await session.execute(text(SLEEP[fresh_database.kind]).bindparams(text=value))
    first, second = (log for log in logs if "WHERE ? <> ?" in log["statement"])
    assert ("slow query", "warning", database.address) == (first["event"], first["log_level"], first["database"])
    assert first["duration_ms"] >= 1
    assert 1 == first.get("rows", 1)
    assert first["fingerprint"] == second["fingerprint"]
    assert not any("secret" in str(log) for log in logs)


async def test_every_length_of_a_list_is_one_statement(open_database: Open, database_url: str) -> None:
    """So that what is slow can be added up."""
    await installed(open_database, database_url, slow_query_ms=0)
    with structlog.testing.capture_logs() as logs:
        for length in (1, 7, 40):
            await fetch(select(Note).where(Note.id.in_(range(length))))
    (fingerprint,) = {log["fingerprint"] for log in logs if "written_notes" in log["statement"]}
    assert 16 == len(fingerprint)


async def test_a_slow_flush(open_database: Open, database_url: str) -> None:
    """What group commit writes is told of by table and columns, with the rows of all handlers."""
    await installed(open_database, database_url, slow_query_ms=0)
    await Note.create(text="first")
    with structlog.testing.capture_logs() as logs:
        await together(
            *[Note.create(text=f"secret {n}") for n in range(20)], Meter.upsert({"serial": "secret", "level": 1})
        )
    flushes = [log for log in logs if log["event"] == "slow flush"]
    assert 21 == sum(log["rows"] for log in flushes)
    statements = "; ".join(log["statement"] for log in flushes)
    assert "INSERT INTO written_notes (text, rank)" in statements
    assert "UPSERT INTO written_meters (serial, " in statements
    assert not any("secret" in str(log) for log in logs)


@pytest.mark.parametrize("fresh_database", ["postgres", "mariadb"], indirect=True)
async def test_a_query_that_was_ended_for_its_slowness(open_database: Open, fresh_database: FreshDatabase) -> None:
    """The statement timeout is the slowest of all, and must not be missing."""
    await installed(open_database, fresh_database.url, slow_query_ms=1, statement_timeout=0.3)
    columns = "information_schema.columns"
    with structlog.testing.capture_logs() as logs, pytest.raises(DatabaseUnavailable):
        await fetch(select(func.count()).select_from(text(f"{columns} a, {columns} b, {columns} c, {columns} d")))
    assert ["slow query"] == [log["event"] for log in logs if columns in log["statement"]]


async def test_quick_ones_and_none_at_all(open_database: Open, database_url: str) -> None:
    """Nothing is told of what is quicker than the limit, nor without a limit."""
    with structlog.testing.capture_logs() as logs:
        for limit in (60_000, None):
            await installed(open_database, database_url, slow_query_ms=limit)
            await asyncio.gather(Note.create(text="a"), Note.all())
    assert [] == logs
