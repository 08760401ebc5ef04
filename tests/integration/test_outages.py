"""Databases and brokers that go away while messages are on their way, and come back."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from app.models import SensorReading
from core.backoff import Backoff
from core.context import Context
from core.model import Model
from core.router import Router
from tests.integration.running import options, publishing, running, until
from tests.servers import MariaDB, Mosquitto, PostgreSQL
from tests.servers.database_server import DatabaseServer

MESSAGES = 60


async def store(payload: int) -> None:
    await Model.create(SensorReading, device_id="d", value=payload, timestamp=1_760_000_000 + payload)


@pytest.fixture
def router(request: pytest.FixtureRequest) -> Router:
    router = Router()
    router.on(f"{request.function.__name__}/{{number}}", store)
    return router


def readings(server: DatabaseServer, database: str) -> int:
    return int(server.sql("select count(*) from sensor_readings", database)[0][0])


async def publish(mosquitto: Mosquitto, name: str, numbers: range) -> None:
    async with publishing(mosquitto.port) as device:
        for number in numbers:
            await device.publish(f"{name}/{number}", number)


async def _survives_restart(server: DatabaseServer, mosquitto: Mosquitto, router: Router, name: str) -> None:
    url = server.create_database("outage")
    with capture_logs() as logs:
        async with running(router, mosquitto.port, url) as application:
            await publish(mosquitto, name, range(10))
            await until(lambda: application.statistics().consumer.processed == 10)
            server.kill()
            await publish(mosquitto, name, range(10, MESSAGES))
            await until(lambda: any("are held" in line["event"] for line in logs))
            await until(lambda: application.statistics().consumer.in_flight == MESSAGES - 10)
            server.start()
            await until(lambda: application.statistics().consumer.processed == MESSAGES)
    numbers = application.statistics().consumer
    assert (MESSAGES, 0, 0) == (numbers.processed, numbers.dead_lettered, numbers.returned_to_broker)
    assert MESSAGES == readings(server, "outage")
    changes = ["writes are held until the database serves again", "the database takes writes again"]
    speaking = [line["event"] for line in logs if line["event"] in changes]
    # One line per change of state, not per message. A server that is starting may look well for a moment.
    assert len(speaking) in (2, 4)
    assert changes == speaking[:2]


async def test_postgresql_away_for_a_while(
    postgres_factory: Callable[..., PostgreSQL], mosquitto: Mosquitto, router: Router, request: pytest.FixtureRequest
) -> None:
    """Messages are held, not acknowledged and no dead letters, and become rows when the server is back."""
    await _survives_restart(postgres_factory(durable=True), mosquitto, router, request.function.__name__)


async def test_mariadb_away_for_a_while(
    mariadb_factory: Callable[..., MariaDB], mosquitto: Mosquitto, router: Router, request: pytest.FixtureRequest
) -> None:
    """The same holds on MariaDB."""
    await _survives_restart(mariadb_factory(durable=True), mosquitto, router, request.function.__name__)


async def test_database_that_hangs_does_not_use_up_the_handlers_time(
    postgres_factory: Callable[..., PostgreSQL], mosquitto: Mosquitto, router: Router, request: pytest.FixtureRequest
) -> None:
    """A frozen server answers nothing and refuses nothing; its messages wait all the same."""
    server = postgres_factory()
    name = request.function.__name__
    url = server.create_database("outage")
    with capture_logs() as logs:
        async with running(router, mosquitto.port, url, handler_timeout=0.3) as application:
            await publish(mosquitto, name, range(5))
            await until(lambda: application.statistics().consumer.processed == 5)
            server.freeze()
            await publish(mosquitto, name, range(5, 20))
            await until(lambda: any("are held" in line["event"] for line in logs))
            server.thaw()
            await until(lambda: application.statistics().consumer.processed == 20)
    assert 0 == application.statistics().consumer.dead_lettered
    assert 20 == readings(server, "outage")


async def test_a_database_that_hangs_under_a_query_makes_no_dead_letter(
    postgres_factory: Callable[..., PostgreSQL], mosquitto: Mosquitto
) -> None:
    """A handler that waits in a session of its own is cut off, and repeated when the server goes on."""
    server = postgres_factory()
    begun = 0

    async def read(number: int) -> None:
        nonlocal begun
        begun += 1
        async with await Model.get_session() as session:
            await session.execute(text("SELECT 1"))

    router = Router()
    router.on("read/{number:int}", read)
    url = server.create_database("outage")
    with capture_logs() as logs:
        async with running(router, mosquitto.port, url, handler_timeout=0.3) as application:
            await publish(mosquitto, "read", range(5))
            await until(lambda: application.statistics().consumer.processed == 5)
            server.freeze()
            await publish(mosquitto, "read", range(5, 10))
            await until(lambda: any("are held" in line["event"] for line in logs))
            await until(lambda: begun >= 15)
            server.thaw()
            await until(lambda: application.statistics().consumer.processed == 10)
    assert 0 == application.statistics().consumer.dead_lettered


async def test_a_query_that_always_takes_too_long_is_given_up(
    postgres: PostgreSQL, mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database serves others meanwhile, so it is the handler's fault."""
    monkeypatch.setattr(Backoff, "next", lambda self: 0.0)

    async def read() -> None:
        async with await Model.get_session() as session:
            await session.execute(text("SELECT pg_sleep(600)"))

    router = Router()
    router.on("slow-query", read)
    with capture_logs() as logs:
        url = postgres.create_database("slow_query")
        async with running(router, mosquitto.port, url, handler_timeout=0.2) as application:
            await publish_one(mosquitto, "slow-query")
            await until(lambda: application.statistics().consumer.dead_lettered == 1)
    assert ["timeout"] == [line["reason"] for line in logs if line["event"] == "message dead-lettered"]


