"""The newest rows on each database."""

import pytest
from sqlalchemy import select
from sqlalchemy.orm import aliased

from app.models import Device, SensorReading
from benchmarks.database_plans import sent as statements
from core.database.database import Database
from core.exceptions import InvalidQuery
from core.query import cursor_paginate, fetch, latest_per, paginate
from tests.integration.query.models import Item, Part, Ticket

READINGS = [
    {"device_id": device, "sensor_id": sensor, "sensor_type": "t", "value": time * 10, "timestamp": time}
    for device, sensor, time in (
        ("a", "s1", 1),
        ("a", "s1", 3),
        ("a", "s2", 3),
        ("a", "s2", 2),
        ("b", "s1", 5),
        ("", "s9", 4),
        ("B", "s1", 1),
    )
]


async def test_one_row_per_device(database: Database) -> None:
    """The newest; of several of the same time the one written last. One statement."""
    await SensorReading.insert(READINGS)
    with statements(database) as sent:
        found = await fetch(latest_per(SensorReading, "device_id"))
    assert 1 == len(sent)
    assert [("", 4), ("B", 1), ("a", 3), ("b", 5)] == sorted(
        (one.device_id, one.timestamp.timestamp()) for one in found
    )
    assert "s2" == next(one.sensor_id for one in found if one.device_id == "a")
    assert [] == await fetch(latest_per(Device, "device_id", time="last_seen"))


async def test_per_device_and_sensor(database: Database) -> None:
    """Several attributes together."""
    await SensorReading.insert(READINGS)
    found = await fetch(latest_per(SensorReading, "device_id", "sensor_id"))
    expected = [("", "s9", 40), ("B", "s1", 10), ("a", "s1", 30), ("a", "s2", 30), ("b", "s1", 50)]
    assert expected == sorted((one.device_id, one.sensor_id, one.value) for one in found)


async def test_conditions_before_choose_among_rows_and_conditions_after_among_the_newest(database: Database) -> None:
    """`where` of the select that is given, and of the select that comes back."""
    await SensorReading.insert(READINGS)
    small = select(SensorReading).where(SensorReading.value < 30)
    assert {("a", 20), ("B", 10)} == {(one.device_id, one.value) for one in await fetch(latest_per(small, "device_id"))}
    newest = latest_per(SensorReading, "device_id").where(SensorReading.value < 30)
    assert {("B", 10)} == {(one.device_id, one.value) for one in await fetch(newest)}


async def test_the_newest_can_be_paged(database: Database) -> None:
    """What comes back is a select like any other."""
    await SensorReading.insert(READINGS)
    newest = latest_per(SensorReading, "device_id").order_by(SensorReading.timestamp.desc())
    page = await paginate(newest, 2, 2)
    assert (4, ["a", "B"]) == (page.total, [one.device_id for one in page.items])
    page = await cursor_paginate(newest, limit=3)
    page = await cursor_paginate(newest, after=page.next, limit=3)
    assert ["B"] == [one.device_id for one in page.items]


async def test_rows_without_key_or_time_are_left_out(database: Database) -> None:
    """NULL is no device, and no time; primary keys of several columns work."""
    await Part.insert(
        [{"id": n, "at": n % 4, "maker": "mn"[n % 2], "kind": [None, "x", "y"][n % 3]} for n in range(12)]
    )
    found = await fetch(latest_per(Part, "maker", "kind", time="at"))
    expected = [("m", "x", 2, 10), ("m", "y", 2, 2), ("n", "x", 3, 7), ("n", "y", 3, 11)]
    assert expected == sorted((one.maker, one.kind, one.at.timestamp(), one.id) for one in found)
    await Item.insert([{"code": "a", "at": 1, "seen": seen} for seen in (None, 2, 1)])
    (found,) = await fetch(latest_per(Item, "code", time="seen"))
    assert 2 == found.id


async def test_deleted_rows_are_not_the_newest(database: Database) -> None:
    """Soft deletes hold inside, too."""
    await Ticket.insert([{"owner": "o", "at": at, "is_deleted": at == 2} for at in (1, 2)])
    (found,) = await fetch(latest_per(Ticket, "owner", time="at"))
    assert 1 == found.at.timestamp()


async def test_aliases(database: Database) -> None:
    """An alias is as good as its model."""
    await SensorReading.insert(READINGS)
    assert 4 == len(await fetch(latest_per(select(aliased(SensorReading)), "device_id")))


async def test_what_cannot_be_is_refused(database: Database) -> None:
    """With what to do instead."""
    for arguments, problem in (
        ((SensorReading,), "name a column"),
        ((SensorReading, "device"), "no column 'device'; did you mean 'device_id'"),
        ((Device, "user_id"), "name one with time="),
        ((select(SensorReading.value), "device_id"), "a select of one model"),
        ((select(SensorReading).join(SensorReading.device), "device_id"), "without joins"),
        ((select(SensorReading).limit(5), "device_id"), "limit"),
    ):
        with pytest.raises(InvalidQuery, match=problem):
            latest_per(*arguments)
