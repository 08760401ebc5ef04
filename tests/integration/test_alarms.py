"""Alarms of a running service: silent routes, handlers that block, publications without a broker."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from core.context import Client
from core.router import Router
from tests.integration.running import options, publishing, running, until
from tests.servers import Mosquitto


@pytest.fixture
def database_file(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'a.db'}"


async def test_a_route_that_falls_silent_is_told_and_that_it_speaks_again(
    mosquitto: Mosquitto, database_file: str
) -> None:
    """Once each; other routes may be as silent as they like."""

    async def take(payload: int) -> None: ...

    router = Router()
    router.on("silence/watched", take, expect_every=0.2)
    router.on("silence/free", take)
    with capture_logs() as logs:
        async with running(router, mosquitto.port, database_file) as application:
            await until(lambda: application.statistics().handlers.silences == 1)
            async with publishing(mosquitto.port) as device:
                await device.publish("silence/watched", 1)
            await until(lambda: any("again" in line["event"] for line in logs))
    told = [(line["log_level"], line["route"]) for line in logs if "route" in line]
    assert [("warning", "silence/watched"), ("info", "silence/watched")] == told[:2]


async def test_silence_is_not_told_while_the_broker_is_away(
    mosquitto_factory: Callable[..., Mosquitto], database_file: str
) -> None:
    """Nothing can come in then, and that is said already."""

    async def take(payload: int) -> None: ...

    broker = mosquitto_factory()
    router = Router()
    router.on("silence", take, expect_every=0.2)
    async with running(router, broker.port, database_file) as application:
        await until(lambda: application.statistics().handlers.silences == 1)
        async with publishing(broker.port) as device:
            await device.publish("silence", 1)
        broker.kill()
        await until(lambda: not application.is_ready)
        before = application.statistics().handlers.silences
        looked = application._watchdog._since
        await until(lambda: application._watchdog._since > looked + 1.0)
        assert before == application.statistics().handlers.silences


async def test_a_blocking_handler_is_named_by_the_service(mosquitto: Mosquitto, database_file: str) -> None:
    """With its action and topic, and counted."""
    router = Router()

    async def store(payload: int) -> None:
        while not application.statistics().handlers.blocked:
            time.sleep(0.01)  # noqa: ASYNC251 - what must not be done

    router.on("blocking/{number}", store)
    with capture_logs() as logs:
        async with running(router, mosquitto.port, database_file, blocking_alarm=0.05) as application:
            async with publishing(mosquitto.port) as device:
                await device.publish("blocking/1", 1)
            await until(lambda: application.statistics().consumer.processed == 1)
    named: list[Any] = [line for line in logs if "blocked" in line["event"]]
    assert "blocking/1" in [line.get("topic") for line in named]


async def test_a_handler_that_publishes_is_held_while_its_broker_does_not_answer(
    mosquitto_factory: Callable[..., Mosquitto], database_file: str
) -> None:
    """It says nothing against the message that the answer cannot be sent now."""
    broker = mosquitto_factory()
    router = Router()
    begun = asyncio.Event()

    async def forward(payload: int, client: Client) -> None:
        begun.set()
        await frozen.wait()
        await client.publish("forwarded", payload)

    frozen = asyncio.Event()
    router.on("publishing", forward)
    async with running(router, options(broker.port, connect_timeout=0.3), database_file) as application:
        application.publisher._patience = 0.2
        async with publishing(broker.port) as device:
            await device.publish("publishing", 1)
        await begun.wait()
        broker.freeze()
        frozen.set()
        await until(lambda: application.statistics().handlers.held == 1)
        broker.thaw()
        await until(lambda: application.statistics().consumer.processed == 1)
    assert 0 == application.statistics().consumer.dead_lettered
