"""The settings of pools and names, as the servers see them."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import literal, select, text

from core.database.database import Database
from core.exceptions import ConfigurationError, DatabaseUnavailable
from core.model import Model
from core.query import fetch
from tests.conftest import FreshDatabase
from tests.integration.database.engine.conftest import Open
from tests.integration.database.writes.models import Note
from tests.integration.database.writes.observing import together
from tests.servers import MariaDB

SERVERS = pytest.mark.parametrize("fresh_database", ["postgres", "mariadb"], indirect=True)
IDS = {"postgres": "SELECT pg_backend_pid()", "mariadb": "SELECT connection_id()"}


async def ids(database: Database, kind: str, number: int) -> list[Any]:
    """The server's ids of connections that are in use at the same time; the first is given back first."""
    connections = [await database.engine.connect() for _ in range(number)]
    found = [await connection.scalar(text(IDS[kind])) for connection in connections]
    for connection in connections:
        await connection.close()
    return found


@SERVERS
async def test_a_pool_keeps_connections_in_turn(open_database: Open, fresh_database: FreshDatabase) -> None:
    """The one that has rested for longest comes first."""
    database = await open_database(fresh_database.url, pool_size=3)
    first, second, third = await ids(database, fresh_database.kind, 3)
    assert [first] == await ids(database, fresh_database.kind, 1)
    assert [second] == await ids(database, fresh_database.kind, 1)
    assert [third] == await ids(database, fresh_database.kind, 1)


@SERVERS
async def test_lifo(open_database: Open, fresh_database: FreshDatabase) -> None:
    """The one that was given back last comes first, and the others rest until the server closes them."""
    database = await open_database(fresh_database.url, pool_size=3, pool_use_lifo=True)
    *_, last = await ids(database, fresh_database.kind, 3)
    for _ in range(3):
        assert [last] == await ids(database, fresh_database.kind, 1)


@SERVERS
async def test_no_pool(open_database: Open, fresh_database: FreshDatabase) -> None:
    """A new connection each time, as many as are asked for; the writer keeps its own."""
    database = await open_database(fresh_database.url, pool_class="null", pool_size=1, max_overflow=0)
    seen = await ids(database, fresh_database.kind, 5) + await ids(database, fresh_database.kind, 5)
    assert 10 == len(set(seen))
    Model.install(database)
    notes = await together(*[Note.create(text=f"n{n}") for n in range(50)])
    assert 50 == len({note.id for note in notes})
    Model.install(None)


@pytest.mark.parametrize("fresh_database", ["sqlite"], indirect=True)
async def test_no_pool_for_sqlite(open_database: Open, database_url: str) -> None:
    """A file needs none; a database in memory lives in one, and says so."""
    database = await open_database(database_url, pool_class="null")
    await asyncio.gather(*[database.create(Note, {"text": f"n{n}"}) for n in range(20)])
    assert 20 == len(await database.all(Note))
    with pytest.raises(ConfigurationError, match="DB_POOL_CLASS=queue"):
        Database("sqlite://", pool_class="null")


@SERVERS
async def test_a_pool_has_a_size_and_a_patience(open_database: Open, fresh_database: FreshDatabase) -> None:
    """Who comes when all are in use, those of the overflow too, waits no longer than was said."""
    database = await open_database(fresh_database.url, pool_size=1, max_overflow=1, pool_timeout=0.01)
    Model.install(database)
    async with database.engine.connect() as one, database.engine.connect() as two:
        assert await one.scalar(text("SELECT 1")) == await two.scalar(text("SELECT 1"))
        with pytest.raises(DatabaseUnavailable, match="DB_POOL_SIZE"):
            await fetch(_one())
    assert [1] == await fetch(_one())
    Model.install(None)


def _one() -> Any:
    return select(literal(1))


@SERVERS
@pytest.mark.parametrize("pre_ping", [True, False])
async def test_a_connection_that_has_died(open_database: Open, fresh_database: FreshDatabase, pre_ping: bool) -> None:
    """A probe finds it out before use; without the probe it is the user who does."""
    database = await open_database(fresh_database.url, pool_size=1, max_overflow=0, pool_pre_ping=pre_ping)
    Model.install(database)
    (number,) = await ids(database, fresh_database.kind, 1)
    assert fresh_database.server is not None
    kill = "select pg_terminate_backend({})" if fresh_database.kind == "postgres" else "kill {}"
    await asyncio.to_thread(fresh_database.server.sql, kill.format(number))
    if pre_ping:
        assert [1] == await fetch(_one())
    else:
        with pytest.raises(DatabaseUnavailable):
            await fetch(_one())
    Model.install(None)


@SERVERS
async def test_connections_are_replaced(open_database: Open, fresh_database: FreshDatabase) -> None:
    """After as many seconds as were said; here at once."""
    database = await open_database(fresh_database.url, pool_size=1, max_overflow=0, pool_recycle=0)
    first = await ids(database, fresh_database.kind, 1)
    assert first != await ids(database, fresh_database.kind, 1)


@pytest.mark.parametrize("fresh_database", ["postgres"], indirect=True)
async def test_names_in_postgresql(open_database: Open, fresh_database: FreshDatabase) -> None:
    """``pg_stat_activity`` shows the service's name, and which connection is the writer's."""
    database = await open_database(fresh_database.url, application_name="plant 7: a name that is longer than most")
    await database.create(Note, {"text": "x"})
    async with database.engine.connect() as connection:
        mine = "SELECT application_name FROM pg_stat_activity WHERE datname = current_database()"
        names = set(await connection.scalars(text(mine)))
    writer, name = sorted(names, key=lambda name: "writer" not in name)
    assert "plant 7: a name that is longer than most" == name
    assert writer.startswith("plant 7: a name that writer ")
    assert 60 == len(writer)


async def test_names_in_mariadb(open_database: Open, mariadb_factory: Callable[..., MariaDB]) -> None:
    """The attribute ``program_name`` of every connection."""
    server = mariadb_factory(performance_schema=True)
    database = await open_database(server.create_database("named"), application_name="plant 7")
    await database.create(Note, {"text": "x"})
    attributes = "performance_schema.session_account_connect_attrs"
    names = server.sql(f"select distinct attr_value from {attributes} where attr_name = 'program_name'")  # noqa: S608 - a constant
    assert [["plant 7"]] == [name for name in names if name != ["mysql"]]


@pytest.mark.parametrize("name", ["", "it's", "x" * 64, "Anlage ü"])
def test_names_that_are_refused(name: str) -> None:
    """Servers would cut them or show something else."""
    with pytest.raises(ConfigurationError, match="cannot name connections"):
        Database("sqlite://", application_name=name)
