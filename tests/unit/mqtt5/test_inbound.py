"""Receiving: topic aliases and exactly once, enumerated."""

import itertools
from typing import Any

import mqtt5
import pytest

from core.exceptions import ProtocolError
from core.message import Message
from core.mqtt.mqtt5_codec import Decoder, OversizePublish
from core.mqtt.mqtt5_inbound import Inbound


def _publish(topic: str = "a", payload: bytes = b"", *, qos: int = 0, **fields: Any) -> mqtt5.PublishPacket:
    return mqtt5.PublishPacket(topic, payload, qos=mqtt5.QoS(qos), **fields)


def _read(octets: bytes) -> list[str]:
    """The answers as text."""
    decoder = Decoder()
    decoder.feed(octets)
    answers = []
    while (packet := decoder.next()) is not None:
        code = int(packet.reason_code)  # type: ignore[union-attr]
        name = type(packet).__name__.removesuffix("Packet").upper()
        answers.append(f"{name} {packet.packet_id}" + (f" 0x{code:02X}" if code else ""))  # type: ignore[union-attr]
    return answers


def _deliver(inbound: Inbound, packet: mqtt5.PublishPacket) -> Message:
    message = inbound.message(packet, 1, 0.0)
    assert message is not None
    return message


def test_a_message_carries_all_that_the_packet_said() -> None:
    """Every field arrives, as plain Python values."""
    packet = _publish(
        "a/b",
        b"1",
        qos=1,
        retain=True,
        duplicate=True,
        packet_id=7,
        subscription_ids=[1, 300],
        response_topic="r",
        correlation_data=b"c",
        content_type="t",
        user_properties=[("k", "v")],
    )
    message = Inbound().message(packet, 3, 12.5)
    expected = Message(
        topic="a/b",
        payload=b"1",
        qos=1,
        retain=True,
        dup=True,
        packet_id=7,
        generation=3,
        received_at=12.5,
        subscription_ids=(1, 300),
        response_topic="r",
        correlation_data=b"c",
        content_type="t",
        user_properties=(("k", "v"),),
    )
    assert expected == message
    assert type(message.qos) is int


def test_an_oversize_publish_becomes_a_marked_message() -> None:
    """The engine sees what it was and how large, and can acknowledge it."""
    inbound = Inbound()
    publish = OversizePublish(_publish("a", b"begin", qos=2, packet_id=3), 99, b"digest")
    message = inbound.oversize(publish, 1, 2.0)
    expected = Message("a", b"begin", 2, False, False, 3, 1, 2.0, truncated_size=99, digest=b"digest")
    assert expected == message
    assert None is inbound.oversize(
        OversizePublish(_publish("a", b"begin", qos=2, packet_id=3, duplicate=True), 99, b"digest"), 1, 2.0
    )


# --- topic aliases ---


def test_an_alias_stands_for_the_topic_it_was_given_with() -> None:
    """And can be given to another topic later (MQTT 5 section 3.3.2.3.4)."""
    inbound = Inbound(topic_alias_max=2)
    topics = [
        _deliver(inbound, _publish(topic, topic_alias=alias)).topic
        for topic, alias in [("a", 1), ("b", 2), ("", 1), ("", 2), ("c", 1), ("", 1)]
    ]
    assert ["a", "b", "a", "b", "c", "c"] == topics


def test_aliases_end_with_the_connection() -> None:
    """A new connection knows none, even with the session kept."""
    inbound = Inbound(topic_alias_max=1)
    inbound.message(_publish("a", topic_alias=1), 1, 0)
    inbound.begin(kept=True)
    with pytest.raises(ProtocolError, match="before it named its topic"):
        inbound.message(_publish("", topic_alias=1), 2, 0)


@pytest.mark.parametrize(("topic", "alias", "code"), [("a", 3, 0x94), ("", 3, 0x94), ("", 1, 0x82)])
def test_a_wrong_alias_is_a_protocol_error(topic: str, alias: int, code: int) -> None:
    """Too high, or not known yet; the codec refuses 0 and an empty topic without one."""
    with pytest.raises(ProtocolError) as caught:
        Inbound(topic_alias_max=2).message(_publish(topic, topic_alias=alias), 1, 0)
    assert code == caught.value.code


# --- acknowledging ---


def test_acknowledgements_go_out_in_the_given_order() -> None:
    """QoS 1 gets PUBACK, QoS 2 PUBREC, QoS 0 nothing."""
    inbound = Inbound()
    messages = [
        _deliver(inbound, _publish(qos=qos, packet_id=packet_id))
        for qos, packet_id in [(1, 5), (2, 1), (0, None), (1, 65_535), (2, 258)]
    ]
    expected = b"".join(
        packet.write()
        for packet in (
            mqtt5.PubAckPacket(5),
            mqtt5.PubRecPacket(1),
            mqtt5.PubAckPacket(65_535),
            mqtt5.PubRecPacket(258),
        )
    )
    assert expected == inbound.acknowledge(messages)


# --- exactly once: every sequence of events against a table of what must happen ---

# State of identifier 1: none, delivered (the engine has it), recorded (PUBREC sent).
# Event -> state -> (next state, what happens).
_TABLE = {
    "publish": {
        "none": ("delivered", "message"),
        "delivered": ("delivered", "message"),
        "recorded": ("delivered", "message"),
    },
    "repeat": {
        "none": ("delivered", "message"),
        "delivered": ("delivered", "-"),
        "recorded": ("recorded", "PUBREC 1"),
    },
    "acknowledge": {
        "none": ("recorded", "PUBREC 1"),
        "delivered": ("recorded", "PUBREC 1"),
        "recorded": ("recorded", "PUBREC 1"),
    },
    "release": {
        "none": ("none", "PUBCOMP 1 0x92"),
        "delivered": ("delivered", "PUBCOMP 1 0x92"),
        "recorded": ("none", "PUBCOMP 1"),
    },
    "reconnect": {"none": ("none", "-"), "delivered": ("none", "-"), "recorded": ("recorded", "-")},
    "session lost": {"none": ("none", "-"), "delivered": ("none", "-"), "recorded": ("none", "-")},
}


def _do(inbound: Inbound, event: str) -> str:
    if event in {"publish", "repeat"}:
        packet = _publish(qos=2, packet_id=1, duplicate=event == "repeat")
        if inbound.message(packet, 1, 0) is not None:
            return "message"
        return ", ".join(_read(inbound.repeated(1))) or "-"
    if event == "acknowledge":
        return ", ".join(_read(inbound.acknowledge([Message("a", b"", qos=2, packet_id=1)])))
    if event == "release":
        return ", ".join(_read(inbound.release(1)))
    inbound.begin(kept=event == "reconnect")
    return "-"


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5])
def test_every_sequence_of_events_keeps_to_the_table(length: int) -> None:
    """All sequences of up to five events (7,776 of the longest); another identifier is never touched."""
    for events in itertools.product(_TABLE, repeat=length):
        inbound, state = Inbound(), "none"
        for event in events:
            state, expected = _TABLE[event][state]
            assert expected == _do(inbound, event), events
        assert ["PUBCOMP 2 0x92"] == _read(inbound.release(2))


def test_after_a_restart_a_release_is_answered_as_unknown() -> None:
    """A new process knows no identifiers; the answer lets the broker finish its flow."""
    assert ["PUBCOMP 77 0x92"] == _read(Inbound().release(77))
