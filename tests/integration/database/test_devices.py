"""What the shipped controllers leave to the database: order and uniqueness under concurrency."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from app.controllers.device_controller import DeviceController, Registration
from app.models import Device, SensorReading, TransferLog, User
from core.database.database import Database
from core.database.metadata import metadata, writer_table
from core.message import Message
from core.model import Model


@pytest.fixture
async def tables(database_url: str) -> AsyncIterator[Database]:
    database = Model.configure(database_url)
    tables = [*(model.__table__ for model in (Device, SensorReading, TransferLog, User)), writer_table]
    async with database.engine.begin() as connection:
        await connection.run_sync(metadata.create_all, tables=tables)
    yield database
    await Model.cleanup()


async def register(device_id: str, user_id: str, at: float) -> None:
    registration = Registration(user_id=user_id, timestamp=at)
    message = Message(f"devices/{device_id}/register", b"", received_at=at)
    await DeviceController().register(device_id, registration, message)


async def test_registrations_at_once_transfer_once(tables: Database) -> None:
    """Ten copies of one registration, of three devices, write one record each."""
    copies = [register(f"d{number % 3}", "u1", 1700000000) for number in range(30)]
    await asyncio.gather(*copies)
    logs = [(log.device_id, log.from_user_id, log.to_user_id) for log in await TransferLog.all()]
    assert [("d0", None, "u1"), ("d1", None, "u1"), ("d2", None, "u1")] == sorted(logs)


async def test_the_newest_status_wins_whatever_the_order(tables: Database) -> None:
    """Forty news of one device that nobody knew before."""
    await asyncio.gather(
        *(Device.heard_of("d", "offline" if at == 39 else "online", 1700000000.5 + at) for at in range(40))
    )
    (device,) = await Device.all()
    assert ("offline", 1700000039.5) == (device.status, device.last_seen.timestamp())  # type: ignore[union-attr]


async def test_a_device_finds_its_user_and_its_readings(tables: Database) -> None:
    """Relationships join on the outside ids, from a detached instance too."""
    await User.create(user_id="u", name="Ada")
    created = await Device.create(device_id="d", user_id="u")
    for at in range(3):
        await SensorReading.create(device_id="d", value=at, timestamp=at)
    device = await Device.find(created.id)
    assert device is not None
    assert "Ada" == (await device.awaitable_attrs.user).name
    readings, again = await asyncio.gather(*(device.awaitable_attrs.sensor_readings for _ in range(2)))
    assert [0.0, 1.0, 2.0] == sorted(reading.value for reading in readings) == sorted(each.value for each in again)
