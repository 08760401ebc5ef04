"""Devices: their status, registration, owners and configuration."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import select

from app.models import Device, TransferLog, User
from core.exceptions import InvalidPayload
from core.model import Model


async def device(device_id: str = "d1") -> Device:
    async with await Model.get_session() as session:
        return (await session.scalars(select(Device).where(Device.device_id == device_id))).one()


async def transfers() -> list[tuple[str | None, str | None]]:
    return [(log.from_user_id, log.to_user_id) for log in await TransferLog.all()]


# --- status ---


@pytest.mark.parametrize("payload", ["online", "OFFLINE", ' "online" \n'])
async def test_a_status_is_noted(deliver: Any, payload: str) -> None:
    """Bare or as JSON text, in any case; an unknown device is added."""
    await deliver("devices/d1/status", payload, received_at=1700000000)
    seen = await device()
    assert (payload.strip('" \n').lower(), 1700000000) == (seen.status, seen.last_seen.timestamp())  # type: ignore[union-attr]


async def test_a_status_of_its_own_making_is_refused(deliver: Any) -> None:
    """The reason names what is allowed, and shows no more than the begin of what came."""
    with pytest.raises(InvalidPayload, match="none of online, offline") as caught:
        await deliver("devices/d1/status", "x" * 10_000)
    assert len(str(caught.value)) < 200
    assert [] == await Device.all()


async def test_older_news_change_nothing(deliver: Any) -> None:
    """Messages of several topics are handled concurrently, so that older ones may come later."""
    await deliver("devices/d1/status", "offline", received_at=1700000010)
    await deliver("devices/d1/status", "online", received_at=1700000005)
    await deliver("sensors/d1/data", {"value": 1}, received_at=1700000009)
    seen = await device()
    assert ("offline", 1700000010) == (seen.status, seen.last_seen.timestamp())  # type: ignore[union-attr]
    await deliver("devices/d1/status", "online", received_at=1700000011)
    assert "online" == (await device()).status


async def test_a_retained_birth_tells_the_state_but_not_when(deliver: Any) -> None:
    """It may be days old: it sets the status and leaves the time alone."""
    await deliver("devices/d1/status", "online", retain=True, received_at=1700000000)
    seen = await device()
    assert ("online", None) == (seen.status, seen.last_seen)
    await deliver("devices/d1/status", "online", received_at=1700000001)
    await deliver("devices/d1/status", "offline", retain=True, received_at=1700000002)
    seen = await device()
    assert ("offline", 1700000001) == (seen.status, seen.last_seen.timestamp())  # type: ignore[union-attr]


async def test_the_first_news_of_a_device_may_come_all_at_once(deliver: Any) -> None:
    """One row, and the newest news in it, whichever task was first."""
    await asyncio.gather(
        *(deliver("devices/d1/status", "online", received_at=1700000000 + n) for n in range(20)),
        deliver("devices/d1/status", "offline", received_at=1700000100),
    )
    seen = await device()
    assert ("offline", 1700000100) == (seen.status, seen.last_seen.timestamp())  # type: ignore[union-attr]


# --- registration ---


async def test_registration_adds_a_device_and_answers_with_it(deliver: Any) -> None:
    """The answer is the row as it is stored."""
    answer = await deliver(
        "devices/d1/register", {"name": "Pump", "device_type": "battery", "user_id": "u1"}, received_at=1700000000
    )
    assert (await device()).to_dict() == answer
    expected = {"device_id": "d1", "name": "Pump", "device_type": "battery", "user_id": "u1", "status": "online"}
    assert expected | {"last_seen": "2023-11-14T22:13:20Z"} == {key: answer[key] for key in (*expected, "last_seen")}
    assert [(None, "u1")] == await transfers()


async def test_a_redelivered_registration_transfers_once(deliver: Any) -> None:
    """One change of the owner is one record."""
    for _ in range(3):
        await deliver("devices/d1/register", {"user_id": "u1"}, received_at=1700000000)
    assert [(None, "u1")] == await transfers()


async def test_registrations_at_once_transfer_once(deliver: Any) -> None:
    """Copies that are handled at the same time are one change too."""
    payload = {"user_id": "u1", "timestamp": 1700000000}
    await asyncio.gather(*(deliver("devices/d1/register", payload, received_at=1700000001) for _ in range(10)))
    assert [(None, "u1")] == await transfers()


async def test_owners_follow_each_other(deliver: Any) -> None:
    """Each change names both owners; null releases the device; a user_id left out changes nothing."""
    for at, payload in enumerate([{"user_id": "u1"}, {"name": "x"}, {"user_id": "u2"}, {"user_id": None}, {}]):
        await deliver("devices/d1/register", payload, received_at=1700000000 + at)
    assert [(None, "u1"), ("u1", "u2"), ("u2", None)] == await transfers()
    assert ("x", None) == ((await device()).name, (await device()).user_id)


async def test_a_redelivery_does_not_bring_the_former_owner_back(deliver: Any) -> None:
    """With a time of their own, registrations that the broker repeats in order change nothing."""
    history = [{"user_id": f"u{n}", "timestamp": 1700000000 + n} for n in range(3)]
    for at, payload in enumerate(history + history):
        await deliver("devices/d1/register", payload, received_at=1700000100 + at)
    assert [(None, "u0"), ("u0", "u1"), ("u1", "u2")] == await transfers()
    assert "u2" == (await device()).user_id


async def test_a_clock_that_is_ahead_does_not_block_later_transfers(deliver: Any) -> None:
    """A registration was sent at the latest when it was received."""
    await deliver("devices/d1/register", {"user_id": "u1", "timestamp": "2999-01-01"}, received_at=1700000000)
    await deliver("devices/d1/register", {"user_id": "u2", "timestamp": 1700000001}, received_at=1700000001)
    assert [(None, "u1"), ("u1", "u2")] == await transfers()
    assert datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC) == (await TransferLog.all())[0].timestamp


@pytest.mark.parametrize("payload", [{"user_id": 7}, {"timestamp": "soon"}, {"name": None}])
async def test_an_unusable_registration_leaves_nothing(deliver: Any, payload: dict[str, Any]) -> None:
    """It is refused before anything is written."""
    with pytest.raises(InvalidPayload):
        await deliver("devices/d1/register", payload, received_at=1700000000)
    assert [] == await Device.all()


async def test_relationships_join_on_the_outside_ids(deliver: Any) -> None:
    """Without foreign keys: a device may come before its user."""
    await deliver("devices/d1/register", {"user_id": "u1"}, received_at=1700000000)
    owned = await device()
    assert await owned.awaitable_attrs.user is None
    await User.create(user_id="u1", name="Ada")
    await deliver("sensors/d1/data", {"value": 1, "timestamp": 5}, received_at=1700000000)
    owned = await device()
    user = await owned.awaitable_attrs.user
    assert "Ada" == user.name
    assert ["d1"] == [each.device_id for each in await user.awaitable_attrs.devices]
    assert [1.0] == [reading.value for reading in await owned.awaitable_attrs.sensor_readings]


# --- configuration ---


async def test_configuration_depends_on_the_type(deliver: Any) -> None:
    """An unknown device gets the general settings, and learns that it is unknown."""
    unknown = {"device_id": "d1", "registered": False, "report_interval": 60}
    assert unknown == await deliver("devices/d1/config/get", "")
    await deliver("devices/d1/register", {"device_type": "battery"}, received_at=1700000000)
    known = {"device_id": "d1", "registered": True, "report_interval": 900}
    assert known == await deliver("devices/d1/config/get", "")
