"""A broker with one client: keeps its session, delivers and delivers again, and checks every acknowledgement."""

import asyncio
import random
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import mqtt5

from core import topics
from core.mqtt.mqtt5_codec import FROM_CLIENT, Decoder
from tests.faults.simulation.ledger import Fact, Ledger
from tests.faults.simulation.loop import Events
from tests.faults.simulation.network import Link

__all__ = ["Broker"]


@dataclass(eq=False)
class Delivery:
    """One copy of a message on its way to the client.

    Attributes:
        fact: The message.
        qos: That of the copy.
        identifiers: The subscriptions that it is for.
        packet_id: 0 until it is sent.
        recorded: Whether PUBREC has come (QoS 2).
    """

    fact: Fact
    qos: int
    identifiers: list[int]
    packet_id: int = 0
    recorded: bool = False


class Broker:
    """The broker.

    Args:
        events: The world's.
        chance: Says how long bytes take.
        ledger: Told of broken rules.

    Attributes:
        up: Whether it accepts connections.
        greed: By how much it exceeds Receive Maximum.
        redelivered: Messages that were sent again as such.
        merges: Whether it sends one copy for all matching subscriptions together.
    """

    def __init__(self, events: Events, chance: random.Random, ledger: Ledger) -> None:
        self._events = events
        self._chance = chance
        self._ledger = ledger
        self.up = True
        self.greed = 1
        self.merges = False
        self.redelivered = 0
        #: What an earlier version of the service has subscribed.
        self._subscriptions: dict[str, tuple[int, int]] = {"old/#": (1, 0)}
        self._session = True
        self._queue: deque[Delivery] = deque()
        self._flying: dict[int, Delivery] = {}
        self._link: Link | None = None
        self._decoder = Decoder(FROM_CLIENT)
        self._awaited: dict[int, deque[int]] = {1: deque(), 2: deque()}
        self._receive_maximum = 1
        self._subscribed = False
        self._last_id = 0

    def __repr__(self) -> str:
        return (
            f"<Broker up={self.up} queued={len(self._queue)} flying={len(self._flying)} link={self._link is not None}>"
        )

    @property
    def idle(self) -> bool:
        """Whether it has nothing left to deliver, and everything is acknowledged."""
        return not self._queue and not self._flying

    @property
    def waiting(self) -> list[Fact]:
        """What it still has to deliver, or to have acknowledged."""
        return [delivery.fact for delivery in (*self._flying.values(), *self._queue)]

    # --- the world ---

    def publish(self, fact: Fact) -> None:
        """Take a message over, for whatever subscriptions there are."""
        matching = [held for name, held in self._subscriptions.items() if topics.matches(name, fact.topic)]
        if not matching:
            return
        if self.merges:
            matching_ids = [identifier for _, identifier in matching if identifier]
            copies = [Delivery(fact, min(fact.qos, max(qos for qos, _ in matching)), matching_ids)]
        else:
            copies = [Delivery(fact, min(fact.qos, qos), [name] if name else []) for qos, name in matching]
        fact.tracked = fact.tracked or all(copy.qos for copy in copies)
        fact.copies += sum(1 for copy in copies if copy.qos)
        if self._link is None:
            copies = [copy for copy in copies if copy.qos]
        self._queue += copies
        self._pump()

    def lose_session(self) -> None:
        """Forget the client, and cut it off."""
        for fact in self.waiting:
            fact.tracked, fact.copies = False, 0
        self._queue.clear()
        self._flying.clear()
        self._subscriptions.clear()
        self._session = False
        self.cut()

    def renumber(self) -> None:
        """Cut the client off and forget what was sent: it will be sent as if for the first time."""
        self._ledger.anonymous_redelivery = True
        self.cut()
        again = [delivery for delivery in self._flying.values() if not delivery.recorded]
        self._flying = {name: delivery for name, delivery in self._flying.items() if delivery.recorded}
        for delivery in again:
            delivery.packet_id = 0
        self._queue.extendleft(reversed(again))

    def cut(self) -> None:
        """Cut the connection."""
        if self._link is not None:
            self._link.cut(ConnectionResetError("cut"))

    def silence(self) -> None:
        """Let everything that is sent on this connection vanish from now on, in both directions."""
        if self._link is not None:
            self._link.mute = True

    async def connect(self, factory: Callable[[], asyncio.BufferedProtocol]) -> Any:
        """Accept a connection, or not."""
        await asyncio.sleep(self._chance.random() * 0.01)
        if not self.up:
            raise ConnectionRefusedError("nobody listens")
        protocol = factory()
        link = Link(self._events, self._chance, protocol, self._take, self._ended)
        protocol.connection_made(link)
        return link, protocol

    # --- packets ---

    def _take(self, link: Link, octets: bytes) -> None:
        if self._link is not link:
            if self._link is not None:
                self._link.cut(ConnectionResetError("taken over"))
            # Its first packet will be CONNECT.
            self._link, self._decoder = link, Decoder(FROM_CLIENT)
        self._decoder.feed(octets)
        while self._link is link and (packet := self._decoder.next()) is not None:
            self._react(link, packet)

    def _ended(self, link: Link) -> None:
        if self._link is link:
            self._link = None
            self._subscribed = False
            self._queue = deque(delivery for delivery in self._queue if delivery.qos)

    def _react(self, link: Link, packet: Any) -> None:
        if isinstance(packet, mqtt5.DisconnectPacket):
            link.cut(None)
        elif isinstance(packet, mqtt5.PingReqPacket):
            link.send(mqtt5.PingRespPacket().write())
        else:
            _REACTIONS[type(packet)](self, link, packet)

    def _take_puback(self, _link: Link, packet: mqtt5.PubAckPacket) -> None:
        self._acknowledged(packet.packet_id, 1)

    def _take_pubrec(self, link: Link, packet: mqtt5.PubRecPacket) -> None:
        if (delivery := self._acknowledged(packet.packet_id, 2)) is not None:
            delivery.recorded = True
        link.send(mqtt5.PubRelPacket(packet.packet_id).write())

    def _take_pubcomp(self, _link: Link, packet: mqtt5.PubCompPacket) -> None:
        if (delivery := self._flying.get(packet.packet_id)) is not None and delivery.recorded:
            del self._flying[packet.packet_id]
        self._pump()

    def _unsubscribe(self, link: Link, packet: mqtt5.UnsubscribePacket) -> None:
        for name in packet.patterns:
            self._subscriptions.pop(name, None)
        codes = [mqtt5.UnsubAckReasonCode.SUCCESS for _ in packet.patterns]
        link.send(mqtt5.UnsubAckPacket(packet.packet_id, codes).write())

    def _accept(self, link: Link, packet: mqtt5.ConnectPacket) -> None:
        link.send(mqtt5.ConnAckPacket(session_present=self._session, topic_alias_max=0).write())
        self._session = True
        self._subscribed = False
        self._receive_maximum = packet.receive_max
        self._awaited = {1: deque(), 2: deque()}
        for delivery in self._flying.values():
            if delivery.recorded:
                link.send(mqtt5.PubRelPacket(delivery.packet_id).write())
            else:
                self._send(link, delivery, again=True)
        self._pump()

    def _subscribe(self, link: Link, packet: mqtt5.SubscribePacket) -> None:
        codes = []
        for topic_filter in packet.topic_filters:
            self._subscriptions[topic_filter.pattern] = int(topic_filter.max_qos), packet.subscription_id or 0
            codes.append(mqtt5.SubAckReasonCode(int(topic_filter.max_qos)))
        link.send(mqtt5.SubAckPacket(packet.packet_id, codes).write())
        self._subscribed = True
        self._pump()

    def _pump(self) -> None:
        """Send what may be sent."""
        quota = self._receive_maximum * (self.greed if self._subscribed else 1)
        while self._link is not None and self._queue and (not self._queue[0].qos or len(self._flying) < quota):
            delivery = self._queue.popleft()
            if delivery.qos:
                # The lowest that is free: they are used again as soon as can be.
                delivery.packet_id = next(i for i in range(1, 65_536) if i not in self._flying)
                self._flying[delivery.packet_id] = delivery
            self._send(self._link, delivery, again=False)

    def _send(self, link: Link, delivery: Delivery, *, again: bool) -> None:
        self.redelivered += again
        if delivery.qos:
            self._awaited[delivery.qos].append(delivery.packet_id)
        packet = mqtt5.PublishPacket(
            delivery.fact.topic,
            delivery.fact.payload,
            qos=mqtt5.QoS(delivery.qos),
            packet_id=delivery.packet_id or None,
            duplicate=again,
            subscription_ids=delivery.identifiers or None,
        )
        link.send(packet.write())

    def _acknowledged(self, packet_id: int, qos: int) -> Delivery | None:
        """Judge a PUBACK or PUBREC."""
        delivery = self._flying.get(packet_id)
        if delivery is None or delivery.qos != qos or delivery.recorded:
            self._ledger.accuse(f"acknowledged QoS {qos} packet {packet_id}, which is not in flight")
            return None
        awaited = self._awaited[qos]
        if awaited[0] != packet_id:
            self._ledger.accuse(f"acknowledged out of order: packet {packet_id} before {awaited[0]}")
            awaited.remove(packet_id)
        else:
            awaited.popleft()
        fact = delivery.fact
        if not fact.settled and fact.copies < 2:
            self._ledger.accuse(f"acknowledged before it was committed: {fact}")
        fact.copies -= 1
        if qos == 1:
            del self._flying[packet_id]
            self._pump()
        return delivery


_REACTIONS: Mapping[type, Callable[[Broker, Link, Any], None]] = {
    mqtt5.ConnectPacket: Broker._accept,
    mqtt5.SubscribePacket: Broker._subscribe,
    mqtt5.UnsubscribePacket: Broker._unsubscribe,
    mqtt5.PubAckPacket: Broker._take_puback,
    mqtt5.PubRecPacket: Broker._take_pubrec,
    mqtt5.PubCompPacket: Broker._take_pubcomp,
}
