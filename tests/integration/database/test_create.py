"""Writing the same row again, in turn and at once, on every database."""

import asyncio
import datetime as dt
from typing import Any

import pytest
import structlog

from core.database.database import Database
from core.database.filter_memory import FilterMemory
from core.exceptions import UniqueViolation
from tests.integration.database.models import Checked, Gauge, Sample

AT = dt.datetime(2026, 1, 31, 12, 0, 0, 123456, tzinfo=dt.UTC)


async def test_a_redelivered_row_is_returned_as_it_was_stored(database: Database) -> None:
    """Id and server-side columns come from the stored row; it is unchanged, and nothing is logged."""
    first = await Sample.create(source="s", at=AT, value=1)
    with structlog.testing.capture_logs() as logs:
        again = await Sample.create(source="s", unit="C", at=AT.isoformat(), value=2)
    assert [] == logs
    assert first.to_dict() == again.to_dict()
    assert ("C", 1.0, "none", AT) == (again.unit, again.value, again.note, again.at)
    assert dt.UTC is again.stored_at.tzinfo
    assert (1, 1) == database.statistics()[:2]


@pytest.mark.parametrize(
    ("model", "fields"), [(Sample, {"source": "s", "at": AT, "value": 1}), (Checked, {"name": "n", "value": 1})]
)
async def test_fifty_tasks_that_create_one_key_get_one_row(
    database: Database, model: Any, fields: dict[str, Any]
) -> None:
    """All get the same id, whether the rows are written together or one by one."""
    rows = await asyncio.gather(*(model.create(**fields) for _ in range(50)))
    (stored,) = await model.all()
    assert {stored.id} == {row.id for row in rows}
    assert (1, 49) == database.statistics()[:2]


async def test_two_services_that_create_the_same_keys_at_once_agree(database: Database, database_url: str) -> None:
    """Two processes with a database object each, as two workers have."""
    other = Database(database_url)
    fields = [{"source": f"s{n}", "at": AT, "value": n} for n in range(30)]
    writes = [each.create(Sample, dict(row)) for row in fields for each in (database, other)]
    rows = await asyncio.gather(*writes)
    await other.close()
    stored = {sample.source: sample.id for sample in await Sample.all()}
    assert 30 == len(stored)
    assert [stored[row.source] for row in rows] == [row.id for row in rows]


async def test_texts_that_differ_in_case_or_spaces_are_different_keys(database: Database) -> None:
    """By default MariaDB would take the later ones for redeliveries of the first, and lose them."""
    for source in ("pump", "Pump", "pump ", "p\u00fcmp", "pu\u0308mp", "\U0001f600"):
        await Sample.create(source=source, at=AT, value=1)
    assert 6 == len(await Sample.all())


async def test_another_unique_column_is_a_violation(database: Database) -> None:
    """The error is ours; the row that was there is untouched."""
    await Gauge.create(name="g", value=1)
    with pytest.raises(UniqueViolation):
        await Gauge.create(name="g", value=2)
    assert [1.0] == [gauge.value for gauge in await Gauge.all()]


@pytest.mark.parametrize(
    "value", [0.1, -0.0, 1.7976931348623157e308, 5e-324, 1 / 3, 123456789.123456789, 2**53], ids=repr
)
async def test_numbers_keep_every_digit(database: Database, value: float) -> None:
    """Double precision everywhere: a FLOAT of MariaDB would keep seven digits."""
    created = await Sample.create(source="s", value=value)
    stored = await Sample.find(created.id)
    assert stored is not None
    assert float(value) == created.value == stored.value


async def test_filters_are_remembered(database: Database) -> None:
    """The later list replaces the earlier one; another client has its own."""
    assert {} == await FilterMemory(database.engine).remembered_filters("c")
    await FilterMemory(database.engine).remember_filters("c", {"a/#": 1, "b": 0})
    await FilterMemory(database.engine).remember_filters("c", {"b": 2, "\u00e4/+": 1})
    assert {"b": 2, "\u00e4/+": 1} == await FilterMemory(database.engine).remembered_filters("c")
    assert {} == await FilterMemory(database.engine).remembered_filters("C")
    many = {f"filter/{number:05}/{'x' * 60}": 1 for number in range(2000)}
    await FilterMemory(database.engine).remember_filters("many", many)
    assert many == await FilterMemory(database.engine).remembered_filters("many")
