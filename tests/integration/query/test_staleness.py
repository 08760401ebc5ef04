"""Devices that are silent, on each database."""

import time
from datetime import timedelta

import pytest
from sqlalchemy import select

from app.models import Device, SensorReading
from benchmarks.database_plans import sent
from core.database.database import Database
from core.exceptions import InvalidQuery
from core.query import cursor_paginate, fetch, paginate, stale


async def test_the_longest_silence_comes_first(database: Database) -> None:
    """Those never heard of before all others; those heard of lately are left out. One statement."""
    for name, age in (("new", 10), ("old", 4000), ("older", 9000)):
        await Device.create(device_id=name, last_seen=time.time() - age, user_id="u")
    await Device.create(device_id="never")
    with sent(database) as statements:
        assert ["never", "older", "old"] == [one.device_id for one in await fetch(stale(Device, "1h"))]
    assert 1 == len(statements)
    owned = stale(select(Device).where(Device.user_id == "u"), timedelta(hours=2))
    assert ["older"] == [one.device_id for one in await fetch(owned)]
    assert 3 == (await paginate(stale(Device, "1h"), 1, 2)).total
    assert [] == await fetch(stale(Device, "1d", time="created_at"))


async def test_silent_devices_have_cursors(database: Database) -> None:
    """In the same order, those never heard of among them, forward and backward."""
    for name in ("b", "a"):
        await Device.create(device_id=f"never {name}")
    for name, age in (("old", 4000), ("older", 9000), ("just as old", 9000)):
        await Device.create(device_id=name, last_seen=1_700_000_000 - age)
    expected = [device.device_id for device in await fetch(stale(Device, "1h").order_by(Device.id))]
    assert ["never b", "never a", "older", "just as old", "old"] == expected
    found: list[str] = []
    page = await cursor_paginate(stale(Device, "1h"), limit=1)
    while page.items:
        found += [device.device_id for device in page.items]
        last, page = page, await cursor_paginate(stale(Device, "1h"), after=page.next, limit=1)
    assert expected == found
    before = await cursor_paginate(stale(Device, "1h"), before=last.previous, limit=9)
    assert expected[:-1] == [device.device_id for device in before.items]


@pytest.mark.parametrize(
    ("arguments", "options", "problem"),
    [
        ((Device, "an hour"), {}, "older_than: .* is no duration"),
        ((Device, "999999999w"), {}, "older_than"),
        ((SensorReading, "1h"), {}, "no column 'last_seen'"),
        ((Device, "1h"), {"time": "name"}, "name is no Instant column"),
    ],
)
def test_what_cannot_be_is_refused(arguments: tuple[object, str], options: dict[str, str], problem: str) -> None:
    """With the reason, before any database is asked."""
    with pytest.raises(InvalidQuery, match=problem):
        stale(*arguments, **options)
