"""What the broker publishes to us: topic aliases, and QoS 2 received exactly once. No I/O."""

from collections.abc import Sequence

import mqtt5

from core.exceptions import ProtocolError
from core.message import Message
from core.mqtt.mqtt5_codec import OversizePublish

__all__ = ["Inbound"]

# Written by hand: the shortest way there is, and half the time of the codec.
_PUBACK = b"\x40\x02"
_PUBREC = b"\x50\x02"
_PUBCOMP = b"\x70\x02"
_PUBCOMP_UNKNOWN = b"\x70\x03"
_PACKET_ID_NOT_FOUND = b"\x92"


class Inbound:
    """The receiving half of a session; it outlives connections.

    A QoS 2 message passes two states. *Delivered*: the engine has it, nothing was answered; when the
    connection is lost, the broker publishes it again. *Recorded*: PUBREC was sent; the broker must not
    publish it again as new, and a repetition (DUP) is answered and not delivered, until PUBREL releases
    the identifier (MQTT 5 section 4.3.3).

    Args:
        topic_alias_max: The highest topic alias that the broker may use.
    """

    def __init__(self, topic_alias_max: int = 0) -> None:
        self._topic_alias_max = topic_alias_max
        self._aliases: dict[int, str] = {}
        self._delivered: set[int] = set()
        self._recorded: set[int] = set()

    def __repr__(self) -> str:
        return f"<Inbound delivered={len(self._delivered)} recorded={len(self._recorded)}>"

    def begin(self, *, kept: bool) -> None:
        """Start on a new connection.

        Args:
            kept: Whether the broker kept the session.
        """
        self._aliases.clear()
        self._delivered.clear()
        if not kept:
            self._recorded.clear()

    def message(self, packet: mqtt5.PublishPacket, generation: int, received_at: float) -> Message | None:
        """Make a message of a PUBLISH.

        Args:
            packet: The packet.
            generation: Which connection it came on.
            received_at: Seconds since 1970.

        Returns:
            The message, or ``None`` for a repetition that must not be delivered; ask ``repeated`` then.

        Raises:
            ProtocolError: A topic alias is not allowed, or unknown.
        """
        topic = packet.topic
        alias = packet.topic_alias
        if alias is not None:
            topic = self._resolve(alias, topic)
        packet_id = packet.packet_id
        if packet_id is None:
            packet_id = qos = 0
        else:
            qos = int(packet.qos)
            if qos == 2 and not self._deliver(packet_id, repetition=packet.duplicate):
                return None
        # In the order of the fields: keywords take a quarter longer, and this runs for every message.
        return Message(
            topic,
            packet.payload,
            qos,
            packet.retain,
            packet.duplicate,
            packet_id,
            generation,
            received_at,
            tuple(packet.subscription_ids),
            packet.response_topic,
            packet.correlation_data,
            packet.content_type,
            tuple(packet.user_properties),
        )

    def oversize(self, publish: OversizePublish, generation: int, received_at: float) -> Message | None:
        """Make a message of a PUBLISH that was too large to be kept; else as ``message``."""
        message = self.message(publish.packet, generation, received_at)
        if message is None:
            return None
        fields = {name: getattr(message, name) for name in message.__struct_fields__}
        return Message(**fields | {"truncated_size": publish.size, "digest": publish.digest})

    def _resolve(self, alias: int, topic: str) -> str:
        if alias > self._topic_alias_max:
            raise ProtocolError(f"the broker used the topic alias {alias} of {self._topic_alias_max} allowed", 0x94)
        if topic:
            self._aliases[alias] = topic
            return topic
        if alias not in self._aliases:
            raise ProtocolError(f"the broker used the topic alias {alias} before it named its topic", 0x82)
        return self._aliases[alias]

    def _deliver(self, packet_id: int, *, repetition: bool) -> bool:
        if repetition and (packet_id in self._recorded or packet_id in self._delivered):
            return False
        # Without the DUP flag it is another message (MQTT-3.3.1-1): the broker forgot the old one.
        self._recorded.discard(packet_id)
        self._delivered.add(packet_id)
        return True

    def repeated(self, packet_id: int) -> bytes:
        """Answer a repeated QoS 2 PUBLISH.

        Returns:
            PUBREC again, or nothing while the engine still has the message: its acknowledgement answers.
        """
        return _PUBREC + packet_id.to_bytes(2) if packet_id in self._recorded else b""

    def acknowledge(self, messages: Sequence[Message]) -> bytes:
        """Take note that the engine is done with messages of this connection.

        Returns:
            The PUBACKs (QoS 1) and PUBRECs (QoS 2), in the given order.
        """
        octets: list[bytes] = []
        for message in messages:
            packet_id = message.packet_id
            if message.qos == 1:
                octets.append(_PUBACK + packet_id.to_bytes(2))
            elif message.qos == 2:
                self._delivered.discard(packet_id)
                self._recorded.add(packet_id)
                octets.append(_PUBREC + packet_id.to_bytes(2))
        return b"".join(octets)

    def release(self, packet_id: int) -> bytes:
        """Let a QoS 2 identifier go, because the broker has sent PUBREL.

        Returns:
            PUBCOMP; for an unknown identifier the one that says so (0x92): after a restart of this
            process none is known, and the answer lets the broker finish.
        """
        octets = packet_id.to_bytes(2)
        if packet_id in self._recorded:
            self._recorded.discard(packet_id)
            return _PUBCOMP + octets
        return _PUBCOMP_UNKNOWN + octets + _PACKET_ID_NOT_FOUND
