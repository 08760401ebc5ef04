"""What the contract of MQTT drivers is tested with: the drivers, and both ends of their connections."""

import asyncio
import contextlib
import dataclasses
import itertools
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import aiomqtt

from core.message import Message
from core.mqtt import aiomqtt_driver
from core.mqtt.connection import Connect, Connection, Will
from core.mqtt.mqtt5_driver import Mqtt5Driver
from core.mqtt.options import BrokerOptions, Protocol

PATIENCE = 40.0

_names = itertools.count(1)


@dataclass(frozen=True)
class Driver:
    """One driver speaking one version of MQTT.

    Attributes:
        name: For the test's id.
        protocol: The version.
        make: Makes the driver, whose state lives as long as a process of the service.
        websockets: Whether it speaks MQTT over WebSockets.
    """

    name: str
    protocol: Protocol
    make: Callable[[], Connect]
    websockets: bool

    @property
    def five(self) -> bool:
        return self.protocol == "5"


# A new driver is one more line here.
DRIVERS = (
    Driver("mqtt5", "5", lambda: Mqtt5Driver().connect, websockets=False),
    Driver("aiomqtt", "5", lambda: aiomqtt_driver.connect, websockets=True),
    Driver("aiomqtt", "3.1.1", lambda: aiomqtt_driver.connect, websockets=True),
)


def unique(stem: str) -> str:
    """A name that no other test uses."""
    return f"{stem}-{next(_names)}"


async def until(condition: Callable[[], object]) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(PATIENCE):
        while True:
            if condition():
                return
            await asyncio.sleep(0.005)


@dataclass
class Client:
    """A service as a broker sees it: one client id, connecting again and again.

    Attributes:
        inbox: Every message that came in, over all connections.
        hold: Leave messages unacknowledged.
    """

    driver: Driver
    options: BrokerOptions
    inbox: list[Message] = field(default_factory=list)
    hold: bool = False
    generation: int = 0
    connection: Connection | None = None

    def __post_init__(self) -> None:
        self._connect = self.driver.make()

    async def connect(self, *, clean_start: bool = False, will: Will | None = None) -> Connection:
        """Connect; messages are acknowledged as they come, unless ``hold``."""
        self.generation += 1
        self.connection = None
        self.connection = await self._connect(
            self.options, self.generation, self._receive, clean_start=clean_start, will=will
        )
        return self.connection

    @contextlib.asynccontextmanager
    async def connected(self, **options: Any) -> AsyncIterator[Connection]:
        """One connection, closed at the end."""
        connection = await self.connect(**options)
        try:
            yield connection
        finally:
            await connection.close()

    def _receive(self, message: Message) -> None:
        self.inbox.append(message)
        assert self.connection is not None, "a message before there is a connection to acknowledge it on"
        if not self.hold and message.qos:
            self.connection.acknowledge([message])

    async def received(self, count: int) -> list[Message]:
        """Wait until that many messages have come in since the inbox was emptied."""
        await until(lambda: len(self.inbox) >= count)
        return self.inbox

    @property
    def payloads(self) -> list[bytes]:
        return [message.payload for message in self.inbox]


def client_of(driver: Driver, port: int | None, **options: Any) -> Client:
    """A client with an id of its own."""
    assert port is not None
    defaults = BrokerOptions(
        "127.0.0.1", port, client_id=unique("client"), protocol=driver.protocol, session_expiry=600
    )
    return Client(driver, dataclasses.replace(defaults, **options))


def device(port: int, **options: Any) -> aiomqtt.Client:
    """The other side: a client that is not under test."""
    return aiomqtt.Client("127.0.0.1", port, protocol=aiomqtt.ProtocolVersion.V5, **options)


class Wire:
    """A TCP proxy in front of a broker, to cut connections as a network would."""

    def __init__(self, port: int) -> None:
        self._broker_port = port
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._pumps: set[asyncio.Task[None]] = set()
        self.port = 0

    async def __aenter__(self) -> "Wire":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*self._pumps)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        broker_reader, broker_writer = await asyncio.open_connection("127.0.0.1", self._broker_port)
        self._writers |= {writer, broker_writer}
        for source, sink in ((reader, broker_writer), (broker_reader, writer)):
            pump = asyncio.create_task(self._pump(source, sink))
            self._pumps.add(pump)
            pump.add_done_callback(self._pumps.discard)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while piece := await source.read(2**16):
                sink.write(piece)
                await sink.drain()
        sink.close()

    def cut(self) -> None:
        """End every connection with a reset, on both sides."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()


class ScriptedBroker:
    """A broker that answers each kind of packet with fixed bytes, or with none, for what Mosquitto does not do.

    Args:
        answers: What to send, by the first hexadecimal digit of the packet's first byte; ``None`` ends the
            connection, which a DISCONNECT always does.
    """

    def __init__(self, answers: dict[str, bytes | None]) -> None:
        self._answers = answers
        self._server: asyncio.Server | None = None
        self._conversations: set[asyncio.Task[None]] = set()
        self.port = 0

    async def __aenter__(self) -> "ScriptedBroker":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*self._conversations)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._converse(reader, writer))
        self._conversations.add(task)
        task.add_done_callback(self._conversations.discard)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                kind = (await reader.readexactly(1)).hex()[0]
                await reader.readexactly(await _remaining_length(reader))
                answer = self._answers.get(kind, None if kind == "e" else b"")
                if answer is None:
                    break
                writer.write(answer)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def _remaining_length(reader: asyncio.StreamReader) -> int:
    length = shift = 0
    while True:
        byte = (await reader.readexactly(1))[0]
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return length
