"""Pruning old rows in bounded transactions, on each database."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, text

from app.models import Device, SensorReading
from core.database.database import Database
from core.exceptions import InvalidQuery, UnknownField
from core.model import Model, now
from core.retention import prune
from tests.conftest import FreshDatabase
from tests.integration.database.around.models import Hall, Indexed, Machine, Pair, Unindexed, Unreachable

OLD = 25
YOUNG = 5


def rows(model: type[Any], times: list[Any]) -> list[dict[str, Any]]:
    if model is Pair:
        return [{"left": number // 4, "right": number, "at": at} for number, at in enumerate(times)]
    return [{"at": at} for at in times]


def times() -> list[Any]:
    """Old and young ones, not in order, with a few of the very same time."""
    moment = now()
    old = [moment - timedelta(days=31, minutes=min(number, 10)) for number in range(OLD)]
    young = [moment - timedelta(days=29, minutes=number) for number in range(YOUNG)]
    return [*old[:20], *young, *old[20:]]


def commits(database: Database) -> list[int]:
    """How many rows each transaction removes."""
    removed: list[int] = []

    @event.listens_for(database.engine.sync_engine, "after_cursor_execute")
    def count(_connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("DELETE"):
            removed.append(cursor.rowcount)

    return removed


@pytest.mark.parametrize("model", [Indexed, Unindexed, Pair])
async def test_old_rows_go_in_bounded_transactions(database: Database, model: type[Any]) -> None:
    """All that are older and none that are not, never more than a batch at a time."""
    await Model.insert(model, rows(model, times()))
    removed = commits(database)
    progress: list[int] = []
    assert OLD == await prune(model, older_than="30d", batch=4, progress=progress.append)
    assert YOUNG == len(await Model.all(model))
    assert 4 >= max(removed)
    assert OLD == sum(removed)
    assert progress == sorted(set(progress))
    assert OLD == progress[-1]
    assert 0 == await prune(model, older_than=timedelta(days=30))


async def test_many_rows_of_one_time(database: Database) -> None:
    """More than a batch of them are still removed batch by batch."""
    moment = now() - timedelta(hours=13)
    await Indexed.insert([{"at": moment} for _ in range(17)])
    removed = commits(database)
    assert 17 == await prune(Indexed, older_than="12h", batch=5)
    assert (5, 17) == (max(removed), sum(removed))


async def test_ended_in_the_middle_it_goes_on_where_it_was(database: Database) -> None:
    """What was removed is committed; the next call removes the rest."""
    await Indexed.insert(rows(Indexed, times()))

    def stop(removed: int) -> None:
        if removed >= 10:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await prune(Indexed, older_than="30d", batch=5, progress=stop)
    assert OLD + YOUNG - 10 == len(await Indexed.all())
    assert OLD - 10 == await prune(Indexed, older_than="30d", batch=5)


async def test_the_shipped_readings(database: Database) -> None:
    """Their time is the one column that can be it; a device has several, so it must be named."""
    day = 86_400
    await SensorReading.insert(
        [{"device_id": "a", "value": 1, "timestamp": now().timestamp() - age * day} for age in (40, 35, 29, 0)]
    )
    assert 2 == await prune(SensorReading, older_than="30d", batch=10_000)
    assert 2 == len(await SensorReading.all())
    await Device.create(device_id="a", last_seen=now() - timedelta(days=400))
    await Device.create(device_id="b")
    with pytest.raises(InvalidQuery, match=r"created_at, updated_at; fix: name one"):
        await prune(Device, older_than="365d")
    assert 1 == await prune(Device, older_than="365d", time="last_seen")
    assert ["b"] == [device.device_id for device in await Device.all()]


async def test_marked_rows_are_removed_for_good(database: Database) -> None:
    """Retention is about the rows, not about who may see them."""
    await Machine.create(serial="a", created_at=now() - timedelta(days=3), is_deleted=True)
    assert 1 == await prune(Machine, older_than="2d", time="created_at")
    async with await Model.get_session() as session:
        assert 0 == await session.scalar(text("SELECT count(*) FROM around_machines"))


async def test_another_database_is_pruned(database: Database, tmp_path: Path) -> None:
    """Its rows and no others."""
    archive = Database(f"sqlite:///{tmp_path / 'archive.db'}")
    Model.install(archive, "archive")
    await archive.create_tables()
    for model in (Indexed, Indexed.on("archive")):
        await model.insert(rows(Indexed, times()))
    assert OLD == await prune(Indexed.on("archive"), older_than="30d")
    assert (YOUNG, OLD + YOUNG) == (await Indexed.on("archive").count(), await Indexed.count())


async def test_pruning_within_a_transaction_is_refused(database: Database) -> None:
    """Its own transactions would wait for the rows that this one has locked."""
    async with Model.transaction():
        with pytest.raises(InvalidQuery, match="outside of the transaction"):
            await prune(Indexed, older_than="30d")


async def test_writing_goes_on_meanwhile(database: Database) -> None:
    """Late rows too: no gap between old rows is locked for longer than a batch."""
    await Indexed.insert(rows(Indexed, times()))
    late = now() - timedelta(days=31, minutes=3, seconds=30)

    async def write() -> None:
        for _ in range(10):
            await Indexed.create(at=late)

    removed, _ = await asyncio.gather(prune(Indexed, older_than="30d", batch=1), write())
    removed += await prune(Indexed, older_than="30d")
    assert (OLD + 10, YOUNG) == (removed, len(await Indexed.all()))


@pytest.mark.parametrize("fresh_database", ["postgres"], indirect=True)
async def test_the_index_leads_to_the_old_rows(database: Database, fresh_database: FreshDatabase) -> None:
    """No statement reads the whole table."""
    async with database.engine.begin() as connection:
        await connection.execute(
            text("INSERT INTO around_indexed (at) SELECT now() - n * interval '1 min' FROM generate_series(1, 20000) n")
        )
        await connection.execute(text("ANALYZE around_indexed"))
    statements: list[tuple[str, Any]] = []

    @event.listens_for(database.engine.sync_engine, "before_cursor_execute")
    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        statements.append((statement, parameters))

    await prune(Indexed, older_than="12d", batch=500)
    explained = [(statement, parameters) for statement, parameters in statements if "around_indexed" in statement]
    assert len(explained) > 10
    async with database.engine.connect() as connection:
        for statement, parameters in explained[:4]:
            result = await connection.exec_driver_sql(f"EXPLAIN {statement}", parameters)
            plan = "\n".join(row[0] for row in result)
            assert "Seq Scan" not in plan, plan
            assert "ix_around_indexed_at" in plan, plan


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((Indexed, "30 moons"), "older_than: '30 moons' is no duration"),
        ((Indexed, timedelta(0)), "older_than"),
        ((Indexed, "9999999w"), "older_than"),
        ((Hall, "1d"), "which column is the time of Hall"),
        ((Unreachable, "1d"), r"fix: add Index\(None, \"at\"\)"),
    ],
)
async def test_what_is_unclear_is_refused(database: Database, arguments: tuple[Any, Any], reason: str) -> None:
    """Before anything is removed."""
    with pytest.raises(InvalidQuery, match=reason):
        await prune(*arguments)


async def test_wrong_options_are_refused(database: Database) -> None:
    """A batch of nothing, a time that is no column or no time."""
    with pytest.raises(InvalidQuery, match="batch"):
        await prune(Indexed, "1d", batch=0)
    with pytest.raises(UnknownField):
        await prune(Indexed, "1d", time="moment")
    with pytest.raises(InvalidQuery, match=r"Indexed\.id is no Instant"):
        await prune(Indexed, "1d", time="id")
