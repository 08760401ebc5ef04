"""A session at the broker as its client sees it; it outlives connections. No I/O and no clock."""

import mqtt5

from core.mqtt.mqtt5_inbound import Inbound
from core.mqtt.mqtt5_outbound import Outbound
from core.mqtt.mqtt5_packets import Limits

__all__ = ["Session"]


class Session:
    """Both halves of a session: what is received and what is published.

    Call ``begin`` when a connection stands and ``end`` when it is over. What there is to send gathers
    and is taken by ``take``, in order.

    Args:
        topic_alias_max: The highest topic alias that the broker may use.
    """

    def __init__(self, topic_alias_max: int = 0) -> None:
        self._output: list[bytes] = []
        self.inbound = Inbound(topic_alias_max)
        self.outbound = Outbound(self._output)

    def __repr__(self) -> str:
        return f"<Session {self.inbound!r} {self.outbound!r}>"

    def begin(self, limits: Limits, *, kept: bool) -> None:
        """A connection stands.

        Args:
            limits: What the broker allows on it.
            kept: Whether the broker kept the session.
        """
        self._output.clear()
        self.inbound.begin(kept=kept)
        self.outbound.begin(limits, kept=kept)

    def end(self) -> None:
        """The connection is over."""
        self._output.clear()
        self.outbound.end()

    def take(self) -> bytes:
        """Take what there is to send."""
        octets = b"".join(self._output)
        self._output.clear()
        return octets

    def receive(self, packet: mqtt5.Packet) -> bool:
        """Take in an acknowledgement, of whichever direction.

        Returns:
            Whether the packet was one.

        Raises:
            ProtocolError: It is out of place.
        """
        if isinstance(packet, mqtt5.PubAckPacket):
            self.outbound.acknowledged(packet.packet_id, int(packet.reason_code), _reason(packet))
        elif isinstance(packet, mqtt5.PubRelPacket):
            self._output.append(self.inbound.release(packet.packet_id))
        elif isinstance(packet, mqtt5.PubRecPacket):
            self.outbound.recorded(packet.packet_id, int(packet.reason_code), _reason(packet))
        elif isinstance(packet, mqtt5.PubCompPacket):
            self.outbound.completed(packet.packet_id)
        else:
            return False
        return True

    def repeated(self, packet_id: int) -> None:
        """Answer a QoS 2 PUBLISH that was delivered before."""
        if answer := self.inbound.repeated(packet_id):
            self._output.append(answer)


def _reason(packet: mqtt5.PubAckPacket | mqtt5.PubRecPacket) -> str:
    return packet.reason_str or f"{packet.reason_code.name.replace('_', ' ').lower()} (0x{int(packet.reason_code):02X})"
