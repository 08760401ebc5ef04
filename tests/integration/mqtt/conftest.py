"""Fixtures of the tests against a private Mosquitto."""

import asyncio
from collections.abc import Callable, Iterator

import pytest
import uvloop

from tests.integration.mqtt.contract import DRIVERS, Driver, unique
from tests.servers import Certificates, Mosquitto


@pytest.fixture(params=DRIVERS, ids=lambda driver: f"{driver.name}-{driver.protocol}")
def driver(request: pytest.FixtureRequest) -> Driver:
    """Each driver in each version of MQTT that it speaks."""
    chosen: Driver = request.param
    return chosen


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "one_loop: too slow to run on more than the service's own event loop")


def pytest_asyncio_loop_factories(item: pytest.Item) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run every test on both event loops, unless it is slow."""
    if item.get_closest_marker("one_loop"):
        return {"uvloop": uvloop.new_event_loop}
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture
def topic() -> str:
    """A topic of the test's own."""
    return unique("contract/topic")


@pytest.fixture(scope="session")
def secure_mosquitto(certificates: Certificates) -> Iterator[Mosquitto]:
    """A broker with a plain, a TLS and a WebSockets listener; the TLS one wants client certificates."""
    with Mosquitto(tls=certificates.server, client_ca=certificates.ca, websockets=True) as server:
        yield server


@pytest.fixture
def own_mosquitto(mosquitto_factory: Callable[..., Mosquitto]) -> Mosquitto:
    """A broker that the test may kill, freeze and read the log of."""
    return mosquitto_factory()
