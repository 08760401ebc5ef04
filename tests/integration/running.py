"""An application inside the test's own process, on real servers."""

import asyncio
import contextlib
import inspect
import itertools
from collections.abc import AsyncIterator, Callable
from typing import Any

from core.application import Application, IngestOptions
from core.ingest.statistics import ConsumerStatistics
from core.model import Model
from core.mqtt import aiomqtt_driver
from core.mqtt.options import BrokerOptions
from core.mqtt.publisher import Publisher
from core.router import Router
from core.routing.table import RouteTable

_numbers = itertools.count(1)


@contextlib.asynccontextmanager
async def running(
    router: Router, broker: BrokerOptions | int, database_url: str, *, pool: dict[str, Any] | None = None, **ingest: Any
) -> AsyncIterator[Application]:
    """Run an application until the block ends; its counters must add up then.

    Args:
        router: The routes.
        broker: Where the broker is, or only its port.
        database_url: An empty database.
        pool: Options of the database.
        ingest: Options of IngestOptions.
    """
    if isinstance(broker, int):
        broker = options(broker)
    database = Model.configure(database_url, **pool or {})
    application = Application(broker, database, RouteTable(router.routes), IngestOptions(**ingest))
    try:
        await application.start()
        await application.ready()
        yield application
    finally:
        await application.stop()
        Model.install(None)
    assert_balanced(application.statistics().consumer)
    assert application.statistics().consumer.in_flight == 0


def options(port: int, **fields: Any) -> BrokerOptions:
    """Options for a broker on loopback, with a client id of their own."""
    return BrokerOptions("127.0.0.1", port, **{"client_id": f"test-{next(_numbers)}"} | fields)


def assert_balanced(statistics: ConsumerStatistics) -> None:
    """Every received message is in exactly one place."""
    assert 0 == statistics.unaccounted, statistics


@contextlib.asynccontextmanager
async def publishing(port: int) -> AsyncIterator[Publisher]:
    """A device's connection to the broker."""
    publisher = Publisher(options(port), aiomqtt_driver.connect)
    try:
        yield publisher
    finally:
        await publisher.close()


async def until(condition: Callable[[], object]) -> None:
    """Wait for a condition, sync or async; the test's own timeout is the limit."""
    while True:
        result = condition()
        if await result if inspect.isawaitable(result) else result:
            return
        await asyncio.sleep(0.01)
