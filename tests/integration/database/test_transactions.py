"""Transactions of the caller's own, on every database."""

import asyncio
from collections.abc import Awaitable, Callable
from uuid import uuid4

import pytest
from sqlalchemy import select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from core.database.database import Database
from core.exceptions import Contention, InvalidQuery, InvalidValue, NotSupportedError, UniqueViolation
from core.model import Model
from core.query import paginate, stream
from tests.integration.database.models import Gauge, Sample, Site

POSTGRES = pytest.mark.parametrize("fresh_database", ["postgres"], indirect=True)


async def fail_after(*created: str) -> None:
    """Create gauges in a transaction that then fails."""
    async with Model.transaction():
        for name in created:
            await Gauge.create(name=name)
        raise ZeroDivisionError


async def names() -> list[str]:
    return [gauge.name for gauge in await Gauge.all()]


async def test_all_of_a_block_is_committed(database: Database) -> None:
    """By its end: verbs, bulk verbs, units of work and what is done with the session itself."""
    async with Model.transaction() as session:
        await Site.create(code="s")
        gauge = await Gauge.create(name="a", site="s")
        await Gauge.insert([{"name": "b"}, {"name": "c"}])
        async with Model.unit_of_work() as work:
            work.create(Gauge, name="d")
        session.add(Gauge(name="e"))
        await session.flush()
        assert 1 == await Gauge.update(Gauge.name == "c", value=3.0)
        assert 1 == await Gauge.delete(Gauge.name == "b")
        assert 4 == await Gauge.count()
        assert gauge.id == (await Gauge.find_by(name="a")).id
    assert ["a", "c", "d", "e"] == await names()
    assert 5 == database.statistics().rows  # the session's own is nobody's to count


async def test_queries_take_part(database: Database) -> None:
    """They see what the transaction has written, page by page and as a stream."""
    async with Model.transaction():
        await Gauge.insert([{"name": "a"}, {"name": "b"}])
        assert ["a", "b"] == [gauge.name async for gauge in stream(select(Gauge).order_by(Gauge.id))]
        assert 2 == (await paginate(select(Gauge).order_by(Gauge.id), 1, 1)).total
        assert 1 == Model.pool_status().checked_out


async def test_an_error_takes_all_of_it_back(database: Database) -> None:
    """Whatever it is, and it passes on unchanged."""
    with pytest.raises(ZeroDivisionError):
        await fail_after("a", "b")
    assert [] == await names()
    assert 0 == database.statistics().rows
    await Gauge.create(name="after")
    assert ["after"] == await names()


async def test_a_transaction_inside_another_is_a_savepoint(database: Database) -> None:
    """It can be taken back alone; with the outer one it is gone as well."""
    async with Model.transaction():
        await Gauge.create(name="a")
        with pytest.raises(ZeroDivisionError):
            await fail_after("b")
        async with Model.transaction():
            await Gauge.create(name="c")
    assert ["a", "c"] == await names()

    async def fail_outside() -> None:
        async with Model.transaction():
            async with Model.transaction():
                await Gauge.create(name="d")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail_outside()
    assert ["a", "c"] == await names()


async def test_a_refused_row_may_be_passed_over(database: Database) -> None:
    """What a verb is refused takes nothing else of the transaction along."""
    await Gauge.create(name="taken")
    async with Model.transaction():
        await Gauge.create(name="a")
        with pytest.raises(UniqueViolation):
            await Gauge.create(name="taken")
        with pytest.raises(InvalidValue):
            await Gauge.create(name="x", site="nowhere")
        await Gauge.create(name="b")
    assert ["taken", "a", "b"] == await names()


async def test_a_known_row_is_no_second_one(database: Database) -> None:
    """``create`` of a model with a natural key returns the row that is there, in a transaction too."""
    first = await Sample.create(source="s", at=1, value=1)
    async with Model.transaction():
        again = await Sample.create(source="s", at=1, value=2)
    assert (first.id, 1) == (again.id, again.value)
    assert (1, 1) == (database.statistics().rows, database.statistics().duplicates)


async def test_another_task_is_told(database: Database) -> None:
    """A connection serves one task at a time; one that outlives the transaction is free again."""
    async with Model.transaction():
        with pytest.raises(InvalidQuery, match="task"):
            await asyncio.create_task(Gauge.all())
        later = asyncio.create_task(asyncio.sleep(0))
    await later
    release = asyncio.Event()

    async def afterwards() -> None:
        await release.wait()
        await Gauge.create(name="later")

    async with Model.transaction():
        task = asyncio.create_task(afterwards())
        await Gauge.create(name="first")
    release.set()
    await task
    assert ["first", "later"] == await names()


async def test_an_isolation_level(database: Database) -> None:
    """Named as the database names it; one that it does not have is refused with those that it has."""
    async with Model.transaction(isolation="serializable"):
        await Gauge.create(name="a")
    assert ["a"] == await names()
    with pytest.raises(NotSupportedError, match="SERIALIZABLE"):
        Model.transaction(isolation="sloppy")
    with pytest.raises(InvalidQuery, match="outer"):
        async with Model.transaction(), Model.transaction(isolation="SERIALIZABLE"):
            pass


