"""Transactions that wait for each other, on servers: one of them is taken back, and begins again."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest
from sqlalchemy import insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from core.database.database import Database
from core.exceptions import Contention
from core.model import Model
from tests.integration.database.models import Gauge, Sample, Site

SERVERS = pytest.mark.parametrize("fresh_database", ["postgres", "mariadb"], indirect=True)


async def set_by_criterion(name: str, value: float) -> None:
    await Gauge.update(Gauge.name == name, value=value)


async def set_by_upsert(name: str, value: float) -> None:
    await Gauge.upsert({"name": name, "value": value}, key="name")


async def set_in_a_savepoint(name: str, value: float) -> None:
    async with Model.transaction():
        await set_by_criterion(name, value)


async def set_in_a_savepoint_of_the_session(name: str, value: float) -> None:
    session = Model.database().within()
    assert session is not None
    async with session.begin_nested():
        await session.execute(update(Gauge).where(Gauge.name == name).values(value=value))


async def notice_deadlocks_soon(session: AsyncSession) -> None:
    if session.get_bind().dialect.name == "postgresql":
        # Sooner than the time limit of statements in these tests.
        await session.execute(text("SET LOCAL deadlock_timeout = '50ms'"))


@SERVERS
@pytest.mark.parametrize(
    "change", [set_by_criterion, set_by_upsert, set_in_a_savepoint, set_in_a_savepoint_of_the_session]
)
async def test_a_real_deadlock_is_got_over(database: Database, change: Callable[[str, float], Awaitable[None]]) -> None:
    """Two transactions that wait for each other: the server ends one, which begins again, whatever it was doing."""
    await Gauge.insert([{"name": "a", "value": 0.0}, {"name": "b", "value": 0.0}])
    met = asyncio.Barrier(2)
    runs = 0

    async def change_both(first: str, second: str, value: float) -> None:
        nonlocal runs
        async for attempt in Model.transaction(retries=5):
            async with attempt as session:
                runs += 1
                await notice_deadlocks_soon(session)
                await change(first, value)
                if runs <= 2:
                    await met.wait()
                await change(second, value)

    await asyncio.gather(change_both("a", "b", 1.0), change_both("b", "a", 2.0))
    assert runs > 2
    first, second = [gauge.value for gauge in await Gauge.all()]
    assert first == second


@SERVERS
async def test_a_deadlock_of_new_rows_is_got_over(database: Database) -> None:
    """MariaDB locks the gap where a row might be: two that look for one and then create another deadlock."""
    met = asyncio.Barrier(2)
    attempts: Counter[str] = Counter()

    async def create(name: str) -> None:
        async for attempt in Model.transaction(retries=5):
            async with attempt as session:
                attempts[name] += 1
                await session.execute(select(Sample).where(Sample.source == "new").with_for_update())
                if attempts[name] == 1:
                    await met.wait()
                await Sample.create(source=name, at=1, value=1)

    await asyncio.gather(create("a"), create("b"))
    assert 2 == await Sample.count()


@SERVERS
async def test_a_deadlock_that_is_caught_does_not_halve_a_transaction(database: Database) -> None:
    """MariaDB takes all of it back, and so does its end; PostgreSQL takes back the one change that failed."""
    await Gauge.insert([{"name": "a"}, {"name": "b"}])
    met = asyncio.Barrier(2)
    caught: list[str] = []

    async def change_both(first: str, second: str) -> None:
        async with Model.transaction() as session:
            await notice_deadlocks_soon(session)
            session.add(Site(code=f"old {first}"))
            await session.flush()
            await set_in_a_savepoint(first, 1.0)
            await met.wait()
            try:
                await set_in_a_savepoint(second, 1.0)
            except Contention:
                caught.append(first)
            await session.execute(insert(Site).values(code=f"new {first}"))

    ended = await asyncio.gather(change_both("a", "b"), change_both("b", "a"), return_exceptions=True)
    (victim,) = caught
    kept = {"a", "b"} if database.engine.dialect.name == "postgresql" else {"a", "b"} - {victim}
    failed = [str(error) for error in ended if error is not None]
    assert 2 - len(kept) == len(failed)
    assert all("all of the transaction is taken back" in error for error in failed)
    assert {f"{when} {name}" for when in ("old", "new") for name in kept} == {s.code for s in await Site.all()}


@pytest.mark.parametrize("fresh_database", ["mariadb"], indirect=True)
async def test_nothing_more_is_done_in_a_transaction_that_the_server_took_back(database: Database) -> None:
    """Not by verbs: their rows alone would be half of it. The connection is as good as ever afterwards."""
    await Gauge.insert([{"name": "a"}, {"name": "b"}])
    met = asyncio.Barrier(2)
    refused: list[str] = []

    async def change_both(first: str, second: str) -> None:
        async with Model.transaction():
            await set_by_criterion(first, 1.0)
            await met.wait()
            try:
                await set_by_criterion(second, 1.0)
            except Contention:
                with pytest.raises(Contention, match="taken back"):
                    await Gauge.create(name="c")
                refused.append(first)

    ended = await asyncio.gather(change_both("a", "b"), change_both("b", "a"), return_exceptions=True)
    assert [Contention] == [type(error) for error in ended if error is not None]
    assert 1 == len(refused)
    async with Model.transaction():
        await Gauge.create(name="d")
    assert ["a", "b", "d"] == [gauge.name for gauge in await Gauge.all()]
