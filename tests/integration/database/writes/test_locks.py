"""Rows and tables that somebody else has locked."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from sqlalchemy import make_url, select, text, update

from core.database.database import Database
from core.exceptions import DatabaseUnavailable
from core.model import Model
from tests.integration.database.writes.models import Meter, Note
from tests.integration.database.writes.observing import stored, together, until

SERVERS = pytest.mark.parametrize("fresh_database", ["postgres", "mariadb"], indirect=True)
SQLITE = pytest.mark.parametrize("fresh_database", ["sqlite"], indirect=True)


@asynccontextmanager
async def locked(database: Database, serial: str) -> AsyncIterator[None]:
    """Somebody else's transaction holds a lock on a meter."""
    async with database.engine.connect() as connection:
        await connection.execute(select(Meter).where(Meter.serial == serial).with_for_update())
        yield
        await connection.rollback()


@SERVERS
async def test_only_who_needs_a_locked_row_waits_for_it(database: Database) -> None:
    """The others of the flush are committed; the blocked write comes through when the lock ends."""
    await Model.insert(Meter, [{"serial": f"m{n}"} for n in range(40)])
    async with locked(database, "m7"):
        writes = [asyncio.create_task(Meter.upsert({"serial": f"m{n}", "level": n})) for n in range(40)]
        await until(lambda: sum(write.done() for write in writes) == 39)
        assert not writes[7].done()
        assert (await Note.create(text="goes on")).id
    assert [None] * 40 == await together(*writes)
    assert {(f"m{n}", n) for n in range(40)} == set(await stored(database, Meter, "serial", "level"))


@SERVERS
async def test_writes_of_a_locked_key_keep_their_order(database: Database) -> None:
    """Those that come later wait behind the first one, and do not overtake it when the lock ends."""
    await Meter.create(serial="m")
    async with locked(database, "m"):
        writes = [asyncio.create_task(Meter.upsert({"serial": "m", "level": 0}))]
        await until(lambda: len(database._writes.buffer._locked_out._atoms) == 1)
        for n in range(1, 6):
            writes.append(asyncio.create_task(Meter.upsert({"serial": "m", "level": n, "status": f"s{n}"})))
            await Note.create(text="another flush")
    assert [None] * 6 == await together(*writes)
    assert [(5, "s5")] == await stored(database, Meter, "level", "status")


@SERVERS
async def test_a_handler_that_waits_for_its_own_session(database: Database) -> None:
    """It would wait for ever; it gets an error that says what to do, and nobody else waits."""
    database.hold_writes()
    database._writes.buffer.lock_patience = 0.5
    await Meter.create(serial="m")
    async with locked(database, "m"):
        with pytest.raises(DatabaseUnavailable, match="commit or close it"):
            await Meter.upsert({"serial": "m", "level": 1})
        assert (await Note.create(text="goes on")).id
    await Meter.upsert({"serial": "m", "level": 2})
    assert [(2,)] == await stored(database, Meter, "level")


@SERVERS
async def test_a_write_that_waits_for_a_lock_can_be_taken_back(database: Database) -> None:
    """No flush is at work with it meanwhile."""
    await Meter.create(serial="m", level=0)
    async with locked(database, "m"):
        write = asyncio.create_task(Meter.upsert({"serial": "m", "level": 1}))
        await until(lambda: len(database._writes.buffer._locked_out._atoms) == 1)
        write.cancel()
        with pytest.raises(asyncio.CancelledError):
            await write
    await Meter.upsert({"serial": "m", "status": "up"})
    assert [(0, "up")] == await stored(database, Meter, "level", "status")


@SERVERS
async def test_deadlocks_are_nobodys_error(database: Database, database_url: str) -> None:
    """A session that locks rows in the other order is an everyday thing; the flush is repeated."""
    rows = [{"serial": f"m{n:02}", "level": 0} for n in range(30)]
    await Meter.upsert(rows)
    database._writes.buffer.lock_patience = 60

    async def disturb(turn: int) -> None:
        async with database.engine.connect() as connection:
            for n in (29 - turn, 15, turn):
                try:
                    await connection.execute(update(Meter).where(Meter.serial == f"m{n:02}").values(status="x"))
                except Exception:
                    return
            await connection.rollback()

    for turn in range(8):
        results = await together(Meter.upsert(rows), disturb(turn), disturb(turn + 1), Meter.upsert(rows[::-1]))
        assert [None] * 4 == results


@SQLITE
async def test_another_process_that_writes_to_the_file(database: Database, database_url: str) -> None:
    """SQLite has one writer at a time: all wait until the other one has ended."""
    other = sqlite3.connect(str(make_url(database_url).database), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    write = asyncio.create_task(Note.create(text="waits"))
    await until(lambda: bool(database._writes.buffer._taken))
    other.execute("COMMIT")
    other.close()
    assert (await write).id


@SQLITE
async def test_a_session_that_keeps_writing(database: Database, database_url: str) -> None:
    """All who wait get an error that says what to do, instead of waiting for ever."""
    database.hold_writes()
    database._writes.buffer.lock_patience = 0.5
    async with database.session() as session:
        await session.execute(text("INSERT INTO written_notes (text, rank) VALUES ('mine', 1)"))
        first, second = await together(Note.create(text="a"), Note.create(text="b"))
        assert (DatabaseUnavailable, "commit or close it" in str(first)) == (type(second).__bases__[0], True)
        await session.commit()
    assert (await Note.create(text="c")).id
    assert [("mine",), ("c",)] == await stored(database, Note, "text")