async def test_a_block_is_repeated_when_another_transaction_was_in_the_way(database: Database) -> None:
    """As often as it says, from the beginning, and only then; nothing of the attempts before is left."""
    attempts = 0
    async for attempt in Model.transaction(retries=2):
        async with attempt:
            attempts += 1
            await Gauge.create(name=f"attempt {attempts}"[-9:])
            if attempts < 3:
                raise Contention("in the way")
    assert 3 == attempts
    assert ["attempt 3"] == await names()
    with pytest.raises(InvalidQuery, match="async for"):
        async with Model.transaction(retries=1):
            pass


@pytest.mark.parametrize(("error", "expected"), [(Contention("in the way"), 2), (ZeroDivisionError(), 1)])
async def test_how_often_a_block_is_repeated(database: Database, error: Exception, expected: int) -> None:
    """Not more often than it says, and not at all for other errors, which pass on."""
    attempts = 0

    async def fail() -> None:
        nonlocal attempts
        async for attempt in Model.transaction(retries=1):
            async with attempt:
                attempts += 1
                raise error

    with pytest.raises(type(error)):
        await fail()
    assert expected == attempts


async def add_one(session: AsyncSession, met: asyncio.Barrier | None) -> None:
    """Read a gauge, and write one more once the other transaction has read it too: refused at the UPDATE."""
    gauge = await Gauge.find_by(name="a")
    if met is not None:
        await met.wait()
    await Gauge.update(Gauge.name == "a", value=gauge.value + 1)


async def add_one_by_session(session: AsyncSession, met: asyncio.Barrier | None) -> None:
    """The same with SQLAlchemy's own statements."""
    value = await session.scalar(select(Gauge.value).where(Gauge.name == "a"))
    if met is not None:
        await met.wait()
    await session.execute(update(Gauge).where(Gauge.name == "a").values(value=value + 1))


async def add_a_row(session: AsyncSession, met: asyncio.Barrier | None) -> None:
    """Count rows and add one, both at a time: each alone is fine, and the second is refused at its COMMIT."""
    number = await Gauge.count()
    if met is not None:
        await met.wait()
    session.add(Gauge(name=uuid4().hex[:10], value=number + 1.0))
    await session.flush()
    if met is not None:
        await met.wait()


@POSTGRES
@pytest.mark.parametrize(
    ("step", "expected"),
    [(add_one, [2.0]), (add_one_by_session, [2.0]), (add_a_row, [0.0, 2.0, 3.0])],
    ids=["update", "update-by-session", "commit"],
)
async def test_a_serialization_failure_is_got_over(
    database: Database, step: Callable[[AsyncSession, asyncio.Barrier | None], Awaitable[None]], expected: list[float]
) -> None:
    """Two SERIALIZABLE transactions that have read the same (SQLSTATE 40001): one begins again and reads anew."""
    await Gauge.create(name="a", value=0.0)
    met = asyncio.Barrier(2)
    runs = 0

    async def work() -> None:
        nonlocal runs
        first = True
        async for attempt in Model.transaction(isolation="SERIALIZABLE", retries=8):
            async with attempt as session:
                runs += 1
                # The rendezvous is for the first attempts only.
                barrier, first = (met if first else None), False
                await step(session, barrier)

    await asyncio.gather(work(), work())
    assert runs > 2
    assert expected == [gauge.value for gauge in await Gauge.all()]


@POSTGRES
async def test_a_serialization_failure_without_retries(database: Database) -> None:
    """It is Contention, so that a message would be handled again."""
    await Gauge.create(name="a", value=0.0)
    met = asyncio.Barrier(2)

    async def work() -> None:
        async with Model.transaction(isolation="SERIALIZABLE") as session:
            await add_one(session, met)

    ends = await asyncio.gather(work(), work(), return_exceptions=True)
    assert [Contention, type(None)] == sorted(map(type, ends), key=lambda kind: kind.__name__)
    assert [1.0] == [gauge.value for gauge in await Gauge.all()]


async def test_errors_of_the_session_stay_what_they_are(database: Database) -> None:
    """A pasted recipe that catches SQLAlchemy's own finds it."""
    await Gauge.create(name="a")

    async def add() -> None:
        async with Model.transaction() as session:
            session.add(Gauge(name="a"))
            await session.flush()

    with pytest.raises(IntegrityError):
        await add()
    async with Model.transaction() as session:
        assert ["a"] == list(await session.scalars(select(Gauge.name)))
        assert 1 == await session.scalar(text("SELECT 1"))


async def test_a_savepoint_of_a_session_is_part_of_its_transaction(database: Database) -> None:
    """Also where it comes first, before which the driver of SQLite begins none."""
    async with await Model.get_session() as session:
        async with session.begin_nested():
            session.add(Gauge(name="a"))
        await session.rollback()
    assert [] == await names()
