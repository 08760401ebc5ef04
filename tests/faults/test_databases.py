"""The database goes away, refuses, locks and quarrels; it comes back, and nothing is missing."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from sqlalchemy import make_url

from core.mqtt.options import Protocol
from tests.conftest import FreshDatabase
from tests.faults.combinations import EVERY_PROTOCOL, ON_POSTGRES, ON_SQLITE, SERVER_PAIRS
from tests.faults.conftest import Begin
from tests.faults.proxy import FaultProxy, Link, Passing
from tests.faults.rival import Rival
from tests.faults.trial import RECOVERY_OF_DATABASE, Trial
from tests.faults.witness import PINGREQ
from tests.servers import MariaDB, PostgreSQL, ServerFailed
from tests.servers.database_server import DatabaseServer

HELD = "writes are held until the database serves again"
SERVED = "the database takes writes again"

_KILL_POSTGRES = "select pg_terminate_backend(pid) from pg_stat_activity where datname = '{}'"
_CONNECTIONS = "select id from information_schema.processlist where db = '{}'"

Databases = Callable[[str], tuple[DatabaseServer, FreshDatabase]]


@pytest.fixture
def durable(postgres_factory: Callable[..., PostgreSQL], mariadb_factory: Callable[..., MariaDB]) -> Databases:
    """Start a database server that keeps its promises when it is killed."""

    def start(kind: str) -> tuple[DatabaseServer, FreshDatabase]:
        factory: Callable[..., DatabaseServer] = {"postgres": postgres_factory, "mariadb": mariadb_factory}[kind]
        server = factory(durable=True)
        return server, FreshDatabase(kind, server.create_database("faults"), server)

    return start


@contextlib.asynccontextmanager
async def rival(trial: Trial, database: FreshDatabase) -> AsyncIterator[Rival]:
    """A rival, once there are rows to fight for."""
    await trial.publisher.publish(16)
    await trial.stored(16)
    rival = Rival(database)
    try:
        yield rival
    finally:
        await rival.close()


@ON_SQLITE  # only the fixture's, which is not used here
@pytest.mark.parametrize(("kind", "protocol"), [("postgres", "5"), ("mariadb", "3.1.1")])
async def test_database_killed_and_started(begin: Begin, durable: Databases, kind: str, protocol: Protocol) -> None:
    """Messages are held, none becomes a dead letter, and all are rows when the server is back."""
    server, database = durable(kind)
    async with begin(database=database, protocol=protocol) as trial:
        with trial.service:
            await trial.service.connected()
            for outage in range(1, 3):
                trial.publisher.begin(400)
                await trial.stored((outage - 1) * 400 + 100)
                await asyncio.to_thread(server.kill)
                await trial.service.until(lambda outage=outage: len(trial.service.events(HELD)) >= outage, HELD)
                await asyncio.to_thread(server.start)
                await trial.recovered(RECOVERY_OF_DATABASE)
                await trial.settled()
            await trial.conclude()


@ON_SQLITE  # only the fixture's, which is not used here
@pytest.mark.parametrize(("kind", "protocol"), [("postgres", "5"), ("mariadb", "3.1.1")])
async def test_nothing_is_acknowledged_meanwhile(
    begin: Begin, durable: Databases, kind: str, protocol: Protocol
) -> None:
    """While nobody, the witness included, can look into the database, the service keeps its acknowledgements back."""
    server, database = durable(kind)
    async with begin(database=database, protocol=protocol) as trial:
        with trial.service:
            await trial.service.connected()
            await trial.publisher.publish(50)
            await trial.settled()
            acknowledged, delivered = trial.witness.acknowledged, trial.witness.delivered
            await asyncio.to_thread(server.kill)
            # Within the window of both, and no more than the broker sends unasked.
            await trial.publisher.publish(20)
            await trial.service.until_logged(HELD)
            await trial.service.until(lambda: trial.witness.delivered == delivered + 20, "20 deliveries")
            # What was to be sent before the next ping has been sent then.
            pings = trial.witness.packets[PINGREQ]
            await trial.service.until(
                lambda: trial.witness.packets[PINGREQ] > pings or trial.witness.acknowledged > acknowledged, "a ping"
            )
            assert acknowledged == trial.witness.acknowledged
            await asyncio.to_thread(server.start)
            await trial.recovered(RECOVERY_OF_DATABASE)
            await trial.conclude()


@SERVER_PAIRS
async def test_connections_killed(begin: Begin, fresh_database: FreshDatabase, protocol: Protocol) -> None:
    """Connections that the server ends are replaced, whatever was on its way on them."""
    server, name = fresh_database.server, make_url(fresh_database.url).database
    assert server is not None
    async with (
        FaultProxy(server.port) as proxy,
        begin(protocol=protocol, database_url=through(proxy, fresh_database)) as trial,
    ):
        with trial.service:
            await trial.service.connected()
            trial.publisher.begin(1500)
            for turn in range(1, 6):
                await trial.stored(turn * 150)
                before = proxy.connections
                await asyncio.to_thread(_kill_connections, server, str(name))
                await trial.service.until(lambda before=before: proxy.connections > before, "a new connection")
            await trial.recovered(RECOVERY_OF_DATABASE)
            await trial.conclude()


def through(proxy: FaultProxy, database: FreshDatabase) -> str:
    """The URL of a database behind a proxy."""
    return make_url(database.url).set(port=proxy.port).render_as_string(hide_password=False)


def _kill_connections(server: DatabaseServer, name: str) -> None:
    if isinstance(server, PostgreSQL):
        server.sql(_KILL_POSTGRES.format(name))
        return
    for (connection,) in server.sql(_CONNECTIONS.format(name)):
        with contextlib.suppress(ServerFailed):  # ended by itself meanwhile
            server.sql(f"kill {connection}")


class CommitCut(Passing):
    """Lets a COMMIT through and cuts the connection before its answer comes back; every so often."""

    cuts = 0
    every = -1  # never

    def __init__(self, link: Link) -> None:
        self._link = link
        self._due = False

    async def to_server(self, octets: bytes) -> bytes:
        if b"COMMIT" in octets:
            CommitCut.every -= 1
            self._due = CommitCut.every == 0
        return octets

    async def to_client(self, octets: bytes) -> bytes:
        if self._due:
            CommitCut.cuts += 1
            CommitCut.every = 5
            self._link.reset()
            return b""
        return octets


@SERVER_PAIRS
async def test_answer_to_commit_lost(begin: Begin, fresh_database: FreshDatabase, protocol: Protocol) -> None:
    """Whether a COMMIT happened is found out, not guessed."""
    assert fresh_database.server is not None
    CommitCut.cuts, CommitCut.every = 0, -1
    async with (
        FaultProxy(fresh_database.server.port, CommitCut) as proxy,
        begin(protocol=protocol, database_url=through(proxy, fresh_database)) as trial,
    ):
        with trial.service:
            await trial.service.connected()
            CommitCut.every = 5
            for turn in range(1, 11):
                await trial.publisher.publish(50)
                await trial.stored(turn * 50)
            await trial.conclude()
    assert CommitCut.cuts >= 2


@SERVER_PAIRS
async def test_row_locked(begin: Begin, fresh_database: FreshDatabase, protocol: Protocol) -> None:
    """Somebody's lock holds up the lane that needs the row, and no other."""
    async with begin(protocol=protocol) as trial:
        with trial.service:
            await trial.service.connected()
            async with rival(trial, fresh_database) as other:
                async with other.lock("lane-0"):
                    # As acknowledgements leave in order, what waits holds up everything that is beyond the window.
                    trial.publisher.begin(40)
                    await trial.stored(16 + 35)
                    assert 16 + 35 == await trial.judge.rows()
                await trial.conclude()


