"""Deleted rows are hidden from every read, on each database, and can come back."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, exists, func, select, text, update
from sqlalchemy.orm import joinedload, selectinload

from core.database.database import Database
from core.exceptions import InvalidQuery
from core.model import Model, with_deleted
from tests.integration.database.around.models import Hall, Machine, Valve


async def serials(statement: object = None) -> list[str]:
    async with await Model.get_session() as session:
        found = await session.scalars(select(Machine).order_by(Machine.serial) if statement is None else statement)
        return [machine.serial for machine in found]


async def soft_delete(criterion: Any) -> int:
    async with await Model.get_session() as session:
        result = await session.execute(delete(Valve).where(criterion))
        await session.commit()
        return result.rowcount


@pytest.fixture
async def hall(database: Database) -> Hall:
    """Two machines in a hall, of which the first is deleted."""
    hall = await Hall.create(name="north")
    await Machine.insert([{"serial": serial, "hall_id": hall.id} for serial in ("a", "b")])
    async with await Model.get_session() as session:
        await session.execute(delete(Machine).where(Machine.serial == "a"))
        await session.commit()
    return hall


async def test_the_row_is_still_there(hall: Hall) -> None:
    """Deleting marks a row with the time at which it was done."""
    async with await Model.get_session() as session:
        rows = list(await session.execute(text("SELECT serial FROM around_machines ORDER BY serial")))
        deleted = (await session.scalars(with_deleted(select(Machine).where(Machine.is_deleted)))).one()
    assert [("a",), ("b",)] == [tuple(row) for row in rows]
    assert ("a", True) == (deleted.serial, deleted.is_deleted)
    assert deleted.deleted_at is not None
    assert deleted.created_at <= deleted.deleted_at


async def test_reads_leave_deleted_rows_out(hall: Hall) -> None:
    """Verbs, instances, columns, counts, joins and subqueries; with_deleted shows them."""
    async with await Model.get_session() as session:
        gone = (await session.scalars(with_deleted(select(Machine.id).where(Machine.serial == "a")))).one()
    assert (None, ["b"]) == (await Machine.find(gone), [machine.serial for machine in await Machine.all()])
    statements = {
        select(Machine.serial): (["b"], ["a", "b"]),
        select(func.count()).select_from(Machine): ([1], [2]),
        select(Machine.serial).join(Machine.hall): (["b"], ["a", "b"]),
        select(exists().where(Machine.serial == "a")): ([0], [1]),
        select(Hall.name).where(Hall.machines.any(Machine.serial == "a")): ([], ["north"]),
    }
    async with await Model.get_session() as session:
        for statement, (visible, every) in statements.items():
            assert visible == sorted(await session.scalars(statement))
            assert every == sorted(await session.scalars(with_deleted(statement)))


@pytest.mark.parametrize("load", [selectinload, joinedload])
async def test_relationships_leave_deleted_rows_out(hall: Hall, load: object) -> None:
    """Loaded with the rows or later, and from one to many or to one."""
    statement = select(Hall).options(load(Hall.machines))  # type: ignore[operator]
    for query, expected in ((statement, ["b"]), (with_deleted(statement), ["a", "b"])):
        async with await Model.get_session() as session:
            (found,) = (await session.scalars(query)).unique()
        assert expected == [machine.serial for machine in found.machines]
    assert ["b"] == [machine.serial for machine in await hall.awaitable_attrs.machines]


async def test_updates_leave_deleted_rows_alone(hall: Hall) -> None:
    """What cannot be read is not changed by accident either."""
    async with await Model.get_session() as session:
        assert 1 == (await session.execute(update(Machine).values(level=1))).rowcount
        assert 2 == (await session.execute(with_deleted(update(Machine).values(level=2)))).rowcount
        assert 0 == (await session.execute(delete(Machine).where(Machine.serial == "a"))).rowcount


async def test_an_instance_is_marked_and_let_go(hall: Hall) -> None:
    """The session forgets it, as it forgets a row that is gone; a rollback takes the mark back."""
    async with await Model.get_session() as session:
        machine = (await session.scalars(select(Machine))).one()
        await session.delete(machine)
        await session.flush()
        assert None is await session.get(Machine, machine.id)
        assert machine not in session
        await session.rollback()
    assert ["b"] == await serials()
    async with await Model.get_session() as session:
        await session.delete(await session.get_one(Machine, machine.id))
        await session.commit()
    assert [] == await serials()


async def test_restore_and_force_delete_count_their_rows(hall: Hall) -> None:
    """Restoring says how many came back, and removing for good how many went."""
    assert 1 == await Machine.restore(Machine.serial.in_(["a", "b"]))
    assert 0 == await Machine.restore(Machine.serial.in_(["a", "b"]))
    (first, _) = await Machine.all()
    assert ("a", False, None) == (first.serial, first.is_deleted, first.deleted_at)
    async with await Model.get_session() as session:
        await session.delete(await session.get_one(Machine, first.id))
        await session.commit()
    assert 2 == await Machine.force_delete(Machine.hall_id == hall.id)
    assert [] == await serials(with_deleted(select(Machine)))
    with pytest.raises(InvalidQuery, match="which rows of Machine"):
        await Machine.force_delete()
    with pytest.raises(InvalidQuery, match="which rows of Machine"):
        await Machine.restore()


async def test_rows_of_another_database_are_marked_there(hall: Hall, tmp_path: Path) -> None:
    """They come back and are removed there, too; those of the same keys here stay as they are."""
    Model.install(Database(f"sqlite:///{tmp_path / 'archive.db'}"), "archive")
    archive = Machine.on("archive")
    await archive.create_tables()
    await archive.insert([{"serial": "a"}, {"serial": "b"}])
    assert 2 == await archive.delete(Machine.serial.in_(["a", "b"]))
    assert 1 == await archive.restore(Machine.serial == "a")
    assert ["a"] == [machine.serial for machine in await archive.all()]
    assert 2 == await archive.force_delete(Machine.serial.in_(["a", "b"]))
    assert ["b"] == await serials()


async def test_a_redelivery_does_not_bring_a_row_back(hall: Hall, database: Database) -> None:
    """Create returns the deleted row as it is; an upsert changes it, and it stays deleted."""
    again = await Machine.create(serial="a", level=9)
    assert ("a", 0, True) == (again.serial, again.level, again.is_deleted)
    await Machine.insert([{"serial": "a"}])
    await Machine.upsert({"serial": "a", "level": 5})
    assert ["b"] == await serials()
    await Machine.upsert({"serial": "a", "is_deleted": False, "deleted_at": None})
    assert [("a", 5), ("b", 0)] == [(machine.serial, machine.level) for machine in await Machine.all()]


async def test_nor_does_one_of_a_model_that_is_written_alone(database: Database) -> None:
    """Row by row the rule is the same."""
    first = await Valve.create(serial="a", level=1)
    assert 1 == (await soft_delete(Valve.serial == "a"))
    again = await Valve.create(serial="a", level=9)
    assert (first.id, 1, True) == (again.id, again.level, again.is_deleted)
    await Valve.upsert({"serial": "a", "level": 5})
    assert [] == await Valve.all()
    assert 1 == await Valve.restore(Valve.level == 5)


async def test_a_deleted_row_can_be_refreshed(hall: Hall) -> None:
    """Who holds the instance may look at it."""
    async with await Model.get_session() as session:
        machine = (await session.scalars(with_deleted(select(Machine).where(Machine.is_deleted)))).one()
        await session.refresh(machine)
        assert machine.is_deleted


async def test_returning_is_refused(hall: Hall) -> None:
    """Not all databases return rows of an update."""
    async with await Model.get_session() as session:
        with pytest.raises(InvalidQuery, match="SoftDeletes"):
            await session.execute(delete(Machine).returning(Machine.id))
