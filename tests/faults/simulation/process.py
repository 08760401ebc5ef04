"""One life of the service: the parts that the application puts together, in a simulated world."""

import asyncio
import math
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy.ext.asyncio import create_async_engine

from core.database.buffer import WriteBuffer
from core.database.dead_letters import DeadLetters
from core.database.intents import Intent
from core.database.options import EngineOptions
from core.database.shapes import Shapes
from core.database.writes import Writes
from core.dead_letter import DeadLetter, fingerprint
from core.ingest.consumer import Consumer
from core.ingest.dispatcher import Dispatcher
from core.ingest.window import Window
from core.mqtt.connection import Publication
from core.mqtt.mqtt5_driver import Mqtt5Driver
from core.mqtt.options import BrokerOptions
from core.mqtt.subscriber import Subscriber
from tests.faults.simulation.database import Database, Writer
from tests.faults.simulation.handlers import TIMEOUT, table
from tests.faults.simulation.ledger import Ledger

__all__ = ["SLOTS", "Process"]

SLOTS = 6
_QOS0_SLOTS = 3
_BYTES = 2_000
# Crashes have nothing to do with messages here, and none is due to be set aside.
_CRASHES = 1_000
# For each full window: its messages on two routes each, and as many that were dropped, or a few more.
_MOST_WAITING = 2 * (SLOTS + _QOS0_SLOTS) + 20

# Never connected: it only says how values are written.
_ENGINE = create_async_engine("sqlite+aiosqlite://")
_SHAPES = Shapes(_ENGINE.dialect)


class _Letters(DeadLetters):
    """The table of dead letters, in the simulated database."""

    def __init__(self, client: "Client") -> None:
        super().__init__(client)  # type: ignore[arg-type]
        self._client = client

    async def _knows(self, letter: DeadLetter) -> bool:
        await self._client.database.round_trip()
        return fingerprint(letter.message, letter.route) in self._client.database.fingerprints


class Client:
    """What handlers get: it stands for the process.

    Attributes:
        writes: The real verbs of writing.
        database: The simulated database.
        ledger: Is told when a handler begins.
        chance: For handlers that take their time.
    """

    def __init__(self, database: Database, writer: Writer, chance: random.Random) -> None:
        self.database, self.ledger, self.chance = database, database.ledger, chance
        self.writes = Writes(_ENGINE, EngineOptions(), None, find=_found, write_alone=_never, max_clock_skew=300)
        self.writes._shapes = _SHAPES
        self.writes.buffer = WriteBuffer(writer, _SHAPES, deadline=30)
        self.writes.buffer.patience = math.inf
        self.alive = True
        self._begun: set[tuple[str, int]] = set()

    @contextmanager
    def handling(self, route: str, n: int) -> Iterator[None]:
        """Note that a handler begins with a message; one that fails will begin again, perhaps behind others."""
        fact = self.ledger.facts[n]
        if self.alive:
            fact.begun[route] += 1
            if (route, n) in self._begun:
                fact.again.add(route)
            self._begun.add((route, n))
        try:
            yield
        except BaseException:
            self.failed(route, n)
            raise

    def failed(self, route: str, n: int) -> None:
        """Note that a handler has failed, whether it says so or not."""
        if self.alive:
            self.ledger.facts[n].again.add(route)

    async def insert_own(self, model: type[Any], row: Any) -> None:
        await self.writes.commit([Intent(model, [dict(row)])], counted=False)

    async def send(self, publication: Publication) -> None:
        await asyncio.sleep(self.chance.random() * 0.01)

    async def publish(self, topic: str, payload: Any = b"", *, qos: int = 1, retain: bool = False) -> None:
        await self.send(Publication(topic, payload, qos, retain))


async def _found(_model: type[Any], key: Any) -> Any:
    return key


async def _never(_intents: Any) -> Any:
    raise AssertionError("every simulated write is carried by the shared flush")


class Process:
    """The service from its start to its end; made within its event loop.

    Args:
        database: The world's.
        chance: The world's.
    """

    def __init__(self, database: Database, chance: random.Random) -> None:
        self._database = database
        self._ledger: Ledger = database.ledger
        self.writer = Writer(database)
        self.client = Client(database, self.writer, chance)
        self.window = Window(SLOTS, _BYTES, _QOS0_SLOTS)
        dispatcher = Dispatcher(self.client, TIMEOUT, letters=_Letters(self.client))
        self.consumer = Consumer(table, dispatcher, self.window)
        if database.running:
            self.consumer.watch(database, _CRASHES)
        database.running = True
        options = BrokerOptions("broker", receive_maximum=SLOTS)
        self.subscriber = Subscriber(options, Mqtt5Driver().connect, table.subscriptions, database, self.consumer)
        self.consumer.attach(self.subscriber)
        self.running = asyncio.ensure_future(self.subscriber.run())

    def check(self, windows: int) -> None:
        """What must hold at every moment.

        Args:
            windows: How many full windows the broker has given cause for: one on each connection, as far as it knows
                nothing of what came on those before.
        """
        self._account()
        if len(self.window) > windows * SLOTS + 1 + _QOS0_SLOTS:
            self._ledger.accuse(f"the window is not bounded: {self.window!r}")
        if max(len(self.consumer._shedding), self.consumer._scheduler.waiting) > windows * _MOST_WAITING:
            self._ledger.accuse(f"what waits is not bounded: {self.consumer!r} {self.consumer._shedding!r}")

    def _account(self) -> None:
        statistics = self.consumer.statistics()
        if statistics.unaccounted:
            self._ledger.accuse(f"messages are unaccounted for: {statistics}")

    def die(self) -> None:
        """Reach neither broker nor database any more."""
        self.writer.dead, self.client.alive = True, False
        self.client.writes.buffer._closed = True

    async def stop(self, patience: float, when_stopped: Callable[[], None]) -> None:
        """Drain, disconnect and close, as the application does."""
        await self.consumer.drain(patience)
        self._account()
        await self.subscriber.close()
        self.running.cancel()
        await asyncio.wait([self.running])
        await self.client.writes.buffer.close()
        self._database.running = False
        when_stopped()
