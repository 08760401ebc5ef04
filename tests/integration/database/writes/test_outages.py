"""Servers that vanish, freeze and come back; connections cut at the worst moment."""

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiosqlite
import pytest
import structlog
from sqlalchemy import make_url, text

from core.database import attempt
from core.database.database import Database
from core.exceptions import DatabaseUnavailable
from core.model import Model
from tests.conftest import FreshDatabase
from tests.integration.database.writes.conftest import create_tables
from tests.integration.database.writes.cutting_proxy import Cut, CuttingProxy
from tests.integration.database.writes.models import Meter, Note
from tests.integration.database.writes.observing import stored, together, until, writer
from tests.servers.database_server import DatabaseServer
from tests.servers.server import ServerFailed

SERVERS = pytest.mark.parametrize("fresh_database", ["postgres", "mariadb"], indirect=True)
SQLITE = pytest.mark.parametrize("fresh_database", ["sqlite"], indirect=True)


@pytest.fixture
async def proxy(fresh_database: FreshDatabase) -> AsyncIterator[CuttingProxy]:
    assert fresh_database.server is not None
    async with CuttingProxy(fresh_database.server.port) as proxy:
        yield proxy


@pytest.fixture
async def behind_proxy(fresh_database: FreshDatabase, proxy: CuttingProxy) -> AsyncIterator[Database]:
    url = make_url(fresh_database.url).set(port=proxy.port)
    database = Model.configure(url.render_as_string(hide_password=False), statement_timeout=5)
    await create_tables(database)
    yield database
    await Model.cleanup()


@SERVERS
@pytest.mark.parametrize("cut", list(Cut))
@pytest.mark.parametrize("service", [True, False])
async def test_a_commit_that_was_lost_sight_of(
    behind_proxy: Database, proxy: CuttingProxy, cut: Cut, service: bool
) -> None:
    """The high-water row tells whether it happened: rows that nothing identifies are stored exactly once."""
    database = behind_proxy
    if service:
        database.hold_writes()
    first = await Note.create(text="before")
    proxy.cut = cut
    notes = await together(*[Note.create(text=f"n{n}") for n in range(20)], Meter.create(serial="m"))
    last = await Note.create(text="after")
    assert proxy.cut is None
    assert [first.id, *(note.id for note in notes[:-1]), last.id] == [i for (i,) in await stored(database, Note, "id")]
    assert ["before", *(f"n{n}" for n in range(20)), "after"] == [t for (t,) in await stored(database, Note, "text")]


@SERVERS
@pytest.mark.parametrize("cut", list(Cut))
async def test_the_very_first_commit_is_lost_sight_of(behind_proxy: Database, proxy: CuttingProxy, cut: Cut) -> None:
    """There is no high-water row yet that could be waited for."""
    await behind_proxy._writes.buffer._connect()
    proxy.cut = cut
    await Note.create(text="only")
    assert [("only",)] == await stored(behind_proxy, Note, "text")


@SQLITE
@pytest.mark.parametrize("committed", [True, False])
async def test_a_commit_that_sqlite_fails_to_report(
    database: Database, monkeypatch: pytest.MonkeyPatch, committed: bool
) -> None:
    """A disk error at COMMIT leaves open what happened."""
    database.hold_writes()
    await Note.create(text="before")
    execute = aiosqlite.Connection.execute
    failures = iter([True])

    async def failing(connection: aiosqlite.Connection, statement: str, *arguments: Any) -> Any:
        if statement == "COMMIT" and next(failures, False):
            if committed:
                await execute(connection, statement, *arguments)
            raise ConnectionError("lost")
        return await execute(connection, statement, *arguments)

    monkeypatch.setattr(aiosqlite.Connection, "execute", failing)
    await together(*[Note.create(text=f"n{n}") for n in range(5)])
    assert ["before", *(f"n{n}" for n in range(5))] == [t for (t,) in await stored(database, Note, "text")]


