"""Repositories: one model in a session that the caller commits, on each database."""

from collections.abc import AsyncIterator
from typing import Generic, TypeVar

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.models import Device
from core.database.database import Database
from core.exceptions import ConfigurationError, InvalidValue, UniqueViolation, UnknownField
from core.model import Model, with_deleted
from core.repository import Repository
from tests.integration.database.around.models import Hall, Machine

T = TypeVar("T")


class DeviceRepository(Repository[Device]):
    """A method of one's own."""

    async def online(self) -> list[Device]:
        return await self.get_all(self.model.status == "online")


@pytest.fixture
async def session(database: Database) -> AsyncIterator[AsyncSession]:
    async with await Model.get_session() as session:
        yield session


async def test_the_four_verbs_and_one_of_its_own(session: AsyncSession) -> None:
    """Create, read, update, delete."""
    devices = DeviceRepository(session)
    first = await devices.create(device_id="a", name="A")
    second = await devices.create(device_id="b", status="online")
    assert isinstance(first.id, int)
    assert first is await devices.get_by_id(first.id)
    assert None is await devices.get_by_id(999)
    assert [first, second] == await devices.get_all()
    assert [second] == await devices.get_all(limit=1, offset=1)
    assert [second] == await devices.online()
    changed = await devices.update(first.id, status="online", last_seen="2026-01-01T00:00:00Z")
    assert changed is first
    assert [first, second] == await devices.online()
    assert None is await devices.update(999, status="online")
    assert (True, False) == (await devices.delete(second.id), await devices.delete(second.id))
    await session.commit()
    (stored,) = await Device.all()
    assert ("a", "A", "online", 2026) == (stored.device_id, stored.name, stored.status, stored.last_seen.year)  # type: ignore[union-attr]


async def test_nothing_is_stored_without_the_callers_commit(session: AsyncSession) -> None:
    """Two repositories of one session are one unit of work."""
    await Repository[Device](session).create(device_id="a")
    await Repository[Hall](session).create(name="h")
    await session.rollback()
    assert ([], []) == (await Device.all(), await Hall.all())


async def test_a_natural_key_finds_the_row_that_is_there(session: AsyncSession) -> None:
    """As Model.create does."""
    devices = Repository[Device](session)
    first = await devices.create(device_id="a", name="A")
    again = await devices.create(device_id="a", name="B")
    assert (first.id, "A") == (again.id, again.name)


async def test_values_are_checked_as_model_does(session: AsyncSession) -> None:
    """Creating and updating; a refused update changes nothing."""
    devices = Repository[Device](session)
    device = await devices.create(device_id="a")
    with pytest.raises(UnknownField, match="did you mean 'name'"):
        await devices.create(device_id="b", nam="B")
    with pytest.raises(UnknownField, match="did you mean 'name'"):
        await devices.update(device.id, nam="B")
    with pytest.raises(InvalidValue, match=r"Device\.status: must be text"):
        await devices.update(device.id, name="B", status=7)
    assert "" == device.name
    with pytest.raises(InvalidValue, match="primary key"):
        await devices.get_by_id((1, 2))


async def test_violations_are_our_errors(session: AsyncSession) -> None:
    """The session has to be rolled back, as ever."""
    devices = Repository[Device](session)
    await devices.create(device_id="a")
    other = await devices.create(device_id="b")
    with pytest.raises(UniqueViolation):
        await devices.update(other.id, device_id="a")
    await session.rollback()


async def test_soft_deletes_are_marked(session: AsyncSession) -> None:
    """Deleting means here what it means everywhere."""
    machines = Repository[Machine](session)
    machine = await machines.create(serial="a")
    assert await machines.delete(machine.id)
    assert ([], None) == (await machines.get_all(), await machines.get_by_id(machine.id))
    await session.commit()
    assert ["a"] == list(await session.scalars(with_deleted(select(Machine.serial))))


class Audited(Repository[T], Generic[T]):
    """A base of one's own."""


class AuditedDevices(Audited[Device]):
    pass


def test_the_model_is_the_argument_of_the_class(database: Database) -> None:
    """Named directly, by a subclass, or through a generic base of one's own."""
    session = database.session()
    repositories = [Repository[Device](session), DeviceRepository(session), Audited[Device](session)]
    assert [Device] * 4 == [repository.model for repository in (*repositories, AuditedDevices(session))]
    assert "<DeviceRepository of Device>" == repr(repositories[1])
    for unclear in (Repository(session), Audited(session)):  # type: ignore[var-annotated]
        with pytest.raises(ConfigurationError, match="does not say whose rows it holds"):
            unclear.model  # noqa: B018 - reading it is the test