@pytest.mark.parametrize(
    ("fresh_database", "protocol", "conflict"),
    # InnoDB answers with a deadlock where PostgreSQL tells of a conflict.
    [("postgres", "5", "deadlock"), ("mariadb", "3.1.1", "deadlock"), ("postgres", "3.1.1", "serialization")],
    indirect=["fresh_database"],
)
async def test_quarrel(begin: Begin, fresh_database: FreshDatabase, protocol: Protocol, conflict: str) -> None:
    """Deadlocks and serialization failures cost an attempt, not a message."""
    server, name = fresh_database.server, make_url(fresh_database.url).database
    assert server is not None
    if conflict == "serialization":
        server.sql(f"alter database {name} set default_transaction_isolation to 'serializable'")
    elif isinstance(server, PostgreSQL):
        # Else the service, which waits for no lock that long, gives way before anybody looks for a deadlock.
        server.sql(f"alter database {name} set deadlock_timeout to '10ms'")
    before = _conflicts(server)
    async with begin(protocol=protocol) as trial:
        with trial.service:
            await trial.service.connected()
            async with rival(trial, fresh_database) as other:
                # Against the order in which the service writes.
                quarrelling = asyncio.create_task(other.quarrel([f"lane-{n}" for n in reversed(range(8))]))
                turn = 0
                # The transactions of the service are so short that it hardly ever comes too late to change a row; of a
                # deadlock it must have been the victim. Of the last one the rival may not have heard yet.
                while _conflicts(server) - before - (other.quarrels if conflict == "deadlock" else 0) < 2:
                    turn += 1
                    await trial.publisher.publish(20)
                    await trial.stored(16 + turn * 20)
                quarrelling.cancel()
                await asyncio.wait([quarrelling])
                assert quarrelling.cancelled() or quarrelling.result() is None
                await trial.conclude()


