"""A TCP proxy between the service and the broker that reads along: which message, which acknowledgement, when."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import NamedTuple

_PUBLISH = 3
_PUBACK = 4
_CONNECT = 1


class Seen(NamedTuple):
    """A message on its way to the service."""

    topic: str
    payload: bytes


class RecordingProxy:
    """Forwards every byte both ways; before a PUBACK goes on, ``on_acknowledged`` is asked.

    Attributes:
        port: Where to connect instead of to the broker.
        published: QoS 1 messages sent to clients, in order.
        acknowledged: The messages whose PUBACKs passed, in order.
    """

    def __init__(self, broker_port: int, on_acknowledged: Callable[[Seen], Awaitable[None]]) -> None:
        self.port = 0
        self.published: list[Seen] = []
        self.acknowledged: list[Seen] = []
        self._broker_port = broker_port
        self._on_acknowledged = on_acknowledged
        self._connections: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "RecordingProxy":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await asyncio.gather(*self._connections)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        broker_reader, broker_writer = await asyncio.open_connection("127.0.0.1", self._broker_port)
        connection = _Connection(self)
        try:
            await asyncio.gather(
                _forward(reader, broker_writer, connection.to_broker),
                _forward(broker_reader, writer, connection.to_service),
            )
        finally:
            for stream in (writer, broker_writer):
                with contextlib.suppress(OSError):
                    stream.close()
                    await stream.wait_closed()

    async def passed(self, seen: Seen) -> None:
        """A PUBACK is about to go on."""
        await self._on_acknowledged(seen)
        self.acknowledged.append(seen)


class _Connection:
    """Understands the packets of one connection."""

    def __init__(self, proxy: RecordingProxy) -> None:
        self._proxy = proxy
        self._five = False
        self._in_flight: dict[int, Seen] = {}

    async def to_broker(self, kind: int, _flags: int, body: bytes) -> None:
        if kind == _CONNECT:
            self._five = body[6] == 5
        elif kind == _PUBACK:
            await self._proxy.passed(self._in_flight.pop(int.from_bytes(body[:2])))

    async def to_service(self, kind: int, flags: int, body: bytes) -> None:
        if kind != _PUBLISH or not flags & 0b0010:
            return
        end = 2 + int.from_bytes(body[:2])
        packet_id, rest = int.from_bytes(body[end : end + 2]), body[end + 2 :]
        if self._five:
            size, used = _variable_integer(rest)
            rest = rest[used + size :]
        seen = Seen(body[2:end].decode(), rest)
        self._in_flight[packet_id] = seen
        self._proxy.published.append(seen)


async def _forward(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, look: Callable[[int, int, bytes], Awaitable[None]]
) -> None:
    with contextlib.suppress(OSError):
        async for head, body in _packets(reader):
            await look(head[0] >> 4, head[0] & 0x0F, body)
            writer.write(head + body)
            await writer.drain()
        writer.write_eof()


async def _packets(reader: asyncio.StreamReader) -> AsyncIterator[tuple[bytes, bytes]]:
    while head := await reader.read(1):
        while len(head) < 2 or head[-1] & 0x80:
            head += await reader.readexactly(1)
        yield head, await reader.readexactly(_variable_integer(head[1:])[0])


def _variable_integer(data: bytes) -> tuple[int, int]:
    """Decode a variable byte integer (MQTT 5 section 1.5.5): its value and its length."""
    value = 0
    for used, byte in enumerate(data, 1):
        value += (byte & 0x7F) << 7 * (used - 1)
        if not byte & 0x80:
            return value, used
    raise ValueError("no end")
