"""PgBouncer between the service and PostgreSQL, handing out connections per transaction."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, literal, make_url, select, text
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from core.database.database import Database
from core.database.migrations import Migrations
from core.exceptions import ConfigurationError, DatabaseUnavailable, SchemaError
from core.model import Model
from core.query import fetch, stream
from tests.integration.database.writes.conftest import create_tables
from tests.integration.database.writes.cutting_proxy import Cut, CuttingProxy
from tests.integration.database.writes.models import Colour, Everything, Meter, Note
from tests.integration.database.writes.observing import stored, together, until
from tests.servers import PgBouncer, PostgreSQL

ROOT = Path(__file__).parents[4]


@pytest.fixture
def name(postgres: PostgreSQL) -> Any:
    """The name of an empty database."""
    postgres.create_database("bounced")
    yield "bounced"
    postgres.drop_database("bounced")


@pytest.fixture
def bouncer(pgbouncer_factory: Callable[..., PgBouncer], postgres: PostgreSQL) -> PgBouncer:
    """One that the test may kill."""
    return pgbouncer_factory(postgres)


@pytest.fixture
def narrow(pgbouncer_factory: Callable[..., PgBouncer], postgres: PostgreSQL) -> PgBouncer:
    """One with a single connection to the server, which all clients use in turn."""
    return pgbouncer_factory(postgres, connections=1)


@pytest.fixture
async def bounced(name: str, bouncer: PgBouncer) -> AsyncIterator[Database]:
    database = Model.configure(bouncer.database_url(name), pgbouncer=True, statement_timeout=10)
    await create_tables(database)
    yield database
    await Model.cleanup()


@pytest.fixture
async def narrowed(name: str, narrow: PgBouncer) -> AsyncIterator[Database]:
    database = Model.configure(narrow.database_url(name), pgbouncer=True, statement_timeout=10)
    await create_tables(database)
    yield database
    await Model.cleanup()


@pytest.fixture
async def somebody(name: str, narrow: PgBouncer, narrowed: Database) -> AsyncIterator[AsyncConnection]:
    """Another program, which gets the very connection that the service has just used."""
    options = {"statement_cache_size": 0, "prepared_statement_cache_size": 0}
    engine = create_async_engine(narrow.database_url(name), connect_args=options)
    async with engine.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        yield connection
    await engine.dispose()


async def test_a_service_that_was_not_told_of_it(name: str, bouncer: PgBouncer) -> None:
    """Its first connection fails with the name of the setting. In the middle of its life that is an outage."""
    database = Database(bouncer.database_url(name))
    with pytest.raises(ConfigurationError, match="DB_PGBOUNCER=true"):
        await database.ping()
    with pytest.raises(SchemaError, match="DB_PGBOUNCER=true"):
        await database.create(Note, {"text": "x"})
    await database.close()


async def test_a_service_that_finds_out_late(
    name: str, postgres: PostgreSQL, pgbouncer_factory: Callable[..., PgBouncer]
) -> None:
    """Some PgBouncers let everybody in; the riddle about statements that follows comes with its solution."""
    bouncer = pgbouncer_factory(postgres, forgiving=True, connections=3)
    Model.configure(bouncer.database_url(name), pool_size=10)

    async def read_again_and_again() -> None:
        while True:
            await fetch(select(literal(1)))

    with pytest.raises(SchemaError, match="DB_PGBOUNCER=true"):
        await asyncio.gather(*[asyncio.wait_for(read_again_and_again(), 30) for _ in range(10)])
    await Model.cleanup()


@pytest.mark.parametrize("url", ["sqlite://", "mysql://app@127.0.0.1/plant"])
def test_it_is_for_postgresql(url: str) -> None:
    """No other database has one."""
    with pytest.raises(ConfigurationError, match="PgBouncer is for PostgreSQL only"):
        Database(url, pgbouncer=True)


async def test_every_way_of_writing_and_reading(bounced: Database) -> None:
    """Flushes of one statement and of several, COPY, upserts and what they return, odd types, cursors."""
    notes = await together(*[Note.create(text=f"n{n}") for n in range(300)])
    meters = await together(*[Meter.create(serial=f"m{n % 50}") for n in range(200)])
    await Model.insert(Note, [{"text": f"i{n}"} for n in range(300)])
    await together(*[Meter.upsert({"serial": f"m{n}", "level": n}) for n in range(50)])
    returned = await together(*[Meter.upsert({"serial": f"m{n}"}, returning="level") for n in range(50)])
    assert [{"level": n} for n in range(50)] == returned
    await together(*[Everything.create(name=f"e{n}", colour=Colour.RED, many=[n]) for n in range(3)])
    assert 300 == len({note.id for note in notes})
    assert 50 == len({meter.id for meter in meters})
    assert [(f"m{n}", n) for n in range(50)] == sorted(
        await stored(bounced, Meter, "serial", "level"), key=lambda r: r[1]
    )
    assert 600 == len([note async for note in stream(select(Note), batch=50)])
    assert 3 == len(await fetch(select(Everything)))
    assert (await Note.find(notes[7].id)).text == "n7"


async def test_transactions(bounced: Database) -> None:
    """With their isolation level, their savepoints, their units of work, and all of it back on an error."""
    async with Model.transaction(isolation="SERIALIZABLE") as session:
        assert "serializable" == await session.scalar(text("SHOW transaction_isolation"))
        await Note.create(text="kept")
        with pytest.raises(ZeroDivisionError):
            await fail_after("taken back alone")
        async with Model.unit_of_work() as work:
            work.create(Note, text="kept, too")
    with pytest.raises(ZeroDivisionError):
        await fail_after("taken back")
    assert ["kept", "kept, too"] == [note.text for note in await Note.all()]


async def fail_after(written: str) -> None:
    async with Model.transaction():
        await Note.create(text=written)
        raise ZeroDivisionError


async def test_an_isolation_level_ends_with_its_transaction(narrowed: Database, somebody: AsyncConnection) -> None:
    """Whoever gets the connection next has the server's own."""
    async with Model.transaction(isolation="SERIALIZABLE"):
        await Note.create(text="n")
    assert "read committed" == await somebody.scalar(text("SHOW transaction_isolation"))
    assert "read committed" == await somebody.scalar(text("SHOW default_transaction_isolation"))


