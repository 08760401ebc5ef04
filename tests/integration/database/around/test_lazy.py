"""Attributes that were not loaded with their row: awaited, or refused with advice."""

import pickle
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import nullcontext
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.orm import load_only

from app.models import Device, SensorReading, User
from core.database.database import Database
from core.exceptions import DatabaseError, DatabaseNotConfigured, NotLoaded
from core.model import Model
from tests.integration.database.around.models import Hall, Machine


@pytest.fixture
async def hall(database: Database) -> Hall:
    hall = await Hall.create(name="north", notes="cold")
    await Machine.insert([{"serial": serial, "hall_id": hall.id} for serial in ("a", "b")])
    found = await Hall.find(hall.id)
    assert found is not None
    return found


async def test_a_detached_instance_loads_what_is_awaited(hall: Hall, database: Database) -> None:
    """Collections, single instances and deferred columns; after that they are there."""
    assert ["a", "b"] == [machine.serial for machine in await hall.awaitable_attrs.machines]
    assert "cold" == await hall.awaitable_attrs.notes
    assert ("cold", 2) == (hall.notes, len(hall.machines))
    machine = hall.machines[0]
    assert "north" == (await machine.awaitable_attrs.hall).name
    device = await Device.create(device_id="pump-1")
    await SensorReading.create(device_id="pump-1", value=1, timestamp=1_700_000_000)
    assert [1.0] == [reading.value for reading in await device.awaitable_attrs.sensor_readings]


async def test_an_instance_of_a_session_loads_through_it(hall: Hall) -> None:
    """So it sees what the session has written."""
    async with await Model.get_session() as session:
        held = await session.get_one(Hall, hall.id)
        session.add(Machine(serial="c", hall_id=hall.id))
        await session.flush()
        assert ["a", "b", "c"] == [machine.serial for machine in await held.awaitable_attrs.machines]


@pytest.mark.parametrize(("name", "load"), [("machines", "selectinload"), ("notes", "undefer")])
async def test_without_await_the_error_says_what_to_write(hall: Hall, name: str, load: str) -> None:
    """Outside of a session and inside one; nothing is half begun on the connection."""
    advice = (
        f"Hall.{name} is not loaded, and reading it from the database takes an await; fix: write "
        f"await hall.awaitable_attrs.{name}, or load it with the rows: select(Hall).options({load}(Hall.{name}))"
    )
    with pytest.raises(NotLoaded) as outside:
        getattr(hall, name)
    assert advice == str(outside.value)
    assert isinstance(outside.value, DatabaseError)
    async with await Model.get_session() as session:
        held = await session.get_one(Hall, hall.id)
        with pytest.raises(NotLoaded) as inside:
            getattr(held, name)
        assert advice == str(inside.value)
        assert "north" == await session.scalar(select(Hall.name))


async def test_columns_left_out_or_expired(hall: Hall) -> None:
    """Whatever the reason for which a column is not there."""
    async with await Model.get_session() as session:
        (partial,) = await session.scalars(select(Hall).options(load_only(Hall.id)))
        with pytest.raises(NotLoaded, match=r"Hall\.name is not loaded"):
            partial.name  # noqa: B018 - reading it is the test
        session.expire(partial)
        with pytest.raises(NotLoaded, match=r"Hall\.id is not loaded"):
            partial.id  # noqa: B018
        assert "north" == await partial.awaitable_attrs.name


async def test_what_create_returns_gives_the_same_advice(database: Database) -> None:
    """It never was in a session."""
    machine = await Machine.create(serial="a")
    with pytest.raises(NotLoaded, match=r"await machine\.awaitable_attrs\.hall"):
        machine.hall  # noqa: B018
    assert None is await machine.awaitable_attrs.hall


def test_new_instances_read_as_ever() -> None:
    """Nothing is loaded for a row that is not stored yet; an unknown attribute is an AttributeError."""
    assert (None, []) == (Hall().name, Hall().machines)
    assert not hasattr(Hall(), "nonsense")


@pytest.fixture
async def archive(database: Database, tmp_path: Path) -> AsyncIterator[Database]:
    """Another database with other rows of the same keys."""
    archive = Database(f"sqlite:///{tmp_path / 'archive.db'}")
    Model.install(archive, "archive")
    await archive.create_tables()
    yield archive
    await archive.close()


async def found(device: Device) -> Device:
    row = await Device.on("archive").find(device.id)
    assert row is not None
    return row


async def created_twice(device: Device) -> Device:
    return await Device.on("archive").create(device_id=device.device_id)


async def upserted(device: Device) -> Device:
    return await Device.on("archive").upsert({"device_id": device.device_id}, returning=True)


async def selected(device: Device) -> Device:
    async with await Model.on("archive").get_session() as session:
        return await session.get_one(Device, device.id)


async def pickled(device: Device) -> Device:
    row: Device = pickle.loads(pickle.dumps(device))  # noqa: S301 - our own
    return row


async def unchanged(device: Device) -> Device:
    return device


@pytest.mark.parametrize("reach", [unchanged, found, created_twice, upserted, selected, pickled])
@pytest.mark.parametrize("within", [False, True])
async def test_rows_of_another_database_load_from_there(
    hall: Hall, archive: Database, reach: Callable[[Device], Awaitable[Device]], within: bool
) -> None:
    """However they were come by: written, found or selected, in a transaction or not."""
    for name, where in (("Default", Model.on("default")), ("Archive", Model.on("archive"))):
        await where.create(User, user_id="ada", name=f"{name} Ada")
    await Device.create(device_id="pump-1", user_id="ada")
    stored = await Device.on("archive").create(device_id="pump-1", user_id="ada")
    async with Model.on("archive").transaction() if within else nullcontext():
        device = await reach(stored)
    user = await device.awaitable_attrs.user
    assert "Archive Ada" == user.name
    assert [device.id] == [each.id for each in await user.awaitable_attrs.devices]
    assert "Default Ada" == (await (await Device.find(device.id)).awaitable_attrs.user).name
    Model.install(None, "archive")
    with pytest.raises(DatabaseNotConfigured, match="no database 'archive'"):
        await device.awaitable_attrs.sensor_readings


async def test_what_is_loaded_in_a_transaction_is_what_it_has_written(hall: Hall) -> None:
    """Also by an instance that was found before it began."""
    async with Model.transaction():
        await Machine.create(serial="c", hall_id=hall.id)
        assert ["a", "b", "c"] == [machine.serial for machine in await hall.awaitable_attrs.machines]
