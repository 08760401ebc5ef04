"""A server that vanished: every connection of the pool stands, and nothing is answered on it any more."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from sqlalchemy import make_url, text

from core.database import own_work
from core.database.attempt import NoAnswer
from core.database.database import Database
from core.database.dead_letters import DeadLetters
from core.database.filter_memory import FilterMemory
from core.database.leases import LeaseRow, Leases
from core.database.suspects import Suspects
from core.dead_letter import DeadLetter
from core.instants import now
from core.message import Message
from tests.conftest import FreshDatabase
from tests.faults.proxy import FaultProxy

pytestmark = pytest.mark.parametrize("fresh_database", ["postgres", "mariadb"], indirect=True)

_CONNECTIONS = 6


@pytest.fixture
async def proxy(fresh_database: FreshDatabase) -> AsyncIterator[FaultProxy]:
    assert fresh_database.server is not None
    async with FaultProxy(fresh_database.server.port) as proxy:
        yield proxy


@pytest.fixture
async def database(proxy: FaultProxy, fresh_database: FreshDatabase) -> AsyncIterator[Database]:
    url = make_url(fresh_database.url).set(port=proxy.port).render_as_string(hide_password=False)
    database = Database(url, pool_size=_CONNECTIONS, statement_timeout=0)
    await database.create_tables()
    yield database
    await database.close()


def letter(payload: bytes, *, dup: bool) -> DeadLetter:
    message = Message("t", payload, qos=1, packet_id=7, dup=dup)
    return DeadLetter(message, "route", "invalid", "why", now(), size=len(payload))


async def fill_pool(database: Database, connections: int) -> None:
    """Open some connections."""
    met = asyncio.Barrier(connections)

    async def open_one() -> None:
        async with database.engine.connect() as connection:
            await connection.execute(text("SELECT 1"))
            await met.wait()

    await asyncio.gather(*(open_one() for _ in range(connections)))


async def test_own_statements_end(database: Database, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of the framework's own statements fails in time, and its next try finds a connection that answers."""
    # More than a connection that was found dead takes to be closed.
    monkeypatch.setattr(own_work, "_DEADLINE", 3.0)
    letters, leases = DeadLetters(database), Leases(database.engine)
    suspects, filters = Suspects(database.engine, "c"), FilterMemory(database.engine)
    await suspects.begin()
    await leases.take("c", "holder", None)
    await letters.add(letter(b"known", dup=False))
    works: list[Callable[[], Awaitable[object]]] = [
        lambda: letters.add(letter(b"known", dup=True)),
        lambda: suspects.attempts(["a"]),
        lambda: suspects.count(["a"]),
        lambda: leases.renew("c", "holder"),
        lambda: leases.read("c"),
        lambda: filters.remember_filters("c", {"a": 1}),
    ]
    assert _CONNECTIONS == len(works)
    await fill_pool(database, _CONNECTIONS)
    assert proxy.strand() >= _CONNECTIONS
    first = await asyncio.gather(*(work() for work in works), return_exceptions=True)
    assert [NoAnswer] * len(works) == [type(error) for error in first]
    assert not await letters.add(letter(b"known", dup=True))
    await suspects.count(["b"])
    assert {"b": 1} == await suspects.attempts(["a", "b"])
    assert await leases.renew("c", "holder")
    assert LeaseRow("holder", 2) == await leases.read("c")


async def test_those_beside_are_given_up(
    database: Database, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where one connection of the pool did not answer, the next try does not have to find out about each other one."""
    monkeypatch.setattr(own_work, "_DEADLINE", 3.0)
    leases = Leases(database.engine)
    await fill_pool(database, 3)
    assert proxy.strand() >= 3
    with pytest.raises(NoAnswer):
        await leases.read("c")
    for _ in range(2):
        assert await leases.read("c") is None


async def test_flush_without_statement_timeout(database: Database, proxy: FaultProxy) -> None:
    """A service writes on another connection, though statements may take for ever (DB_STATEMENT_TIMEOUT=0)."""
    database.hold_writes()
    letters = DeadLetters(database)
    assert await letters.add(letter(b"one", dup=False))
    # Nothing gives up the idle connections of the pool here, which would wait for an answer when they are closed.
    await database.engine.dispose()
    assert proxy.strand()
    assert await letters.add(letter(b"two", dup=False))
