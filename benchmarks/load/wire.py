"""Just enough of MQTT 3.1.1 and 5 to watch a connection: packets, publications and acknowledgements."""

from typing import NamedTuple

__all__ = ["CONNECT", "DUP", "PUBACK", "PUBLISH", "Framer", "Publication", "kind", "level", "packet_id", "publication"]

CONNECT, PUBLISH, PUBACK = 1, 3, 4
#: Bit of a PUBLISH's first byte: it was sent before.
DUP = 0b1000
MQTT_5 = 5


class Publication(NamedTuple):
    """A PUBLISH; ``packet_id`` is 0 for QoS 0."""

    packet_id: int
    topic: str
    payload: bytes


class Framer:
    """Cuts a stream of bytes into packets."""

    def __init__(self) -> None:
        # Grows in place: a packet of many megabytes comes in small pieces.
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Take bytes and return the packets that are complete now."""
        self._rest += data
        packets = []
        start = 0
        while (end := _end(self._rest, start)) is not None:
            packets.append(bytes(self._rest[start:end]))
            start = end
        del self._rest[:start]
        return packets


def kind(packet: bytes) -> int:
    """The packet's type."""
    return packet[0] >> 4


def level(connect: bytes) -> int:
    """The protocol level of a CONNECT: 4 for MQTT 3.1.1, 5 for MQTT 5."""
    _, start = _number(connect, 1)
    return connect[start + 2 + int.from_bytes(connect[start : start + 2], "big")]


def packet_id(puback: bytes) -> int:
    """Which publication a PUBACK acknowledges."""
    return int.from_bytes(puback[2:4], "big")


def publication(packet: bytes, protocol_level: int) -> Publication:
    """Take a PUBLISH apart.

    Args:
        packet: The whole packet.
        protocol_level: 5 when there are properties.
    """
    _, start = _number(packet, 1)
    end = start + 2 + int.from_bytes(packet[start : start + 2], "big")
    topic = packet[start + 2 : end].decode()
    identifier = 0
    if packet[0] & 0b110:
        identifier = int.from_bytes(packet[end : end + 2], "big")
        end += 2
    if protocol_level >= MQTT_5:
        length, after = _number(packet, end)
        end = after + length
    return Publication(identifier, topic, packet[end:])


def _end(data: bytes | bytearray, start: int) -> int | None:
    try:
        length, body = _number(data, start + 1)
    except IndexError:
        return None
    return body + length if body + length <= len(data) else None


def _number(data: bytes | bytearray, position: int) -> tuple[int, int]:
    """Read a variable byte integer (MQTT 5 section 1.5.5); returns it and the position after it."""
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, position
