"""A replica for reading. Mostly another database stands in for it, so that one sees from where a row comes."""

import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, insert, make_url, select, update

from core.database.database import Database
from core.exceptions import ConfigurationError, DatabaseUnavailable, InvalidQuery
from core.model import Model
from core.query import cursor_paginate, fetch, paginate, stream
from tests.conftest import FreshDatabase
from tests.integration.database.engine.conftest import Open
from tests.integration.database.writes.conftest import create_tables
from tests.integration.database.writes.models import Meter, Note
from tests.integration.database.writes.observing import until
from tests.servers import PostgreSQL, PostgreSQLReplica, ServerFailed


@pytest.fixture
def replica_url(fresh_database: FreshDatabase, tmp_path: Path) -> Any:
    """The URL of a second empty database."""
    if fresh_database.server is None:
        yield f"sqlite:///{tmp_path / 'replica.db'}"
        return
    yield fresh_database.server.create_database("replica")
    fresh_database.server.drop_database("replica")


@pytest.fixture
async def database(open_database: Open, database_url: str, replica_url: str) -> AsyncIterator[Database]:
    """With one note that only the replica has, as if the others had not arrived there yet."""
    replica: Database = await open_database(replica_url)
    await replica.create(Note, {"text": "on the replica", "id": 7})
    database: Database = await open_database(database_url, read_url=replica_url)
    Model.install(database)
    yield database
    Model.install(None)


async def texts(statement: Any, **options: Any) -> list[str]:
    return list(await fetch(statement, **options))


async def test_what_is_only_read_comes_from_it(database: Database) -> None:
    """The verbs that read, the functions over selects, and a session that was asked for so."""
    written = await Note.create(text="written")
    assert written.id is not None
    assert ["on the replica"] == [note.text for note in await Note.all()]
    assert "on the replica" == (await Note.find(7)).text
    assert ["on the replica"] == await texts(select(Note.text))
    assert ["on the replica"] == [text async for text in stream(select(Note.text))]
    assert ["on the replica"] == (await paginate(select(Note.text).order_by(Note.id))).items
    assert ["on the replica"] == [note.text for note in (await cursor_paginate(select(Note))).items]
    async with await Model.get_session(read=True) as session:
        assert ["on the replica"] == list(await session.scalars(select(Note.text)))


async def test_what_is_written_is_not(database: Database) -> None:
    """Neither what a write has to look up, nor a session in which one may write."""
    await Model.insert(Meter, [{"serial": "m"}])
    first = await Meter.create(serial="m")
    assert first.id == (await Meter.create(serial="m")).id
    await Meter.upsert({"serial": "m", "level": 3})
    async with await Model.get_session() as session:
        assert [3] == list(await session.scalars(select(Meter.level)))
        assert [3] == await texts(select(Meter.level), session=session)
        session.add(Note(text="by a session"))
        await session.commit()
    assert [] == await Meter.all()


async def test_nothing_is_written_in_a_session_that_reads(database: Database) -> None:
    """It is refused here already, with or without a replica: the replica's own refusal looks like an outage."""
    for _ in range(2):
        async with await Model.get_session(read=True) as session:
            for statement in (insert(Note).values(text="x"), update(Note).values(text="x"), delete(Note)):
                with pytest.raises(InvalidQuery, match="only reads"):
                    await session.execute(statement)
            session.add(Note(text="x"))
            with pytest.raises(InvalidQuery, match="only reads"):
                await session.flush()
            await session.rollback()
        Model.install(Database("sqlite://"))
    await Model.database().close()
    Model.install(database)


async def test_a_replica_of_another_kind() -> None:
    """It is none, and the message says which setting is meant; MySQL and MariaDB are one kind."""
    with pytest.raises(ConfigurationError, match="DB_READ_URL"):
        Database("postgresql://app@db/plant", read_url="sqlite://")
    with pytest.raises(ConfigurationError, match="DB_READ_URL is no database URL"):
        Database("postgresql://app@db/plant", read_url="postgresql")
    await Database("mysql://app@db/plant", read_url="mariadb://app@db/plant").close()


@pytest.mark.parametrize("fresh_database", ["postgres", "mariadb"], indirect=True)
async def test_a_replica_that_is_away(database_url: str, free_port: int) -> None:
    """A ping tells which of the two it is."""
    away = make_url(database_url).set(port=free_port).render_as_string(hide_password=False)
    database = Database(database_url, read_url=away)
    with pytest.raises(DatabaseUnavailable, match=r"the replica \(DB_READ_URL\): the database can"):
        await database.ping()
    await database.close()


async def test_a_replica_that_lags_behind(postgres_factory: Callable[..., PostgreSQL]) -> None:
    """A real one: what was just written is there for a session that does not only read, and soon for everybody."""
    primary = postgres_factory()
    url = primary.create_database("plant")
    with PostgreSQLReplica(primary) as replica:
        database = Model.configure(url, read_url=replica.database_url("plant"))
        await create_tables(database)
        await until(lambda: _has_table(replica))
        replica.sql("select pg_wal_replay_pause()")
        note = await Note.create(text="written")
        assert await Note.find(note.id) is None
        async with await Model.get_session() as session:
            assert ["written"] == await fetch(select(Note.text), session=session)
        replica.sql("select pg_wal_replay_resume()")
        await until(lambda: _found(note.id))
        assert ["written"] == await fetch(select(Note.text))
        await Model.cleanup()


def _has_table(replica: PostgreSQL) -> bool:
    with contextlib.suppress(ServerFailed):  # it has no such database yet
        return replica.sql("select to_regclass('written_everything') is not null", "plant") == [["t"]]
    return False


async def _found(key: int) -> bool:
    return await Note.find(key) is not None
