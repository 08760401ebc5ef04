"""Fixtures of the tests of the MQTT 5 driver, most of them against a broker that misbehaves on demand."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
import uvloop

from core.testing import ScriptedBroker
from tests.integration.mqtt.contract import DRIVERS, Client, Driver, client_of

MQTT5 = next(driver for driver in DRIVERS if driver.name == "mqtt5")


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Every test runs on both event loops."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture
async def broker() -> AsyncIterator[ScriptedBroker]:
    """A broker that does what the test says."""
    async with ScriptedBroker() as scripted:
        yield scripted


@pytest.fixture(params=[driver for driver in DRIVERS if driver.five], ids=lambda driver: driver.name)
def any_client(request: pytest.FixtureRequest, broker: ScriptedBroker) -> Client:
    """A client of each driver that speaks MQTT 5."""
    driver: Driver = request.param
    return client_of(driver, broker.port)


@pytest.fixture
def client(broker: ScriptedBroker) -> Client:
    """A client of the mqtt5 driver."""
    return client_of(MQTT5, broker.port)
