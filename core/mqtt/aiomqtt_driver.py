"""The driver for MQTT 3.1.1 and 5, TCP and WebSockets, on aiomqtt and paho-mqtt.

aiomqtt acknowledges on receipt; this driver sets paho's manual acknowledgement and takes messages
from paho's callback. QoS 2 is subscribed as QoS 1, because paho sends PUBREC before we could commit.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import aiomqtt
import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from core.exceptions import BrokerRefused, BrokerUnavailable, PublishError
from core.message import Message
from core.mqtt.aiomqtt_client import ManualAckClient
from core.mqtt.aiomqtt_skim import Oversize
from core.mqtt.connection import Capabilities, Publication, Subscription, Will
from core.mqtt.options import BrokerOptions
from core.mqtt.reasons import REFUSED, connection_problem, refusal
from core.mqtt.tls import tls_context

__all__ = ["connect"]

T = TypeVar("T")

_FILTERS_PER_PACKET = 100
_PACKETS_AT_ONCE = 50
# Fixed header, lengths of topic and properties, packet id: what a PUBLISH has beside its contents, at most.
_PUBLISH_OVERHEAD = 64


async def connect(
    options: BrokerOptions,
    generation: int,
    on_message: Callable[[Message], None],
    *,
    clean_start: bool = False,
    will: Will | None = None,
) -> "AiomqttConnection":
    """Connect to the broker; see ``core.mqtt.connection.Connect``."""

    def deliver(message: paho.MQTTMessage, oversize: Oversize | None) -> None:
        on_message(_message(message, oversize, generation))

    client = ManualAckClient(
        deliver, options.max_payload, **_client_options(options, clean_start=clean_start, will=will)
    )
    try:
        await client.open()
    except BaseException as error:
        # A connection that nobody waits for any more must not take the session over later.
        client.drop()
        if isinstance(error, aiomqtt.MqttError):
            raise _translate(error, options) from error
        raise
    connection = AiomqttConnection(client, options)
    # Takes effect when the event loop runs next: by then the caller has the connection.
    connection.resume()
    return connection


class AiomqttConnection:
    """One connection made by aiomqtt."""

    def __init__(self, client: ManualAckClient, options: BrokerOptions) -> None:
        self._client = client
        self._options = options
        five = options.protocol == "5"
        self.capabilities = Capabilities(
            properties=five,
            subscription_ids=five and client.connack_property("SubscriptionIdentifierAvailable", 1) == 1,
            retain_handling=five,
            max_qos=1,
        )

    @property
    def session_present(self) -> bool:
        """Whether the broker kept this client's session."""
        return self._client.session_present

    async def subscribe(self, subscriptions: Sequence[Subscription]) -> list[int]:
        """Subscribe in as few packets as identifiers allow."""
        packets = _packets(subscriptions)
        codes: list[int] = []
        for start in range(0, len(packets), _PACKETS_AT_ONCE):
            sent = map(self._subscribe_packet, packets[start : start + _PACKETS_AT_ONCE])
            for answer in await self._answered(asyncio.gather(*sent)):
                codes += answer
        return codes

    async def _subscribe_packet(self, packet: Sequence[Subscription]) -> list[int]:
        topics: list[tuple[str, Any]]
        properties = None
        if self.capabilities.retain_handling:
            topics = [(s.filter, SubscribeOptions(qos=s.qos, retainHandling=1)) for s in packet]
            if packet[0].identifier:
                properties = Properties(PacketTypes.SUBSCRIBE)
                properties.SubscriptionIdentifier = packet[0].identifier
        else:
            topics = [(s.filter, s.qos) for s in packet]
        codes = await self._client.subscribe(topics, properties=properties)
        return [code.value if isinstance(code, ReasonCode) else int(code) for code in codes]

    async def unsubscribe(self, filters: Sequence[str]) -> None:
        """Give filters up."""
        for start in range(0, len(filters), _FILTERS_PER_PACKET):
            packet = list(filters[start : start + _FILTERS_PER_PACKET])
            await self._answered(asyncio.ensure_future(self._client.unsubscribe(packet)))

    async def _answered(self, answer: "asyncio.Future[T]") -> T:
        """Wait for the broker's answer, but no longer than the connection lasts."""
        try:
            ends: list[asyncio.Future[Any]] = [answer, self._client.disconnected]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if answer.done():
                return answer.result()
            await self.closed()
            raise BrokerUnavailable("the connection was closed while an answer was awaited")
        except aiomqtt.MqttError as error:
            raise _translate(error, self._options) from error
        finally:
            answer.cancel()

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Send PUBACKs in order."""
        for message in messages:
            self._client.acknowledge(message.packet_id, message.qos)

    async def publish(self, publication: Publication) -> None:
        """Publish and wait for the broker's acknowledgement."""
        if (problem := self._unpublishable(publication)) is not None:
            raise PublishError(f"cannot publish to {publication.topic!r:.80}: {problem}")
        properties = _publish_properties(publication) if self.capabilities.properties else None
        try:
            code = await self._client.publish_and_wait(
                publication.topic, publication.payload, publication.qos, publication.retain, properties
            )
        except aiomqtt.MqttError as error:
            raise _translate(error, self._options) from error
        except ValueError as error:
            raise PublishError(f"cannot publish to {publication.topic!r:.80}: {error}") from error
        if code.value >= REFUSED:
            raise PublishError(f"the broker refuses a message to {publication.topic!r:.80}: {code}")

    def _unpublishable(self, publication: Publication) -> str | None:
        """What the broker would end the connection for (MQTT 5 section 3.2.2.3)."""
        broker = self._client.connack_property
        if publication.qos > broker("MaximumQoS", 2):
            return f"the broker accepts no QoS above {broker('MaximumQoS', 2)}"
        if publication.retain and not broker("RetainAvailable", 1):
            return "the broker keeps no retained messages"
        size = len(publication.topic.encode()) + len(publication.payload) + _PUBLISH_OVERHEAD
        if size > broker("MaximumPacketSize", size):
            return f"it is larger than the {broker('MaximumPacketSize', size)} bytes that the broker accepts"
        return None

    def pause(self) -> None:
        """Stop reading the socket."""
        self._client.pause()

    def resume(self) -> None:
        """Read the socket again."""
        self._client.resume()

    async def closed(self) -> None:
        """Wait for the end of the connection."""
        try:
            await asyncio.shield(self._client.disconnected)
        except aiomqtt.MqttError as error:
            raise _translate(error, self._options) from error

    async def close(self) -> None:
        """Disconnect; ends within seconds even if the broker is frozen."""
        await self._client.close()


