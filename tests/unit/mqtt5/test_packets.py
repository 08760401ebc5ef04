"""The packets we write, read back through the codec."""

from typing import Any

import mqtt5
import pytest

from core.mqtt.connection import Publication, Subscription
from core.mqtt.mqtt5_packets import (
    Limits,
    connect_packet,
    disconnect_packet,
    limits_of,
    publish_packet,
    subscribe_packet,
    subscription_batches,
    unsubscribe_batches,
    unsubscribe_packet,
)
from core.mqtt.options import BrokerOptions


def _read(octets: bytes) -> Any:
    packet, size = mqtt5.read(memoryview(octets))
    assert len(octets) == size
    return packet


def test_connect_says_all_that_the_options_say() -> None:
    """Session, limits, credentials and the will with its delay."""
    options = BrokerOptions(
        "host",
        client_id="me",
        username="user",
        password="pässword",
        keepalive=7,
        session_expiry=60,
        receive_maximum=9,
        will_delay=5,
    )
    will = Publication("status", b"offline", qos=1, retain=True, content_type="text/plain")
    packet = _read(connect_packet(options, clean_start=False, will=will, topic_alias_max=3))
    assert ("me", "user", "pässword".encode()) == (packet.client_id, packet.username, packet.password)
    assert (False, 60, 7, 9, 3) == (
        packet.clean_start,
        packet.session_expiry_interval,
        packet.keep_alive,
        packet.receive_max,
        packet.topic_alias_max,
    )
    assert ("status", b"offline", 1, True, 5, "text/plain") == (
        packet.will.topic,
        packet.will.payload,
        int(packet.will.qos),
        packet.will.retain,
        packet.will.will_delay_interval,
        packet.will.content_type,
    )


def test_a_clean_start_leaves_no_session_behind() -> None:
    """Its expiry is 0: nobody would ever fetch what waits in it."""
    packet = _read(connect_packet(BrokerOptions("host"), clean_start=True, will=None, topic_alias_max=0))
    assert (True, 0, None) == (packet.clean_start, packet.session_expiry_interval, packet.will)


def test_publish_carries_its_properties() -> None:
    """And the identifier and DUP flag that the flow gives it."""
    publication = Publication("a", b"1", qos=2, retain=True, correlation_data=b"c", content_type="t")
    packet = _read(publish_packet(publication, 5, repeated=True))
    assert ("a", b"1", 2, True, 5, True, b"c", "t") == (
        packet.topic,
        packet.payload,
        int(packet.qos),
        packet.retain,
        packet.packet_id,
        packet.duplicate,
        packet.correlation_data,
        packet.content_type,
    )


def test_subscribe_asks_for_retained_messages_of_new_subscriptions_only() -> None:
    """Retain handling 1, and the identifier of the whole packet."""
    packet = _read(subscribe_packet(4, [Subscription("a/#", 2, 9), Subscription("b", 1, 9)]))
    assert (4, 9) == (packet.packet_id, packet.subscription_id)
    assert [("a/#", 2, 1), ("b", 1, 1)] == [
        (asked.pattern, int(asked.max_qos), int(asked.retain_handling)) for asked in packet.topic_filters
    ]


def test_subscriptions_are_split_by_identifier_and_size_in_order() -> None:
    """What comes back is matched by position, so the order stays."""
    subscriptions = [Subscription(f"filter/{n}", 1, n // 3) for n in range(9)]
    batches = subscription_batches(subscriptions, None)
    assert [3, 3, 3] == [len(batch) for batch in batches]
    assert subscriptions == [subscription for batch in batches for subscription in batch]


@pytest.mark.parametrize("limit", [30, 64, 200, 1_000])
def test_every_packet_fits_the_brokers_limit(limit: int) -> None:
    """MQTT 5 section 3.2.2.3.6, as far as a single filter fits at all."""
    names = [f"plant/{'x' * (n % 7)}/{n}" for n in range(300)]
    for batch in subscription_batches([Subscription(name, 1, 268_435_455) for name in names], limit):
        assert len(subscribe_packet(1, batch)) <= max(limit, 36)
    batches = unsubscribe_batches(names, limit)
    assert all(len(unsubscribe_packet(1, batch)) <= max(limit, 36) for batch in batches)
    assert names == [name for batch in batches for name in batch]


def test_limits_come_from_connack() -> None:
    """With the protocol's defaults for what is not said."""
    assert Limits() == limits_of(mqtt5.ConnAckPacket())
    connack = mqtt5.ConnAckPacket(
        receive_max=7, max_packet_size=99, max_qos=mqtt5.QoS.AT_LEAST_ONCE, retain_available=False
    )
    assert Limits(7, 99, 1, False) == limits_of(connack)


def test_disconnect_tells_its_reason() -> None:
    """The session's expiry is left as it is."""
    packet = _read(disconnect_packet(0x81))
    assert (0x81, None) == (int(packet.reason_code), packet.session_expiry_interval)
