"""What the engine itself costs: messages in, handlers, acknowledgements out, with no broker and no database."""

import asyncio
import gc
import statistics
import sys
import time
from collections import deque
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
import typer

from benchmarks.application.middleware import CountMessages, MeasureTime, RefuseLarge
from core import parking
from core.context import Context
from core.ingest.consumer import Consumer
from core.ingest.dispatcher import Dispatcher
from core.ingest.window import Window
from core.message import Message
from core.mqtt.connection import Publication
from core.router import Router
from core.routing.table import RouteTable

__all__ = ["main"]

# As much as comes in with one read of a busy socket.
_READ = 250


class Reading(msgspec.Struct):
    """What a device sends."""

    sensor_id: str
    value: float


class Writer:
    """Stands for the write buffer: commits all that waits once per round of the event loop."""

    def __init__(self) -> None:
        self._waiting: list[asyncio.Future[None]] = []

    async def write(self) -> None:
        """Return after the next commit."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._commit)
        self._waiting.append(future)
        work = parking.current.get()
        if work is None:
            await future
            return
        work.park()
        try:
            await future
        finally:
            work.unpark()

    def _commit(self) -> None:
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            future.set_result(None)


class Intake:
    """Stands for the subscriber: counts acknowledgements."""

    def __init__(self) -> None:
        self.acknowledged = 0

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Count them."""
        self.acknowledged += len(messages)

    def pause(self) -> None:
        """Keep sending: no more is sent than fits."""

    def resume(self) -> None:
        """Keep sending."""

    def is_copy(self, message: Message) -> bool:
        """Say no."""
        return False


class Client:
    """Stands for the publisher; nothing is published."""

    async def send(self, publication: Publication) -> None:
        """Do nothing."""

    async def publish(self, topic: str, payload: Any = b"", *, qos: int = 1, retain: bool = False) -> None:
        """Do nothing."""


def router_of(writer: Writer, *, ordered: bool, batch: int | None) -> Router:
    """One route, for messages one by one or in batches."""
    router = Router()
    around = [CountMessages(), RefuseLarge(1_000_000), MeasureTime()]

    async def store(device_id: str, payload: Reading) -> None:
        await writer.write()

    async def store_all(contexts: Sequence[Context]) -> None:
        await writer.write()

    if batch:
        router.on("bench/{device_id}/reading", store_all, middleware=around, batch=batch, payload=Reading)
    else:
        router.on("bench/{device_id}/reading", store, middleware=around, ordered=ordered)
    return router


def messages_of(number: int, topics: int) -> deque[Message]:
    """Messages as they come from a driver."""
    payload = b'{"sensor_id":"temperature","value":21.5}'
    return deque(
        Message(f"bench/device-{n % topics}/reading", payload, qos=1, packet_id=n % 65_535 + 1, generation=1)
        for n in range(number)
    )


async def drive(router: Router, messages: deque[Message], window: int) -> float:
    """Send messages through a consumer.

    Returns:
        Seconds of CPU.
    """
    intake = Intake()
    consumer = Consumer(RouteTable(router.routes), Dispatcher(Client(), 30.0), Window(window, 2**26))
    consumer.attach(intake)
    consumer.begin(1)
    consumer.session_resumed(kept=False)
    total, sent = len(messages), 0
    gc.collect()
    began = time.process_time()
    while intake.acknowledged < total:
        fit = min(_READ, window - (sent - intake.acknowledged), len(messages))
        for _ in range(fit):
            consumer.receive(messages.popleft())
        sent += fit
        await asyncio.sleep(0)
    return time.process_time() - began


async def bare(router: Router, messages: deque[Message]) -> float:
    """Run the same pipeline with one plain task for each message, and nothing around it: the least that it can cost.

    Returns:
        Seconds of CPU.
    """
    table = RouteTable(router.routes)
    client = Client()
    gc.collect()
    began = time.process_time()
    while messages:
        tasks = []
        for _ in range(min(_READ, len(messages))):
            message = messages.popleft()
            (match,) = table.match(message.topic)
            tasks.append(asyncio.create_task(match.compiled.pipeline(match.context(message, client))))  # type: ignore[arg-type]
        await asyncio.wait(tasks)
    return time.process_time() - began


def main(
    messages: Annotated[int, typer.Option(min=1_000, max=1_000_000, help="Messages per measurement.")] = 50_000,
    topics: Annotated[int, typer.Option(min=1, max=100_000, help="Topics in turn.")] = 1_000,
    window: Annotated[int, typer.Option(min=1, max=65_535, help="Messages in flight.")] = 1_000,
    repeat: Annotated[int, typer.Option(min=1, max=50, help="Measurements per median.")] = 5,
    only: Annotated[str, typer.Option(help="Names of the cases, separated by commas.")] = "",
) -> None:
    """The engine without broker and database: microseconds of CPU per message."""
    writer = Writer()
    one = router_of(writer, ordered=True, batch=None)
    free = router_of(writer, ordered=False, batch=None)
    many = router_of(writer, ordered=True, batch=500)
    cases = {
        "bare tasks": lambda: bare(one, messages_of(messages, topics)),
        "per message": lambda: drive(one, messages_of(messages, topics), window),
        "unordered": lambda: drive(free, messages_of(messages, topics), window),
        "one topic": lambda: drive(one, messages_of(messages, 1), window),
        "batch=500": lambda: drive(many, messages_of(messages, topics), window),
    }
    chosen = [name for name in cases if not only or name in only.split(",")]
    taken: dict[str, list[float]] = {name: [] for name in chosen}
    for _ in range(repeat):
        for name in chosen:
            taken[name].append(asyncio.run(cases[name]()) * 1e6 / messages)
    print(f"Python {sys.version.split()[0]}: us of CPU per message, 3 middlewares, {topics:,} topics, {repeat} times")
    for name, figures in taken.items():
        print(f"{name:<14}{statistics.median(figures):8.2f}   least {min(figures):.2f}")
