"""The packets we send, written from our own terms, and the limits that a CONNACK sets."""

from collections.abc import Sequence
from typing import NamedTuple

import mqtt5

from core.mqtt.connection import Publication, Subscription, Will
from core.mqtt.options import BrokerOptions

__all__ = [
    "PINGREQ",
    "Limits",
    "connect_packet",
    "disconnect_packet",
    "limits_of",
    "publish_packet",
    "subscribe_packet",
    "subscription_batches",
    "unsubscribe_batches",
    "unsubscribe_packet",
]

PINGREQ = b"\xc0\x00"
_FIXED_SIZE = 16
_MAX_FILTERS = 100


class Limits(NamedTuple):
    """What the broker allows, from its CONNACK (MQTT 5 section 3.2.2.3).

    Attributes:
        receive_max: QoS 1 and 2 publications in flight.
        max_packet_size: Bytes of a packet; ``None`` for no limit.
        max_qos: The highest QoS.
        retain: Whether publications may be retained.
    """

    receive_max: int = 65_535
    max_packet_size: int | None = None
    max_qos: int = 2
    retain: bool = True


def limits_of(connack: mqtt5.ConnAckPacket) -> Limits:
    """Read the limits from a CONNACK."""
    return Limits(connack.receive_max, connack.max_packet_size, int(connack.max_qos), connack.retain_available)


def connect_packet(options: BrokerOptions, *, clean_start: bool, will: Will | None, topic_alias_max: int) -> bytes:
    """Write CONNECT.

    Args:
        options: How to present this client.
        clean_start: Whether to begin without the old session, and leave none.
        will: What the broker publishes when this client vanishes.
        topic_alias_max: The highest topic alias that the broker may use.

    Raises:
        ValueError: Something in it cannot be written.
    """
    return mqtt5.ConnectPacket(
        options.client_id,
        username=options.username,
        password=options.password.encode() if options.password is not None else None,
        clean_start=clean_start,
        will=_will(will, options.will_delay) if will is not None else None,
        keep_alive=options.keepalive,
        session_expiry_interval=0 if clean_start else options.session_expiry,
        receive_max=options.receive_maximum,
        topic_alias_max=topic_alias_max,
    ).write()


def _will(will: Will, delay: int) -> mqtt5.Will:
    return mqtt5.Will(
        will.topic,
        payload=will.payload,
        qos=mqtt5.QoS(will.qos),
        retain=will.retain,
        content_type=will.content_type,
        correlation_data=will.correlation_data,
        will_delay_interval=delay,
    )


def disconnect_packet(code: int = 0) -> bytes:
    """Write DISCONNECT; the broker keeps the session as CONNECT asked."""
    return mqtt5.DisconnectPacket(reason_code=mqtt5.DisconnectReasonCode(code)).write()


def publish_packet(publication: Publication, packet_id: int | None = None, *, repeated: bool = False) -> bytes:
    """Write PUBLISH.

    Raises:
        ValueError: The topic cannot be written.
    """
    return mqtt5.PublishPacket(
        publication.topic,
        publication.payload,
        qos=mqtt5.QoS(publication.qos),
        retain=publication.retain,
        packet_id=packet_id,
        duplicate=repeated,
        content_type=publication.content_type,
        correlation_data=publication.correlation_data,
    ).write()


def subscribe_packet(packet_id: int, subscriptions: Sequence[Subscription]) -> bytes:
    """Write SUBSCRIBE for subscriptions of one identifier; retained messages come for new ones only."""
    return mqtt5.SubscribePacket(
        packet_id,
        [
            mqtt5.TopicFilter(
                subscription.filter,
                max_qos=mqtt5.QoS(subscription.qos),
                # A message's retain flag tells what the broker had stored, not what the sender asked.
                retain_as_published=False,
                retain_handling=mqtt5.RetainHandling.SEND_IF_SUBSCRIPTION_NOT_EXISTS,
            )
            for subscription in subscriptions
        ],
        subscription_id=subscriptions[0].identifier or None,
    ).write()


def unsubscribe_packet(packet_id: int, filters: Sequence[str]) -> bytes:
    """Write UNSUBSCRIBE."""
    return mqtt5.UnsubscribePacket(packet_id, list(filters)).write()


def subscription_batches(
    subscriptions: Sequence[Subscription], max_packet_size: int | None
) -> list[list[Subscription]]:
    """Split subscriptions into packets, in order: each has one identifier and fits the broker's limit."""
    batches: list[list[Subscription]] = []
    size = 0
    for subscription in subscriptions:
        cost = len(subscription.filter.encode()) + 3
        joins = batches and batches[-1][0].identifier == subscription.identifier
        if joins and len(batches[-1]) < _MAX_FILTERS and _fits(size + cost, max_packet_size):
            batches[-1].append(subscription)
            size += cost
        else:
            batches.append([subscription])
            size = _FIXED_SIZE + cost
    return batches


def unsubscribe_batches(filters: Sequence[str], max_packet_size: int | None) -> list[list[str]]:
    """Split filters into packets that fit the broker's limit, in order."""
    batches = subscription_batches([Subscription(name, 0) for name in filters], max_packet_size)
    return [[subscription.filter for subscription in batch] for batch in batches]


def _fits(size: int, limit: int | None) -> bool:
    return limit is None or size <= limit
