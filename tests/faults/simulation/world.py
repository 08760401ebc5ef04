"""The simulated world: a service made of the real core, between a broker and a database that do what a seed says."""

import asyncio
import random
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy.dialects import sqlite

from core.backoff import Backoff
from core.database.buffer import WriteBuffer
from core.database.flush import Insert
from core.database.shapes import Shapes
from core.exceptions import BrokerUnavailable
from core.ingest.consumer import Consumer
from core.ingest.dispatcher import Dispatcher
from core.ingest.window import Window
from core.message import Message
from core.mqtt.connection import Publication, Will
from core.mqtt.mqtt5_inbound import Inbound
from core.mqtt.options import BrokerOptions
from core.mqtt.subscriber import Subscriber
from core.router import Router
from core.routing.table import RouteTable
from tests.faults.simulation.broker import Sent, SimulatedBroker, Wire
from tests.faults.simulation.database import End, Simulated, SimulatedDatabase, SimulatedWriter
from tests.faults.simulation.loop import VirtualLoop

__all__ = ["KINDS", "LANES", "Stuck", "World"]

WINDOW = 6
LANES = 3
_PATIENCE = 2_000
_FUNERALS = 50

#: What a message may be: an ordinary one, one that the database refuses, one whose handler raises, one that takes time.
KINDS = ("", "poison", "raises", "slow")


class Stuck(AssertionError):
    """Nothing more happens although there is work left."""


class _Told(Exception):
    pass


async def _store(lane: int, message: Message, client: "Process") -> None:
    """The handler of all messages."""
    world, number = client.world, int(message.payload)
    if world.kinds[number] == "slow":
        await asyncio.sleep(1)
    if world.kinds[number] == "raises":
        world.raised.add(number)
        raise _Told
    shape = world.shapes.of(Simulated, {"number": 0, "lane": 0})
    await client.buffer.write([Insert(shape, [shape.row({"number": number, "lane": lane})])])


def _routes() -> RouteTable:
    router = Router()
    router.on("s/{lane:int}", _store, qos=2)
    return RouteTable(router.routes)


_ROUTES = _routes()
_SHAPES = Shapes(sqlite.dialect())


class _Memory:
    """Remembers the filters of the session, over crashes too."""

    def __init__(self) -> None:
        self._filters: dict[str, int] = {}

    async def remembered_filters(self, client_id: str) -> dict[str, int]:
        return dict(self._filters)

    async def remember_filters(self, client_id: str, filters: Mapping[str, int]) -> None:
        self._filters = dict(filters)


class Process:
    """One life of the service, from its start to its crash."""

    def __init__(self, world: "World") -> None:
        self.world = world
        self.alive = True
        self.inbound = Inbound()
        self.writer = SimulatedWriter(world.database)
        self.buffer = WriteBuffer(self.writer, _SHAPES, None)
        self.buffer.patience = float("inf")
        self.window = Window(WINDOW, 2**20)
        self.consumer = Consumer(_ROUTES, Dispatcher(self, 1e9), self.window)
        options = BrokerOptions("simulated", 1, client_id="simulated", receive_maximum=WINDOW)
        backoff = Backoff(source=world.chance)
        self.subscriber = Subscriber(options, self.connect, _ROUTES.subscriptions, world.memory, self.consumer, backoff)
        self.consumer.attach(self.subscriber)
        self.running = asyncio.get_running_loop().create_task(self.subscriber.run())

    async def connect(
        self,
        options: BrokerOptions,
        generation: int,
        on_message: Callable[[Message], None],
        *,
        clean_start: bool = False,
        will: Will | None = None,
    ) -> Wire:
        """The driver."""
        if not self.alive or self.world.broker_down:
            raise BrokerUnavailable("down")
        return self.world.broker.connect(self.inbound, on_message, generation)

    async def send(self, publication: Publication) -> None:
        raise AssertionError("nothing is to be published")

    async def publish(self, topic: str, payload: Any = b"", *, qos: int = 1, retain: bool = False) -> None:
        raise AssertionError("nothing is to be published")