def _conflicts(server: DatabaseServer) -> int:
    """How many transactions the server has ended for the sake of others."""
    if isinstance(server, PostgreSQL):
        said = server.log()
        return said.count("deadlock detected") + said.count("could not serialize")
    return int(server.sql("show global status like 'Innodb_deadlocks'")[0][1])


@ON_POSTGRES
async def test_read_only_database(begin: Begin, fresh_database: FreshDatabase) -> None:
    """A database that refuses writes, as a replica after a failover, is an outage."""
    server, name = fresh_database.server, make_url(fresh_database.url).database
    assert server is not None

    def refuse() -> None:
        server.sql(f"alter database {name} set default_transaction_read_only to on")
        _kill_connections(server, str(name))

    def serve() -> None:
        server.sql(f"alter database {name} reset default_transaction_read_only")
        _kill_connections(server, str(name))

    await _refused_for_a_while(begin, fresh_database.url, refuse, serve)


@pytest.mark.parametrize("fresh_database", ["mariadb"], indirect=True)
async def test_read_only_mariadb(begin: Begin, fresh_database: FreshDatabase) -> None:
    """The same of a server; only those who may do everything could still write to it."""
    server, url = fresh_database.server, make_url(fresh_database.url)
    assert server is not None
    server.sql(
        f"create or replace user 'plain'@'%' identified by 'plain'; grant all on {url.database}.* to 'plain'@'%'"
    )
    plain = url.set(username="plain", password="plain").render_as_string(hide_password=False)
    try:
        await _refused_for_a_while(
            begin, plain, lambda: server.sql("set global read_only = 1"), lambda: server.sql("set global read_only = 0")
        )
    finally:
        server.sql("set global read_only = 0; drop user 'plain'@'%'")


async def _refused_for_a_while(
    begin: Begin, url: str, refuse: Callable[[], object], serve: Callable[[], object]
) -> None:
    async with begin(database_url=url) as trial:
        with trial.service:
            await trial.service.connected()
            await trial.publisher.publish(50)
            await trial.stored(50)
            await asyncio.to_thread(refuse)
            trial.publisher.begin(200)
            await trial.service.until_logged(HELD)
            await asyncio.to_thread(serve)
            await trial.service.until_logged(SERVED)
            await trial.recovered(RECOVERY_OF_DATABASE)
            await trial.conclude()


@EVERY_PROTOCOL
async def test_pool_of_one(begin: Begin, protocol: Protocol) -> None:
    """One connection for all handlers is slow and enough; the shared flush has its own."""
    settings = {"DB_POOL_SIZE": "1", "DB_POOL_MAX_OVERFLOW": "0"}
    async with begin(protocol=protocol, settings=settings) as trial:
        with trial.service:
            await trial.service.connected()
            await trial.publisher.publish(300)
            await trial.publisher.tell("own-session", range(1000, 1020))
            await trial.stored(320)
            await trial.conclude()


@SERVER_PAIRS
async def test_handler_locks_the_row_that_it_upserts(begin: Begin, protocol: Protocol) -> None:
    """The blocked write is put aside until the handler's own session has ended; other writes go on."""
    async with begin(protocol=protocol) as trial:
        with trial.service:
            await trial.service.connected()
            await trial.publisher.tell("own-session", range(1000, 1010))
            await trial.publisher.publish(100)
            await trial.stored(110)
            await trial.conclude()


async def enough(trial: Trial) -> bool:
    return await trial.judge.seen(range(40)) >= set(range(40))


@ON_POSTGRES
async def test_sessions_left_open(begin: Begin) -> None:
    """Handlers that use up the pool hold up whoever needs a session; what is written through models goes on."""
    settings: dict[str, Any] = {
        "DB_POOL_SIZE": "2",
        "DB_POOL_MAX_OVERFLOW": "0",
        "DB_POOL_TIMEOUT": "0.5",
        "DRAIN_TIMEOUT": "1",
    }
    async with begin(settings=settings) as trial:
        with trial.service:
            await trial.service.connected()
            await trial.publisher.tell("leak", range(1000, 1004))
            await trial.service.until_logged("messages are held until this is mended")
            # No more than the window holds beside those that wait.
            await trial.publisher.publish(40)
            await trial.service.until(lambda: enough(trial))
            counters = await trial.stopped()
        assert 0 == trial.witness.early
        assert counters["processed"] >= 40
        assert counters["returned_to_broker"] > 0
        verdict = await trial.judge.verdict()
        # What waits for a session is at the broker again.
        assert counters["returned_to_broker"] == verdict.lost
        assert (0, 0, 0) == (verdict.duplicates, verdict.altered, verdict.dead)