async def test_a_transaction_is_repeated(bounced: Database) -> None:
    """Also when the two that were in each other's way are strangers to PgBouncer."""
    meter = await Meter.create(serial="m", level=0)
    met = asyncio.Barrier(2)
    runs = 0

    async def add() -> None:
        nonlocal runs
        first = True
        async for attempt in Model.transaction(isolation="SERIALIZABLE", retries=8):
            async with attempt:
                runs += 1
                level = (await Meter.find(meter.id)).level
                if first:
                    first = False
                    await met.wait()
                await Meter.update(Meter.id == meter.id, level=level + 1)

    await asyncio.gather(add(), add())
    assert runs > 2
    assert 2 == (await Meter.find(meter.id)).level


async def test_many_at_once(bounced: Database) -> None:
    """More sessions than PgBouncer has connections share them."""

    async def read(number: int) -> Any:
        async with await Model.get_session() as session:
            return await session.scalar(select(text(":n + 1")).params(n=number))

    assert list(range(1, 31)) == list(await asyncio.gather(*[read(number) for number in range(30)]))


async def test_nothing_is_left_on_a_connection_that_others_get(narrowed: Database, somebody: AsyncConnection) -> None:
    """No setting and no prepared statement, neither of a flush nor of a session."""
    await together(*[Note.create(text=f"n{n}") for n in range(20)], Meter.create(serial="m"))
    assert 20 == len(await Note.all())
    assert "0" == await somebody.scalar(text("SHOW lock_timeout"))
    assert "0" == await somebody.scalar(text("SHOW statement_timeout"))
    assert 0 == await somebody.scalar(text("SELECT count(*) FROM pg_prepared_statements"))
    names = set(await somebody.scalars(text("SELECT application_name FROM pg_stat_activity WHERE datname = 'bounced'")))
    assert not any("writer" in name for name in names)


async def test_statements_are_limited(name: str, bouncer: PgBouncer) -> None:
    """Through SET LOCAL, since PgBouncer takes no such thing at the login."""
    Model.configure(bouncer.database_url(name), pgbouncer=True, statement_timeout=0.2)
    with pytest.raises(DatabaseUnavailable, match="statement timeout"):
        await fetch(select(func.pg_sleep(60)))
    await Model.cleanup()


async def test_a_locked_row_holds_up_nobody_else(bounced: Database) -> None:
    """The lock timeout of flushes is in force, too."""
    await Model.insert(Meter, [{"serial": f"m{n}"} for n in range(10)])
    async with bounced.engine.connect() as connection:
        await connection.execute(select(Meter).where(Meter.serial == "m7").with_for_update())
        writes = [asyncio.create_task(Meter.upsert({"serial": f"m{n}", "level": n})) for n in range(10)]
        await until(lambda: sum(write.done() for write in writes) == 9)
        assert not writes[7].done()
        await connection.rollback()
    assert [None] * 10 == await together(*writes)


@pytest.mark.parametrize("cut", list(Cut))
async def test_a_commit_that_was_lost_sight_of(name: str, bouncer: PgBouncer, cut: Cut) -> None:
    """Rows that nothing identifies are stored exactly once: the old connection is found by its name and ended."""
    async with CuttingProxy(bouncer.port) as proxy:
        url = make_url(bouncer.database_url(name)).set(port=proxy.port)
        database = Model.configure(url.render_as_string(hide_password=False), pgbouncer=True, statement_timeout=5)
        await create_tables(database)
        await Note.create(text="before")
        proxy.cut = cut
        await together(*[Note.create(text=f"n{n}") for n in range(20)], Meter.create(serial="m"))
        await Note.create(text="after")
        assert proxy.cut is None
        texts = [t for (t,) in await stored(database, Note, "text")]
        await Model.cleanup()
    assert ["before", *(f"n{n}" for n in range(20)), "after"] == texts


async def test_killed_again_and_again(bounced: Database, bouncer: PgBouncer) -> None:
    """Wherever in a flush it happens: every row is stored exactly once."""
    bounced.hold_writes()
    written = 0

    async def write(number: int) -> None:
        nonlocal written
        for turn in range(20):
            await Note.create(text=f"{number}-{turn}")
            written += 1

    async def kill() -> None:
        for stage in range(3):
            await until(lambda stage=stage: written > stage * 40)
            await asyncio.to_thread(bouncer.kill)
            await asyncio.to_thread(bouncer.start)

    await asyncio.gather(kill(), *[write(number) for number in range(10)])
    texts = [t for (t,) in await stored(bounced, Note, "text")]
    assert sorted(f"{number}-{turn}" for number in range(10) for turn in range(20)) == sorted(texts)


async def test_migrations(name: str, bouncer: PgBouncer) -> None:
    """They run through it, under their lock, up and down."""
    database = Database(bouncer.database_url(name), pgbouncer=True)
    migrations = Migrations(database, ROOT / "app" / "migrations")
    await migrations.upgrade()
    assert (await migrations.state()).complaint is None
    await migrations.rollback(100)
    assert not (await migrations.state()).applied
    await migrations.close()