@SERVERS
async def test_connections_killed_again_and_again(database: Database, fresh_database: FreshDatabase) -> None:
    """Wherever in a flush it happens: every row is stored exactly once."""
    server = fresh_database.server
    assert server is not None
    database.hold_writes()
    name = make_url(fresh_database.url).database
    written = 0

    async def write(number: int) -> None:
        nonlocal written
        for turn in range(40):
            await Note.create(text=f"{number}-{turn}")
            written += 1

    async def kill() -> None:
        for stage in range(10):
            await until(lambda stage=stage: written > stage * 30)
            await asyncio.to_thread(_kill_connections, fresh_database.kind, server, str(name))

    await asyncio.gather(kill(), *[write(number) for number in range(10)])
    texts = [t for (t,) in await stored(database, Note, "text")]
    assert sorted(f"{number}-{turn}" for number in range(10) for turn in range(40)) == sorted(texts)


def _kill_connections(kind: str, server: DatabaseServer, database: str) -> None:
    if kind == "postgres":
        server.sql(
            f"select pg_terminate_backend(pid) from pg_stat_activity where datname = '{database}' "  # noqa: S608 - our own name
            "and application_name like 'mqueduct writer %'"
        )
        return
    for (connection,) in server.sql(f"select id from information_schema.processlist where db = '{database}'"):  # noqa: S608 - our own name
        with contextlib.suppress(ServerFailed):  # it has ended by itself
            server.sql(f"kill {connection}")


@pytest.fixture(params=["postgres", "mariadb"])
def own_server(request: pytest.FixtureRequest) -> DatabaseServer:
    """A server that the test may kill and freeze."""
    factory: Callable[..., DatabaseServer] = request.getfixturevalue(f"{request.param}_factory")
    return factory(durable=True)


@pytest.fixture
async def own_database(own_server: DatabaseServer) -> AsyncIterator[Database]:
    database = Model.configure(own_server.create_database("own"), statement_timeout=0.5)
    await create_tables(database)
    yield database
    await Model.cleanup()


async def test_a_service_holds_its_writes_through_an_outage(own_database: Database, own_server: DatabaseServer) -> None:
    """One line in the log when it begins and one when it ends; nothing is lost, nothing is doubled."""
    own_database.hold_writes()
    await Note.create(text="before")
    with structlog.testing.capture_logs() as logs:
        own_server.kill()
        first = asyncio.create_task(Note.create(text="first"))
        await until(lambda: own_database._writes.buffer._held)
        others = [asyncio.create_task(Note.create(text=f"n{n}")) for n in range(5)]
        own_server.start()
        await together(first, *others)
        await Note.create(text="after")
    assert ["before", "first", "n0", "n1", "n2", "n3", "n4", "after"] == [
        t for (t,) in await stored(own_database, Note, "text")
    ]
    events = [log["event"] for log in logs]
    assert ["writes are held until the database serves again", "the database takes writes again"] == events


async def test_a_held_write_can_be_taken_back(own_database: Database, own_server: DatabaseServer) -> None:
    """Before the database is back, and then it is not written."""
    own_database.hold_writes()
    await Note.create(text="before")
    own_server.kill()
    write = asyncio.create_task(Note.create(text="never"))
    stays = asyncio.create_task(Note.create(text="stays"))
    await until(lambda: own_database._writes.buffer._held)
    write.cancel()
    with pytest.raises(asyncio.CancelledError):
        await write
    own_server.start()
    await stays
    assert [("before",), ("stays",)] == await stored(own_database, Note, "text")


async def test_a_script_gets_the_error(own_database: Database, own_server: DatabaseServer) -> None:
    """Without ``hold_writes`` an outage is raised; a server that was only restarted is none."""
    await Note.create(text="before")
    own_server.restart()
    await Note.create(text="restarted")
    own_server.kill()
    results = await together(Note.create(text="a"), Note.create(text="b"))
    assert [DatabaseUnavailable] * 2 == [type(result) for result in results]
    assert results[0] is not results[1]
    own_server.start()
    await Note.create(text="after")
    assert [("before",), ("restarted",), ("after",)] == await stored(own_database, Note, "text")