def _message(message: paho.MQTTMessage, oversize: Oversize | None, generation: int) -> Message:
    try:
        topic = message.topic
    except UnicodeDecodeError as error:
        raise aiomqtt.MqttError(f"the broker sent a topic that is not UTF-8: {error}") from error
    five = message.properties
    return Message(
        topic=topic,
        payload=bytes(message.payload),
        qos=message.qos,
        retain=message.retain,
        dup=message.dup,
        packet_id=message.mid,
        generation=generation,
        received_at=time.time(),
        subscription_ids=tuple(getattr(five, "SubscriptionIdentifier", ())),
        response_topic=getattr(five, "ResponseTopic", None),
        correlation_data=getattr(five, "CorrelationData", None),
        content_type=getattr(five, "ContentType", None),
        user_properties=tuple(getattr(five, "UserProperty", ())),
        truncated_size=oversize.size if oversize is not None else 0,
        digest=oversize.digest if oversize is not None else b"",
    )


def _packets(subscriptions: Sequence[Subscription]) -> list[list[Subscription]]:
    """Split into packets, in order: an identifier applies to a whole SUBSCRIBE, so it needs one of its own."""
    packets: list[list[Subscription]] = []
    for subscription in subscriptions:
        last = packets[-1] if packets else []
        if last and not subscription.identifier and not last[0].identifier and len(last) < _FILTERS_PER_PACKET:
            last.append(subscription)
        else:
            packets.append([subscription])
    return packets


def _client_options(options: BrokerOptions, *, clean_start: bool, will: Will | None) -> dict[str, Any]:
    five = options.protocol == "5"
    return {
        "hostname": options.host,
        "port": options.port,
        "identifier": options.client_id,
        "username": options.username,
        "password": options.password,
        "protocol": aiomqtt.ProtocolVersion.V5 if five else aiomqtt.ProtocolVersion.V311,
        # paho's own default would wipe the session at every start of the process.
        "clean_start": clean_start if five else paho.MQTT_CLEAN_START_FIRST_ONLY,
        "clean_session": None if five else clean_start,
        "properties": _connect_properties(options, clean_start=clean_start) if five else None,
        "keepalive": options.keepalive,
        "transport": options.transport,
        "websocket_path": options.websocket_path if options.transport == "websockets" else None,
        "tls": tls_context(options.tls) if options.tls else None,
        "timeout": options.connect_timeout,
        "will": _will(will, options.will_delay if five else 0) if will else None,
    }


def _will(will: Will, delay: int) -> aiomqtt.Will:
    properties = None
    if delay:
        properties = Properties(PacketTypes.WILLMESSAGE)
        properties.WillDelayInterval = delay
    return aiomqtt.Will(will.topic, will.payload, will.qos, will.retain, properties)


def _connect_properties(options: BrokerOptions, *, clean_start: bool) -> Properties:
    properties = Properties(PacketTypes.CONNECT)
    properties.SessionExpiryInterval = 0 if clean_start else options.session_expiry
    properties.ReceiveMaximum = options.receive_maximum
    return properties


def _publish_properties(publication: Publication) -> Properties | None:
    if publication.correlation_data is None and publication.content_type is None:
        return None
    properties = Properties(PacketTypes.PUBLISH)
    if publication.correlation_data is not None:
        properties.CorrelationData = publication.correlation_data
    if publication.content_type is not None:
        properties.ContentType = publication.content_type
    return properties


def _translate(error: aiomqtt.MqttError, options: BrokerOptions) -> BrokerUnavailable | BrokerRefused:
    """Turn an error of aiomqtt into ours."""
    code = getattr(error, "rc", None)
    if isinstance(code, ReasonCode):
        return refusal(code.value, str(code), options)
    return connection_problem(str(error), options)
