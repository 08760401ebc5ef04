"""The simulated broker: one session with its queue, and a wire that can be cut."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import mqtt5

from core.message import Message
from core.mqtt.connection import Capabilities, Publication, Subscription
from core.mqtt.mqtt5_inbound import Inbound

__all__ = ["Sent", "SimulatedBroker", "Wire"]

_PUBACK, _PUBREC, _PUBCOMP = 0x40, 0x50, 0x70
_QOS = {_PUBACK: 1, _PUBREC: 2}


class Sent(NamedTuple):
    """A message that the broker was given."""

    number: int
    lane: int
    qos: int


@dataclass
class _InFlight:
    sent: Sent
    recorded: bool = False  # QoS 2: PUBREC has come, only the identifier is in use


class Wire:
    """A connection as the subscriber knows it; what it keeps of the session is the real driver's.

    Attributes:
        deaf: Whether what is sent on it gets lost, though nobody has noticed.
        paused: Whether the service reads nothing.
        expected: Packet ids in the order of receipt, by QoS.
    """

    capabilities = Capabilities(properties=True, subscription_ids=True, retain_handling=True, max_qos=2)

    def __init__(
        self,
        broker: "SimulatedBroker",
        inbound: Inbound,
        on_message: Callable[[Message], None],
        generation: int,
        kept: bool,
    ) -> None:
        inbound.begin(kept=kept)
        self.session_present = kept
        self.deaf = False
        self.paused = False
        self.expected: dict[int, deque[int]] = {1: deque(), 2: deque()}
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._broker = broker
        self._inbound = inbound
        self._on_message = on_message
        self._generation = generation

    # --- what the subscriber asks for ---

    async def subscribe(self, subscriptions: Sequence[Subscription]) -> list[int]:
        return [subscription.qos for subscription in subscriptions]

    async def unsubscribe(self, filters: Sequence[str]) -> None:
        raise AssertionError("nothing is to be unsubscribed")

    async def publish(self, publication: Publication) -> None:
        raise AssertionError("nothing is to be published")

    def acknowledge(self, messages: Sequence[Message]) -> None:
        self._send(self._inbound.acknowledge(messages))

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False

    async def closed(self) -> None:
        await asyncio.shield(self.ended)

    async def close(self) -> None:
        self._broker.hang_up(self)

    # --- what the broker sends ---

    def deliver(self, packet: mqtt5.PublishPacket) -> None:
        """PUBLISH comes in."""
        message = self._inbound.message(packet, self._generation, 0.0)
        if message is not None:
            self._on_message(message)
        elif packet.packet_id is not None:
            self._send(self._inbound.repeated(packet.packet_id))

    def release(self, packet_id: int) -> None:
        """PUBREL comes in."""
        assert self._inbound.release(packet_id)[0] == _PUBCOMP

    def _send(self, octets: bytes) -> None:
        for start in range(0, len(octets), 4):
            self._broker.take(self, octets[start], int.from_bytes(octets[start + 2 : start + 4]))


class SimulatedBroker:
    """Keeps a queue, sends what was not acknowledged again after a reconnect, and reuses packet ids at once.

    Args:
        receive_maximum: Messages in flight at most.
        acknowledged: Called with the number of each message that counts as done.
    """

    def __init__(self, receive_maximum: int, acknowledged: Callable[[int], None]) -> None:
        self._receive_maximum = receive_maximum
        self._acknowledged = acknowledged
        self._queue: deque[Sent] = deque()
        self._in_flight: dict[int, _InFlight] = {}
        self._again: deque[int] = deque()
        self._releases: deque[int] = deque()
        self._new = True
        self.wire: Wire | None = None
        #: Messages that it has forgotten, acknowledged by nobody.
        self.lost: set[int] = set()
        self.redelivered = 0

    @property
    def empty(self) -> bool:
        """Whether nothing is queued or on its way."""
        return not self._queue and not self._in_flight

    def publish(self, sent: Sent) -> None:
        """A device publishes."""
        self._queue.append(sent)

    def lose_session(self) -> None:
        """Forget everything, as a broker without a store does."""
        self.lost |= {flight.sent.number for flight in self._in_flight.values() if not flight.recorded}
        self.lost |= {sent.number for sent in self._queue}
        self._queue.clear()
        self._in_flight.clear()
        self._new = True

    def connect(self, inbound: Inbound, on_message: Callable[[Message], None], generation: int) -> Wire:
        """The client is there again: what it did not acknowledge comes again first, in the old order."""
        kept, self._new = not self._new, False
        self._again = deque(number for number, flight in self._in_flight.items() if not flight.recorded)
        self._releases = deque(number for number, flight in self._in_flight.items() if flight.recorded)
        self.wire = Wire(self, inbound, on_message, generation, kept)
        return self.wire

    def hang_up(self, wire: Wire) -> None:
        """A connection is over."""
        if self.wire is wire:
            self.wire = None

    def deliver(self) -> bool:
        """Send the next packet; returns whether there was one."""
        wire = self.wire
        if wire is None or wire.deaf or wire.paused:
            return False
        if self._releases:
            packet_id = self._releases.popleft()
            del self._in_flight[packet_id]
            wire.release(packet_id)
        elif self._again:
            packet_id = self._again.popleft()
            self.redelivered += 1
            self._send(wire, packet_id, again=True)
        elif self._queue and len(self._in_flight) < self._receive_maximum:
            packet_id = next(number for number in range(1, 65_536) if number not in self._in_flight)
            self._in_flight[packet_id] = _InFlight(self._queue.popleft())
            self._send(wire, packet_id, again=False)
        else:
            return False
        return True

    def _send(self, wire: Wire, packet_id: int, *, again: bool) -> None:
        sent = self._in_flight[packet_id].sent
        wire.expected[sent.qos].append(packet_id)
        payload = str(sent.number).encode()
        qos = mqtt5.QoS(sent.qos)
        wire.deliver(mqtt5.PublishPacket(f"s/{sent.lane}", payload, qos=qos, packet_id=packet_id, duplicate=again))

    def take(self, wire: Wire, kind: int, packet_id: int) -> None:
        """An acknowledgement comes in; what is written into a connection that is gone gets lost."""
        if wire is not self.wire or wire.deaf:
            return
        qos = _QOS[kind]
        expected = wire.expected[qos].popleft()
        assert packet_id == expected, f"{packet_id} was acknowledged before {expected}, which was received first"
        flight = self._in_flight[packet_id]
        assert flight.sent.qos == qos, "a PUBACK for QoS 2, or a PUBREC for QoS 1"
        self._acknowledged(flight.sent.number)
        if qos == 1:
            del self._in_flight[packet_id]
        else:
            flight.recorded = True
            self._releases.append(packet_id)
