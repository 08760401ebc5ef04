"""Times of a row's own and keys made by the process, on each database."""

import asyncio
import uuid

from sqlalchemy import inspect, select, update

from core.database.database import Database
from core.model import Model, now
from tests.integration.database.around.models import Machine


async def test_mixed_in_models_are_written_in_bulk(database: Database) -> None:
    """No mixin takes a model out of group commit."""
    machines = await asyncio.gather(*[Machine.create(serial=f"m{number:02}") for number in range(20)])
    assert 1 == database.statistics().flushes
    assert [f"m{number:02}" for number in range(20)] == [machine.serial for machine in machines]
    stored = {machine.serial: machine.id for machine in await Machine.all()}
    assert stored == {machine.serial: machine.id for machine in machines}


async def test_keys_grow_with_time_in_the_database_too(database: Database) -> None:
    """Ordered by key, rows are in the order in which their keys were made."""
    serials = []
    for number in range(10):
        serials.append(f"m{number}")
        await Machine.create(serial=serials[-1])
    machines = await Machine.all()
    assert serials == [machine.serial for machine in machines]
    assert {7} == {machine.id.version for machine in machines}
    assert isinstance(machines[0].id, uuid.UUID)
    assert "m3" == (await Machine.find(machines[3].id)).serial  # type: ignore[union-attr]


async def test_changes_move_updated_at_only(database: Database) -> None:
    """Through the session, by a statement and by an upsert."""
    before = now()
    machine = await Machine.create(serial="m")
    assert before <= machine.created_at <= machine.updated_at <= now()
    moments = [machine.updated_at]
    async with await Model.get_session() as session:
        held = await session.get_one(Machine, machine.id)
        held.level = 1
        await session.commit()
        moments.append(held.updated_at)
        await session.execute(update(Machine).values(level=2))
        await session.commit()
        moments.append((await session.scalars(select(Machine.updated_at))).one())
    await Machine.upsert({"serial": "m", "level": 3})
    (last,) = await Machine.all()
    moments.append(last.updated_at)
    assert sorted(set(moments)) == moments
    assert (machine.created_at, 3) == (last.created_at, last.level)


def test_columns_of_mixins_have_their_places() -> None:
    """The key comes first and the bookkeeping last, whatever the order of the bases."""
    names = [column.key for column in inspect(Machine).columns]
    assert ["id", "serial", "level", "hall_id"] == names[:4]
    assert ["created_at", "updated_at", "is_deleted", "deleted_at"] == names[4:]
