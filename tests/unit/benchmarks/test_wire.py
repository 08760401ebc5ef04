"""The harness reads MQTT as the codec writes it."""

import mqtt5
import pytest

from benchmarks.load.wire import CONNECT, PUBACK, PUBLISH, Framer, kind, level, packet_id, publication

QOS_1 = mqtt5.QoS.AT_LEAST_ONCE
MQTT_311_CONNECT = bytes.fromhex("10 0c 0004 4d515454 04 02 000f 0000")
MQTT_311_PUBLISH = b"\x32\x09\x00\x03a/b\x00\x07{}"


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_packets_are_cut_out_of_a_stream_however_it_arrives(size: int) -> None:
    """Packets come out whole and in order, whatever the pieces are that they come in."""
    packets = [
        mqtt5.ConnectPacket("client").write(),
        mqtt5.PublishPacket("a/b", b"x" * 300, qos=QOS_1, packet_id=7).write(),
        mqtt5.PubAckPacket(7).write(),
    ]
    stream = b"".join(packets)
    framer = Framer()
    found = [packet for at in range(0, len(stream), size) for packet in framer.feed(stream[at : at + size])]
    assert packets == found
    assert [CONNECT, PUBLISH, PUBACK] == [kind(packet) for packet in found]


def test_a_publication_of_mqtt_5_is_read() -> None:
    """Properties stand between packet id and payload."""
    packet = mqtt5.PublishPacket("a/b", b"{}", qos=QOS_1, packet_id=300, subscription_ids=[5]).write()
    assert (300, "a/b", b"{}") == publication(packet, 5)


def test_a_publication_of_mqtt_311_is_read() -> None:
    """There are no properties."""
    assert (7, "a/b", b"{}") == publication(MQTT_311_PUBLISH, 4)


def test_a_publication_without_acknowledgement_has_no_id() -> None:
    """QoS 0 has no packet id on the wire."""
    assert (0, "a/b", b"{}") == publication(mqtt5.PublishPacket("a/b", b"{}").write(), 5)


def test_an_acknowledgement_names_its_publication() -> None:
    """The packet id is all that matters."""
    assert 513 == packet_id(mqtt5.PubAckPacket(513).write())


@pytest.mark.parametrize(("packet", "expected"), [(mqtt5.ConnectPacket("c").write(), 5), (MQTT_311_CONNECT, 4)])
def test_the_protocol_level_is_known_from_the_first_packet(packet: bytes, expected: int) -> None:
    """It decides whether there are properties."""
    assert expected == level(packet)
