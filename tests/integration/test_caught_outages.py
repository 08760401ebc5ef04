"""Handlers that keep an outage of the database to themselves, on real servers; and what retries leave behind."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from structlog.testing import capture_logs

from app.models import SensorReading, TransferLog
from core.context import Context
from core.model import Model
from core.router import Router
from tests.conftest import FreshDatabase
from tests.integration.running import publishing, running, until
from tests.servers import Mosquitto
from tests.servers.database_server import DatabaseServer

LIED = {"status": "error"}

Read = Callable[[], Awaitable[Any]]


async def by_a_session() -> None:
    async with await Model.get_session() as session:
        await session.execute(select(SensorReading).limit(1))


async def by_a_verb() -> None:
    await SensorReading.all()


async def by_the_engine() -> None:
    async with Model.database().engine.begin() as connection:
        await connection.execute(text("SELECT 1"))


async def in_tasks() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(by_a_session())
        group.create_task(asyncio.sleep(0))


@pytest.fixture(params=["postgres_factory", "mariadb_factory"])
def server(request: pytest.FixtureRequest) -> DatabaseServer:
    started: DatabaseServer = request.getfixturevalue(request.param)(durable=True)
    return started


def in_a_thread(context: Context) -> dict[str, str]:
    """A plain function; what it runs on the event loop belongs to its message."""
    try:
        context.run(by_a_session())
    except Exception:
        return LIED
    return {"status": "ok"}


def lying(read: Read) -> Read:
    """An action that says the message is dealt with, whatever became of its read."""

    async def action() -> dict[str, str]:
        try:
            await read()
        except* Exception:
            return_value = LIED
        else:
            return_value = {"status": "ok"}
        return return_value

    return action


async def test_handlers_that_catch_an_outage_are_not_believed(server: DatabaseServer, mosquitto: Mosquitto) -> None:
    """Whatever way they took to the database, and although they said that their messages are dealt with."""
    url = server.create_database("caught")
    ways = [*map(lying, (by_a_session, by_a_verb, by_the_engine, in_tasks)), in_a_thread]
    router = Router()
    for number, way in enumerate(ways):
        router.on(f"caught/{number}", way)
    with capture_logs() as logs:
        async with running(router, mosquitto.port, url) as application:
            server.kill()
            async with publishing(mosquitto.port) as device:
                for number in range(len(ways)):
                    await device.publish(f"caught/{number}", 1)
            await until(lambda: application.statistics().handlers.held == len(ways))
            assert (0, False) == (application.statistics().consumer.processed, application.is_ready)
            server.start()
            await until(lambda: application.statistics().consumer.processed == len(ways))
            assert application.is_ready
    assert 0 == application.statistics().consumer.dead_lettered
    assert {"messages are held until this is mended", "no message is held any more"} <= {line["event"] for line in logs}


async def test_a_connection_that_ended_unnoticed_is_no_outage(server: DatabaseServer, mosquitto: Mosquitto) -> None:
    """It is replaced before the handler gets it, so nothing is to be overridden."""
    url = server.create_database("caught")
    router = Router()
    runs = 0

    async def action() -> None:
        nonlocal runs
        runs += 1
        await by_a_session()

    router.on("unnoticed", action)
    async with running(router, mosquitto.port, url) as application, publishing(mosquitto.port) as device:
        await device.publish("unnoticed", 1)
        await until(lambda: application.statistics().consumer.processed == 1)
        server.restart()
        await device.publish("unnoticed", 2)
        await until(lambda: application.statistics().consumer.processed == 2)
    assert 2 == runs


async def test_an_exhausted_pool_is_not_hidden(database_url: str, mosquitto: Mosquitto) -> None:
    """The message waits until there is a connection."""
    router = Router()
    attempts = 0

    async def action() -> None:
        nonlocal attempts
        attempts += 1
        try:
            await by_a_session()
        except PoolTimeoutError:
            return

    router.on("pool", action)
    pool = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 0.05}
    async with running(router, mosquitto.port, database_url, pool=pool) as application:
        async with Model.database().engine.connect(), publishing(mosquitto.port) as device:
            await device.publish("pool", 1)
            await until(lambda: attempts >= 2)
            assert 0 == application.statistics().consumer.processed
        await until(lambda: application.statistics().consumer.processed == 1)


async def test_a_missing_table_is_not_hidden(fresh_database: FreshDatabase, mosquitto: Mosquitto) -> None:
    """Caught from a flush or from a session: it holds, and is said loudly."""
    router = Router()

    async def by_a_flush() -> None:
        await Model.create(TransferLog, device_id="a")

    for name, write in (("flush", by_a_flush), ("session", lambda: _select(TransferLog))):
        router.on(f"missing/{name}", _swallowing(write))
    with capture_logs() as logs:
        async with running(router, mosquitto.port, fresh_database.url) as application:
            await _execute("DROP TABLE transfer_logs")
            async with publishing(mosquitto.port) as device:
                await device.publish("missing/flush", 1)
                await device.publish("missing/session", 1)
            await until(lambda: application.statistics().handlers.held == 2)
            assert 0 == application.statistics().consumer.processed
            await Model.create_tables()
            await until(lambda: application.statistics().consumer.processed == 2)
    assert {"error"} == {line["log_level"] for line in logs if "are held" in line["event"]}


def _swallowing(write: Read) -> Read:
    async def action() -> None:
        try:
            await write()
        except Exception:
            return

    return action


async def _select(model: type[Any]) -> None:
    async with await Model.get_session() as session:
        await session.scalars(select(model))


async def _execute(statement: str) -> None:
    async with Model.database().engine.begin() as connection:
        await connection.exec_driver_sql(statement)


async def test_data_errors_stay_the_handlers_decision(database_url: str, mosquitto: Mosquitto) -> None:
    """A row that is refused says something about the message, and the handler has dealt with it."""
    router = Router()
    runs = 0

    async def action() -> None:
        nonlocal runs
        runs += 1
        try:
            async with await Model.get_session() as session:
                session.add(SensorReading(device_id=None, value=1.0, timestamp=1_760_000_000))
                await session.commit()
        except DBAPIError:
            return

    router.on("data", action)
    async with running(router, mosquitto.port, database_url) as application:
        async with publishing(mosquitto.port) as device:
            await device.publish("data", 1)
        await until(lambda: application.statistics().consumer.processed == 1)
    assert 1 == runs


@pytest.mark.parametrize("fresh_database", ["postgres"], indirect=True)
async def test_a_transaction_repeated_by_its_handler_counts(database_url: str, mosquitto: Mosquitto) -> None:
    """A serialization failure asks for nothing else; the handler runs once."""
    router = Router()
    runs = 0
    failures = 0

    async def action() -> None:
        nonlocal runs, failures
        runs += 1
        while True:
            try:
                await _clash(failures == 0)
            except DBAPIError:
                failures += 1
            else:
                return

    router.on("clash", action)
    async with running(router, mosquitto.port, database_url) as application:
        await _execute("CREATE TABLE counters (id int primary key, n int)")
        await _execute("INSERT INTO counters VALUES (1, 0)")
        async with publishing(mosquitto.port) as device:
            await device.publish("clash", 1)
        await until(lambda: application.statistics().consumer.processed == 1)
    assert (1, 1) == (runs, failures)


async def _clash(provoked: bool) -> None:
    engine = Model.database().engine.execution_options(isolation_level="SERIALIZABLE")
    async with engine.begin() as connection:
        await connection.execute(text("SELECT n FROM counters"))
        if provoked:
            await _execute("UPDATE counters SET n = n + 1")
        await connection.execute(text("UPDATE counters SET n = n + 10"))


# --- what failed attempts leave behind ---


async def test_an_attempt_leaves_what_it_awaited_and_nothing_else(database_url: str, mosquitto: Mosquitto) -> None:
    """A committed row with a natural key is found again by the next attempt; a unit of work is all or nothing."""
    router = Router()
    attempts = 0

    async def action() -> None:
        nonlocal attempts
        attempts += 1
        await _reading("committed", 1)
        async with Model.unit_of_work() as work:
            work.create(SensorReading, device_id="together", value=1.0, timestamp=1_760_000_000 + attempts)
            if attempts < 3:
                raise ValueError("in the middle")
        async with await Model.get_session() as session:
            session.add(SensorReading(device_id="session", value=1.0, timestamp=1_760_000_000))
            await session.flush()
            if attempts < 4:
                raise ValueError("before the commit")
            await session.commit()

    router.on("attempts", action, retries=3, backoff=0.01)
    async with running(router, mosquitto.port, database_url) as application:
        async with publishing(mosquitto.port) as device:
            await device.publish("attempts", 1)
        await until(lambda: application.statistics().consumer.processed == 1)
        rows = sorted(reading.device_id for reading in await SensorReading.all())
    assert (4, 3) == (attempts, application.statistics().handlers.repeated)
    # The third attempt's unit of work was committed, as was the fourth's: each time a row of its own.
    assert ["committed", "session", "together", "together"] == rows


async def _reading(device: str, number: int) -> None:
    await Model.create(SensorReading, device_id=device, value=1.0, timestamp=1_760_000_000 + number)
