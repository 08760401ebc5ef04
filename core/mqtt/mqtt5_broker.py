"""A broker for tests that misbehaves on demand; users know it from ``core.testing``."""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self, TypeVar, cast

import mqtt5

from core.mqtt.mqtt5_codec import FROM_CLIENT, Decoder

__all__ = ["BrokerConnection", "ScriptedBroker", "packets"]

#: The packet classes, for scripts.
packets = mqtt5

Packet = TypeVar("Packet")
Reaction = Callable[["BrokerConnection", Any], None]


class ScriptedBroker:
    """Listens on loopback, speaks MQTT 5, records all it receives and does what the test says.

    By itself it accepts every client, grants every subscription and answers every packet, but routes
    nothing. ``on`` changes a reaction; a connection sends whatever the test wants.

    ::

        async with ScriptedBroker() as broker:
            broker.on(packets.PublishPacket, None)           # hold acknowledgements back
            ...                                              # connect a client to broker.port
            connection = await broker.connection()
            connection.publish("a/b", b"1", qos=1, packet_id=7)
            await connection.expect(packets.PubAckPacket)
            connection.cut()

    Attributes:
        port: The TCP port.
        received: Every packet received, in order, over all connections.
        connections: Every connection so far, in order.
        sessions: Client ids whose session is kept; discard one to lose it.
        connack: Fields for the CONNACK of a connection that is accepted, such as ``receive_max``.
        refusal: The reason code to refuse connections with, or 0.
        suback: The reason code for every subscription instead of the QoS that was asked, or ``None``.
    """

    def __init__(self) -> None:
        self.port = 0
        self.received: list[Any] = []
        self.connections: list[BrokerConnection] = []
        self.sessions: set[str] = set()
        self.connack: dict[str, Any] = {}
        self.refusal = 0
        self.suback: int | None = None
        self._reactions: dict[type, Reaction] = dict(_REACTIONS)
        self._server: asyncio.Server | None = None
        self._changed = asyncio.Event()

    def __repr__(self) -> str:
        return f"<ScriptedBroker port={self.port} connections={len(self.connections)}>"

    async def __aenter__(self) -> Self:
        """Listen on a free port."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: BrokerConnection(self), "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Cut every connection and stop listening."""
        await self.stop()

    async def stop(self) -> None:
        """Cut every connection and listen no more."""
        if self._server is not None:
            self._server.close()
        for connection in self.connections:
            connection.cut()
            await connection.closed.wait()

    def on(self, kind: type[Packet], reaction: "Callable[[BrokerConnection, Packet], None] | None") -> None:
        """Say what happens when a packet of this type comes in; ``None`` for nothing at all."""
        self._reactions[kind] = reaction or _say_nothing

    def reset(self, kind: type) -> None:
        """React to this type of packet as at the beginning."""
        self._reactions[kind] = _REACTIONS[kind]

    async def connection(self, number: int = 1) -> "BrokerConnection":
        """Wait for a connection that has sent CONNECT, counted from 1 in the order of connecting."""
        await self.until(lambda: len(self.connections) >= number and bool(self.connections[number - 1].received))
        return self.connections[number - 1]

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for something that can only change when a packet or the end of a connection comes."""
        while not condition():
            self._changed.clear()
            await self._changed.wait()

    def note(self, connection: "BrokerConnection", packet: object) -> None:
        """Record a packet and react to it."""
        self.received.append(packet)
        connection.received.append(packet)
        self._changed.set()
        self._reactions.get(type(packet), _say_nothing)(connection, packet)

    def changed(self) -> None:
        """Have conditions looked at again."""
        self._changed.set()


class BrokerConnection(asyncio.BufferedProtocol):
    """The broker's end of one connection.

    Attributes:
        received: Every packet received on it, in order.
        client_id: The client's id, once CONNECT is there.
        closed: Set when it is closed.
    """

    def __init__(self, broker: ScriptedBroker) -> None:
        self.broker = broker
        self.received: list[Any] = []
        self.client_id = ""
        self.closed = asyncio.Event()
        self._decoder = Decoder(FROM_CLIENT, max_payload=2**28)
        self._transport: asyncio.Transport | None = None

    def __repr__(self) -> str:
        return f"<BrokerConnection {self.client_id!r} {'closed' if self.closed.is_set() else 'open'}>"

    # --- called by the transport ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take note of the connection."""
        self._transport = cast(asyncio.Transport, transport)
        self.broker.connections.append(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Say where to read to."""
        return self._decoder.room()

    def buffer_updated(self, nbytes: int) -> None:
        """Take in what was read."""
        self._decoder.filled(nbytes)
        while (packet := self._decoder.next()) is not None:
            self.broker.note(self, packet)

    def connection_lost(self, exc: Exception | None) -> None:
        """Take note of the end."""
        self.closed.set()
        self.broker.changed()

    # --- for scripts ---

    async def expect(self, kind: type[Packet], count: int = 1) -> list[Packet]:
        """Wait until so many packets of a type have come in on this connection; returns all of them."""
        await self.broker.until(lambda: len(self.of(kind)) >= count)
        return self.of(kind)

    def of(self, kind: type[Packet]) -> list[Packet]:
        """The packets of a type received so far."""
        return [packet for packet in self.received if isinstance(packet, kind)]

    def send(self, *what: Any) -> None:
        """Send packets, or bytes as they are, in one write."""
        assert self._transport is not None, "the connection is not made"
        self._transport.write(b"".join(item if isinstance(item, bytes) else item.write() for item in what))

    def publish(self, topic: str, payload: bytes = b"", *, qos: int = 0, **fields: Any) -> None:
        """Send a PUBLISH; ``fields`` are those of ``packets.PublishPacket``."""
        self.send(mqtt5.PublishPacket(topic, payload, qos=mqtt5.QoS(qos), **fields))

    def disconnect(self, code: int, **fields: Any) -> None:
        """Send DISCONNECT with a reason code and close."""
        self.send(mqtt5.DisconnectPacket(reason_code=mqtt5.DisconnectReasonCode(code), **fields))
        self.close()

    def close(self) -> None:
        """Close after what was sent."""
        assert self._transport is not None, "the connection is not made"
        self._transport.close()

    def cut(self) -> None:
        """Close at once, as a lost network does."""
        assert self._transport is not None, "the connection is not made"
        self._transport.abort()

    def freeze(self) -> None:
        """Read no more, as a broker does that hangs."""
        assert self._transport is not None, "the connection is not made"
        self._transport.pause_reading()

    def thaw(self) -> None:
        """Read again."""
        assert self._transport is not None, "the connection is not made"
        self._transport.resume_reading()


# --- what a well-behaved broker does ---


def _say_nothing(_connection: BrokerConnection, _packet: object) -> None:
    """Hold the answer back."""


def _accept(connection: BrokerConnection, packet: mqtt5.ConnectPacket) -> None:
    broker, connection.client_id = connection.broker, packet.client_id
    if broker.refusal:
        connection.send(mqtt5.ConnAckPacket(reason_code=mqtt5.ConnAckReasonCode(broker.refusal)))
        connection.close()
        return
    kept = packet.client_id in broker.sessions and not packet.clean_start
    broker.sessions.discard(packet.client_id)
    if packet.session_expiry_interval:
        broker.sessions.add(packet.client_id)
    connection.send(mqtt5.ConnAckPacket(**{"session_present": kept} | broker.connack))


def _grant(connection: BrokerConnection, packet: mqtt5.SubscribePacket) -> None:
    asked = [int(topic_filter.max_qos) for topic_filter in packet.topic_filters]
    codes = asked if connection.broker.suback is None else [connection.broker.suback] * len(asked)
    connection.send(mqtt5.SubAckPacket(packet.packet_id, [mqtt5.SubAckReasonCode(code) for code in codes]))


def _give_up(connection: BrokerConnection, packet: mqtt5.UnsubscribePacket) -> None:
    codes = [mqtt5.UnsubAckReasonCode.SUCCESS for _ in packet.patterns]
    connection.send(mqtt5.UnsubAckPacket(packet.packet_id, codes))


def _take(connection: BrokerConnection, packet: mqtt5.PublishPacket) -> None:
    if packet.packet_id is None:
        return
    answer = mqtt5.PubAckPacket if int(packet.qos) == 1 else mqtt5.PubRecPacket
    connection.send(answer(packet.packet_id))


def _complete(connection: BrokerConnection, packet: mqtt5.PubRelPacket) -> None:
    connection.send(mqtt5.PubCompPacket(packet.packet_id))


def _release(connection: BrokerConnection, packet: mqtt5.PubRecPacket) -> None:
    connection.send(mqtt5.PubRelPacket(packet.packet_id))


def _answer_ping(connection: BrokerConnection, _packet: mqtt5.PingReqPacket) -> None:
    connection.send(mqtt5.PingRespPacket())


def _close(connection: BrokerConnection, _packet: mqtt5.DisconnectPacket) -> None:
    connection.close()


_REACTIONS: dict[type, Reaction] = {
    mqtt5.ConnectPacket: _accept,
    mqtt5.SubscribePacket: _grant,
    mqtt5.UnsubscribePacket: _give_up,
    mqtt5.PublishPacket: _take,
    mqtt5.PubRelPacket: _complete,
    mqtt5.PubRecPacket: _release,
    mqtt5.PingReqPacket: _answer_ping,
    mqtt5.DisconnectPacket: _close,
}