async def test_a_frozen_server(own_database: Database, own_server: DatabaseServer) -> None:
    """Its connections stay open and nothing answers: our own deadline ends the flush, which is then repeated."""
    own_database.hold_writes()
    await Note.create(text="before")
    own_server.freeze()
    write = asyncio.create_task(Note.create(text="frozen"))
    try:
        await until(lambda: own_database._writes.buffer._held)
    finally:
        own_server.thaw()
    await write
    assert [("before",), ("frozen",)] == await stored(own_database, Note, "text")


@SERVERS
async def test_a_server_that_vanishes_without_a_word(
    fresh_database: FreshDatabase, behind_proxy: Database, proxy: CuttingProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing comes back on the old connection, ever; the flush gives it up long before a statement's time is up."""
    monkeypatch.setattr(attempt, "_FIRST_LIMIT", 0.2)
    behind_proxy.hold_writes()
    await Note.create(text="before")
    await behind_proxy.engine.dispose()  # what the pool keeps would hang as well, when it is read below
    proxy.stall()
    with structlog.testing.capture_logs() as logs:
        await together(*[Note.create(text=f"n{n}") for n in range(3)])
    assert ["before", "n0", "n1", "n2"] == [t for (t,) in await stored(behind_proxy, Note, "text")]
    assert "the database did not answer for 0.203 s" in logs[0]["reason"]


async def test_a_slow_server_gets_more_time_each_try() -> None:
    """Up to a bound, and more for more rows; a file has all the time."""
    one, many = attempt.Attempt(math.inf, 30), attempt.Attempt(math.inf, 30)
    assert [5.0, 10.0, 20.0, 40.0, 45.0] == [one.limit(0, 45.0) for _ in range(5)]
    assert [15.0, None] == [many.limit(10_000, 45.0), many.limit(10_000, None)]


async def test_who_does_not_try_again_waits_at_once_for_as_long_as_it_takes() -> None:
    """A script has no patience with outages, and yet its large flush may be slow."""
    assert [45.0, None] == [attempt.Attempt(0, 30).limit(10, longest) for longest in (45.0, None)]


async def test_closing_during_an_outage(own_database: Database, own_server: DatabaseServer) -> None:
    """Whoever waits is told; so is who comes later."""
    own_database.hold_writes()
    await Note.create(text="before")
    own_server.kill()
    write = asyncio.create_task(Note.create(text="never"))
    await until(lambda: own_database._writes.buffer._held)
    await own_database.close()
    with pytest.raises(DatabaseUnavailable):
        await write
    with pytest.raises(DatabaseUnavailable):
        await own_database.create(Note, {"text": "late"})


async def test_rows_of_writers_that_are_gone(database: Database, database_url: str) -> None:
    """Each process leaves its high-water row; long afterwards another one removes it. Those of the living stay."""
    await Note.create(text="mine")
    async with database.engine.begin() as connection:
        await connection.execute(text("INSERT INTO mqueduct_writers VALUES ('gone', 5, '2001-01-01 00:00:00')"))
    other = Database(database_url)
    await other.create(Note, {"text": "theirs"})
    async with database.engine.connect() as connection:
        names = set(await connection.scalars(text("SELECT writer FROM mqueduct_writers")))
    await other.close()
    assert {writer(database)._name, writer(other)._name} == names


async def test_a_living_writer_whose_row_was_removed(database: Database) -> None:
    """After a month of silence it writes as before."""
    await Note.create(text="a")
    async with database.engine.begin() as connection:
        await connection.execute(text("DELETE FROM mqueduct_writers"))
    await Note.create(text="b")
    assert await writer(database).reached(database._writes.buffer._sequence)
    assert not await writer(database).reached(database._writes.buffer._sequence + 1)