class World:
    """Takes steps; after each of them everything must still hold.

    Attributes:
        kinds: What each message is, by its number.
        published: All messages.
        acknowledged: Numbers that the broker was told are done.
        raised: Numbers whose handler has raised.
        crashes: How often the service was killed.
    """

    def __init__(self, loop: VirtualLoop, seed: int) -> None:
        self.loop = loop
        self.chance = random.Random(seed)  # noqa: S311 - the simulation's only chance
        self.shapes = _SHAPES
        self.memory = _Memory()
        self.broker = SimulatedBroker(WINDOW, self._acknowledged)
        self.broker_down = False
        self.database = SimulatedDatabase()
        self.kinds: list[str] = []
        self.published: list[Sent] = []
        self.acknowledged: set[int] = set()
        self.raised: set[int] = set()
        self.crashes = 0
        self.ends: dict[End, int] = dict.fromkeys(End, 0)
        self.process: Process
        self._do(self._start)

    # --- steps ---

    def publish(self, lane: int, qos: int, kind: str) -> None:
        """A device publishes a message."""
        number = len(self.published)
        self.kinds.append(kind)
        if kind == "poison":
            self.database.poison.add(number)
        self.published.append(Sent(number, lane, qos))
        self.broker.publish(self.published[-1])

    def deliver(self) -> bool:
        """The broker sends the next packet."""
        sent: list[bool] = []
        self._do(lambda: sent.append(self.broker.deliver()))
        return sent[0]

    def end_flush(self, end: End) -> bool:
        """The flush that is at work ends; returns whether there was one."""
        flush = self.process.writer.at_work
        if flush is None or flush.done():
            return False
        self.ends[end] += 1
        self._do(lambda: flush.set_result(end))
        return True

    def disconnect(self, *, kept: bool) -> None:
        """The connection to the broker ends."""
        if not kept:
            self.broker.lose_session()
        wire, self.broker.wire = self.broker.wire, None
        if wire is not None and not wire.ended.done():
            self._do(lambda: wire.ended.set_exception(BrokerUnavailable("cut")))

    def deafen(self) -> None:
        """What the service sends gets lost from now on, until somebody notices."""
        if self.broker.wire is not None:
            self.broker.wire.deaf = True

    def crash(self, end: End | None = None) -> None:
        """Kill the service and start it again.

        Args:
            end: What becomes of a flush that is at work: ``COMMITTED`` if its COMMIT got out still.
        """
        process = self.process
        process.alive = False
        self.broker.wire = None
        if end is End.COMMITTED:
            self._do(lambda: self._commit_unseen(process))
        self._bury()
        self.crashes += 1
        self._do(self._start)

    def advance(self) -> bool:
        """Time passes until the next timer; returns whether there was one."""
        moved = self.loop.advance()
        self.check()
        return moved

    # --- what must hold ---

    def check(self) -> None:
        """What must hold at any time."""
        assert not self.database.violations, self.database.violations
        consumer = self.process.consumer.statistics()
        received, *parts = consumer
        assert received == sum(parts), f"the counters do not add up: {consumer}"
        # One more than fits, when reading stops.
        assert consumer.in_flight <= WINDOW + 1, f"more in flight than the window holds: {consumer}"
        assert len(self.process.window) <= WINDOW + 1, f"{self.process.window!r}"

    def finish(self) -> None:
        """Let everything be well and see that nothing is missing."""
        self.broker_down = self.database.down = False
        if self.broker.wire is not None and self.broker.wire.deaf:
            self.disconnect(kept=True)
        for _ in range(_PATIENCE):
            moved = self.deliver() or self.end_flush(End.COMMITTED)
            if not moved and self._idle():
                break
            if not moved and not self.advance():
                raise Stuck(f"{self.process.consumer!r} {self.process.buffer!r}")
        else:
            raise Stuck(f"{self.process.consumer!r} {self.process.buffer!r} {self.process.subscriber!r}")
        self._judge()

    def _idle(self) -> bool:
        return (
            self.broker.empty
            and not self.process.consumer.statistics().in_flight
            and not self.process.buffer.statistics().waiting
        )

    def _judge(self) -> None:
        done = self.database.rows.keys() | self.database.refused | self.raised
        lost = {sent.number for sent in self.published} - done - self.broker.lost
        assert not lost, f"never handled: {sorted(lost)}"
        assert not self.database.rows.keys() & self.database.poison
        assert len(self.process.window) == 0, f"{self.process.window!r}"
        for lane in set(range(LANES)) - self.database.excused:
            numbers = [number for number, of in self.database.rows.items() if of == lane]
            assert numbers == sorted(numbers), f"lane {lane} was stored as {numbers}"

    def _acknowledged(self, number: int) -> None:
        done = number in self.database.rows or number in self.database.refused or number in self.raised
        assert done, f"{number} was acknowledged and is neither stored nor refused"
        self.acknowledged.add(number)

    # --- within ---

    def _do(self, step: Callable[[], object]) -> None:
        self.loop.do(step)
        if hasattr(self, "process"):
            self.check()

    def _start(self) -> None:
        self.process = Process(self)

    @staticmethod
    def _commit_unseen(process: Process) -> None:
        if process.writer.at_work is not None and not process.writer.at_work.done():
            process.writer.at_work.set_result(End.COMMITTED_UNSEEN)

    def _bury(self) -> None:
        """End what a dead process has left in the loop; it reaches neither broker nor database any more."""
        for _ in range(_FUNERALS):
            self.loop.forget()
            left = asyncio.all_tasks(self.loop)
            if not left:
                return
            self.loop.do(lambda left=left: [task.cancel() for task in left])
        raise AssertionError(f"tasks that cannot be ended: {left}")

    def close(self) -> None:
        """Leave nothing in the loop."""
        self.process.alive = False
        self.broker.wire = None
        self._bury()
