"""Readings: stored once, answered, and watched."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from app.controllers.sensor_controller import MOST_READINGS
from app.models import Device, SensorReading
from core.exceptions import InvalidPayload, InvalidValue, PublishError, UndecodablePayload
from core.instants import now
from core.model import Model

AT = datetime(2026, 1, 31, 12, tzinfo=UTC)


async def device() -> Device:
    async with await Model.get_session() as session:
        return (await session.scalars(select(Device))).one()


async def test_a_reading_is_stored_and_its_device_is_online(deliver: Any) -> None:
    """Every field lands in its column; the device is seen at the time of receipt."""
    reading = {"value": 21, "sensor_id": "s1", "sensor_type": "temperature", "unit": "C", "timestamp": AT.timestamp()}
    assert await deliver("sensors/d1/data", reading, received_at=AT.timestamp() + 1) is None
    (stored,) = await SensorReading.all()
    assert reading | {"id": 1, "device_id": "d1", "timestamp": "2026-01-31T12:00:00Z"} == stored.to_dict()
    seen = await device()
    assert ("d1", "online", AT + timedelta(seconds=1)) == (seen.device_id, seen.status, seen.last_seen)


@pytest.mark.parametrize("timestamp", [AT.timestamp(), AT.timestamp() * 1000, "2026-01-31T13:00:00+01:00"])
async def test_a_reading_delivered_twice_is_stored_once(deliver: Any, timestamp: Any) -> None:
    """Its device, sensor, type and time identify it, whatever the form of the time."""
    for again in (0, 1):
        await deliver("sensors/d1/data", {"value": 1, "timestamp": timestamp}, received_at=2e9 + again)
    assert [AT] == [reading.timestamp for reading in await SensorReading.all()]


async def test_a_reading_without_a_time_gets_the_time_of_receipt(deliver: Any) -> None:
    """Delivered again it is a second row, as documented."""
    for at in (1700000000.25, 1700000001):
        await deliver("sensors/d1/data", {"value": 1}, received_at=at)
    assert [1700000000.25, 1700000001] == [reading.timestamp.timestamp() for reading in await SensorReading.all()]


@pytest.mark.parametrize(
    ("payload", "error"),
    [
        ("", UndecodablePayload),
        ("21.5", InvalidPayload),
        ('{"value": "21.5"}', InvalidPayload),
        ('{"value": NaN}', UndecodablePayload),
        ('{"value": 1, "timestamp": "soon"}', InvalidValue),
        ('{"value": 1, "timestamp": 1e300}', InvalidValue),
        ('{"value": 1, "sensor_id": 7}', InvalidPayload),
        ('{"value": 1, "unit": "' + "x" * 33 + '"}', InvalidValue),
        ('{"value": 1, "unit": "\\u0000"}', InvalidValue),
    ],
)
async def test_an_unusable_reading_is_refused_and_leaves_nothing(
    deliver: Any, payload: str, error: type[Exception]
) -> None:
    """Neither a reading nor a device is stored."""
    with pytest.raises(error):
        await deliver("sensors/d1/data", payload, received_at=1700000000)
    assert [] == await SensorReading.all()
    assert [] == await Device.all()


async def test_a_reading_beyond_a_threshold_raises_an_alert(deliver: Any, client: Any) -> None:
    """The bounds themselves are still good; a type without bounds never alerts."""
    for kind, value in (("temperature", 60), ("temperature", -20), ("humidity", 50), ("light", 1e9)):
        await deliver("sensors/d1/data", {"value": value, "sensor_type": kind}, received_at=1700000000)
    assert [] == client.published
    await deliver("sensors/d1/data", {"value": 60.5, "sensor_type": "temperature"}, received_at=1700000001)
    alert = {"device_id": "d1", "type": "temperature", "value": 60.5, "lowest": -20.0, "highest": 60.0}
    assert [("alerts/d1", alert)] == client.published


async def test_an_alert_that_cannot_be_sent_does_not_undo_the_reading(deliver: Any, client: Any) -> None:
    """Refusing the message would say that the reading is not stored."""
    client.error = PublishError("the broker is away")
    await deliver("sensors/d1/data", {"value": 99, "sensor_type": "temperature"}, received_at=1700000000)
    assert 1 == len(await SensorReading.all())


async def test_history_answers_the_last_hours_newest_first(deliver: Any) -> None:
    """Older readings and those of other devices stay out."""
    present = now()
    for device_id, hours, value in (("d1", 3, 1), ("d1", 1, 2), ("d1", 0.5, 3), ("d2", 0.5, 4)):
        await SensorReading.create(device_id=device_id, value=value, timestamp=present - timedelta(hours=hours))
    answer = await deliver("sensors/d1/history", {"hours": 2})
    assert [3.0, 2.0] == [reading["value"] for reading in answer]
    assert (present - timedelta(hours=0.5)).isoformat().replace("+00:00", "Z") == answer[0]["timestamp"]
    assert 3 == len(await deliver("sensors/d1/history", {}))
    assert [] == await deliver("sensors/unknown/history", {})


async def test_history_is_bounded(deliver: Any) -> None:
    """A busy device cannot make an answer of any size."""
    since = now().timestamp() - 3600
    rows = [{"device_id": "d1", "value": n, "timestamp": since + n / 10} for n in range(MOST_READINGS + 5)]
    async with await Model.get_session() as session:
        session.add_all(SensorReading(**row) for row in rows)
        await session.commit()
    answer = await deliver("sensors/d1/history", {"hours": 24})
    assert [float(n) for n in range(MOST_READINGS + 4, 4, -1)] == [reading["value"] for reading in answer]


@pytest.mark.parametrize("hours", [0, -1, 24 * 400, "1"])
async def test_history_refuses_other_spans(deliver: Any, hours: Any) -> None:
    """A span is above zero and at most a year."""
    with pytest.raises(InvalidPayload):
        await deliver("sensors/d1/history", {"hours": hours})


async def test_readings_of_one_device_at_once_are_all_stored(deliver: Any) -> None:
    """The device is added once, and ends at the newest time."""
    await asyncio.gather(
        *(deliver("sensors/d1/data", {"value": n, "timestamp": n}, received_at=1700000000 + n) for n in range(20))
    )
    assert 20 == len(await SensorReading.all())
    seen = await device()
    assert 1700000019 == seen.last_seen.timestamp()  # type: ignore[union-attr]


async def test_a_reading_needs_a_device_or_a_sensor(deliver: Any) -> None:
    """One of the two is enough; the other is empty, not NULL."""
    assert "" == (await SensorReading.create(sensor_id="s", value=1)).device_id
    assert "" == (await SensorReading.create(device_id="d", value=1)).sensor_id
    with pytest.raises(InvalidValue, match="has_origin"):
        await SensorReading.create(value=1)
