"""A proxy between the service and the broker that reads along: which message, which acknowledgement, when."""

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from benchmarks.load.wire import CONNECT, PUBACK, PUBLISH, Framer, kind, level, packet_id, publication
from tests.faults.proxy import FaultProxy


class Seen(NamedTuple):
    """A message on its way to the service."""

    topic: str
    payload: bytes


class RecordingProxy(FaultProxy):
    """Forwards every byte both ways; before a PUBACK goes on, ``on_acknowledged`` is asked.

    Attributes:
        published: QoS 1 messages sent to clients, in order.
        acknowledged: The messages whose PUBACKs passed, in order.
    """

    def __init__(self, broker_port: int, on_acknowledged: Callable[[Seen], Awaitable[None]]) -> None:
        super().__init__(broker_port, lambda link: _Recording(self))
        self.published: list[Seen] = []
        self.acknowledged: list[Seen] = []
        self._on_acknowledged = on_acknowledged

    async def passed(self, seen: Seen) -> None:
        """A PUBACK is about to go on."""
        await self._on_acknowledged(seen)
        self.acknowledged.append(seen)


class _Recording:
    """Understands the packets of one connection."""

    def __init__(self, proxy: RecordingProxy) -> None:
        self._proxy = proxy
        self._broker, self._service = Framer(), Framer()
        self._level = 5
        self._in_flight: dict[int, Seen] = {}

    async def to_server(self, octets: bytes) -> bytes:
        for packet in self._service.feed(octets):
            if kind(packet) == CONNECT:
                self._level = level(packet)
            elif kind(packet) == PUBACK:
                await self._proxy.passed(self._in_flight.pop(packet_id(packet)))
        return octets

    async def to_client(self, octets: bytes) -> bytes:
        for packet in self._broker.feed(octets):
            if kind(packet) == PUBLISH and packet[0] & 0b0010:
                message = publication(packet, self._level)
                seen = Seen(message.topic, message.payload)
                self._in_flight[message.packet_id] = seen
                self._proxy.published.append(seen)
        return octets