async def test_an_outage_makes_no_dead_letters_of_what_waits_for_a_thread(
    postgres_factory: Callable[..., PostgreSQL], mosquitto: Mosquitto
) -> None:
    """Plain functions that wait for their commits keep their threads, and there are more messages than those."""
    server = postgres_factory(durable=True)
    cut_off = asyncio.Event()

    def store_plainly(number: int, context: Context) -> None:
        context.run(store(number))

    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cut_off.set()

    router = Router()
    router.on("plain/{number:int}", store_plainly)
    router.on("late/{number}", hang)
    with capture_logs() as logs:
        url = server.create_database("outage")
        async with running(router, mosquitto.port, url, handler_timeout=0.3) as application:
            server.kill()
            await publish(mosquitto, "plain", range(MESSAGES))
            await until(lambda: any("are held" in line["event"] for line in logs))
            for number in (1, 2):
                await publish(mosquitto, "late", range(number, number + 1))
                await cut_off.wait()
                cut_off.clear()
            server.start()
            await until(lambda: application.statistics().consumer.processed == MESSAGES)
            await until(lambda: application.statistics().consumer.dead_lettered == 2)
    assert MESSAGES == readings(server, "outage")


async def test_missing_table_is_shouted_about_and_held(mosquitto: Mosquitto, tmp_path: Path) -> None:
    """A mistake of the deployment is mended by people, and costs no message."""
    router = Router()
    router.on("missing-table", store)
    with capture_logs() as logs:
        async with running(router, mosquitto.port, f"sqlite:///{tmp_path / 'a.db'}") as application:
            await drop_readings()
            await publish_one(mosquitto, "missing-table")
            await until(lambda: any("are held" in line["event"] for line in logs))
            await Model.create_tables()
            await until(lambda: application.statistics().consumer.processed == 1)
    assert "error" in [line["log_level"] for line in logs if "are held" in line["event"]]


async def drop_readings() -> None:
    async with Model.database().engine.begin() as connection:
        await connection.exec_driver_sql("DROP TABLE sensor_readings")


async def publish_one(mosquitto: Mosquitto, topic: str) -> None:
    async with publishing(mosquitto.port) as device:
        await device.publish(topic, 1)


async def test_work_goes_on_through_a_restart_of_the_broker(
    mosquitto_factory: Callable[..., Mosquitto], tmp_path: Path
) -> None:
    """What is redelivered joins the work that is still running: one run, one row, one acknowledgement."""
    mosquitto = mosquitto_factory({"autosave_on_changes": True, "autosave_interval": 1})
    gate = asyncio.Event()
    runs = 0

    async def slow(payload: int) -> None:
        nonlocal runs
        runs += 1
        await gate.wait()
        await store(payload)

    router = Router()
    router.on("slow", slow)
    async with running(router, options(mosquitto.port), f"sqlite:///{tmp_path / 'a.db'}") as application:
        await publish_one(mosquitto, "slow")
        await until(lambda: runs == 1)
        await asyncio.to_thread(mosquitto.restart)
        await until(lambda: application.statistics().consumer.received == 2)
        gate.set()
        await until(lambda: application.statistics().consumer.processed == 1)
        assert 1 == len(await SensorReading.all())
    numbers = application.statistics().consumer
    assert (1, 2, 1, 1) == (runs, numbers.received, numbers.processed, numbers.copies_suppressed)
