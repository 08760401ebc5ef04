"""What PostgreSQL reads, by its own account. `python -m benchmarks database` shows the same for a million rows."""

import pytest
from sqlalchemy import select

from app.models import SensorReading
from benchmarks.database_plans import explain, fill, page
from core.database.database import Database
from core.query import fetch, full_text, latest_per
from tests.integration.query.models import Note

DEVICES = 1000

pytestmark = pytest.mark.parametrize("fresh_database", ["postgres"], indirect=True)


@pytest.fixture
async def readings(database: Database) -> Database:
    """200,000 readings of 1,000 devices."""
    await fill(database, 200_000, DEVICES)
    return database


async def test_latest_rows_are_read_by_the_index(readings: Database) -> None:
    """At most 20 buffers per device, and no table is scanned."""
    for _ in range(7):  # a prepared statement gets its final plan with the sixth run
        assert DEVICES == len(await fetch(latest_per(SensorReading, "device_id")))
    plan = await explain(readings, lambda: fetch(latest_per(SensorReading, "device_id")))
    assert DEVICES == plan.rows
    assert [] == plan.scanned
    assert plan.buffers <= 20_000


async def test_far_pages_cost_what_the_first_costs(readings: Database) -> None:
    """A cursor starts in the index at its place: by primary key, by an index, within one device, backward."""
    for statement in (
        select(SensorReading),
        select(SensorReading).order_by(SensorReading.device_id, SensorReading.timestamp),
        select(SensorReading).order_by(SensorReading.device_id.desc(), SensorReading.timestamp.desc()),
    ):
        first = await explain(readings, await page(statement, 1, 20))
        far = await explain(readings, await page(statement, 10_000, 20))
        assert ([], []) == (first.scanned, far.scanned)
        assert (21, 20) == (first.rows, far.rows)
        assert far.buffers <= 1.5 * first.buffers + 10


async def test_words_are_found_by_the_index(with_notes: Database) -> None:
    """The index on `text_document` is the one that `full_text` uses."""
    await Note.insert([{"title": f"note {n}", "body": "pump" if n == 7 else "x" * n} for n in range(300)])
    found = full_text(Note, ["title", "body"], "pump")
    plan = await explain(with_notes, lambda: fetch(found), "SET enable_seqscan = off")
    assert (["ix_query_notes_words"], 1) == (plan.indexes, plan.rows)
