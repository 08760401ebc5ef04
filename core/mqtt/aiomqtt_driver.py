"""The driver for MQTT 3.1.1 and 5, TCP and WebSockets, on aiomqtt and paho-mqtt.

aiomqtt acknowledges on receipt; this driver sets paho's manual acknowledgement and takes messages
from paho's callback. QoS 2 is subscribed as QoS 1, because paho sends PUBREC before we could commit.
"""

import asyncio
import ssl
import struct
import time
from collections.abc import Callable, Sequence
from typing import Any

import aiomqtt
import paho.mqtt.client as paho
from paho.mqtt import MQTTException
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from core.exceptions import BrokerRefused, BrokerUnavailable, ConfigurationError
from core.message import Message
from core.mqtt.connection import Capabilities, Publication, Subscription, Will
from core.mqtt.options import BrokerOptions, TLSOptions
from core.mqtt.reasons import explain, is_permanent

__all__ = ["connect"]

_BROKEN_INPUT = (OSError, ValueError, IndexError, TypeError, struct.error, MQTTException)
_SUBSCRIBE_BATCH = 100


async def connect(
    options: BrokerOptions,
    generation: int,
    on_message: Callable[[Message], None],
    *,
    clean_start: bool = False,
    will: Will | None = None,
) -> "AiomqttConnection":
    """Connect to the broker; see ``core.mqtt.connection.Connect``."""
    client = _ManualAckClient(options, generation, on_message, clean_start=clean_start, will=will)
    try:
        await client.__aenter__()
    except aiomqtt.MqttError as error:
        raise _translate(error, options) from error
    return AiomqttConnection(client, options)


class AiomqttConnection:
    """One connection made by aiomqtt."""

    def __init__(self, client: "_ManualAckClient", options: BrokerOptions) -> None:
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
        codes: list[int] = []
        for packet in _packets(subscriptions):
            codes += await self._subscribe_packet(packet)
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
        try:
            codes = await self._client.subscribe(topics, properties=properties)
        except aiomqtt.MqttError as error:
            raise _translate(error, self._options) from error
        return [code.value if isinstance(code, ReasonCode) else int(code) for code in codes]

    async def unsubscribe(self, filters: Sequence[str]) -> None:
        """Give filters up."""
        for start in range(0, len(filters), _SUBSCRIBE_BATCH):
            try:
                await self._client.unsubscribe(list(filters[start : start + _SUBSCRIBE_BATCH]))
            except aiomqtt.MqttError as error:
                raise _translate(error, self._options) from error

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Send PUBACKs in order."""
        for message in messages:
            self._client.acknowledge(message.packet_id, message.qos)

    async def publish(self, publication: Publication) -> None:
        """Publish and wait for the broker's acknowledgement."""
        properties = _publish_properties(publication) if self.capabilities.properties else None
        try:
            await self._client.publish(
                publication.topic, publication.payload, publication.qos, publication.retain, properties
            )
        except (aiomqtt.MqttError, ValueError) as error:
            raise _translate(error, self._options) from error

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
        except (aiomqtt.MqttError, *_BROKEN_INPUT) as error:
            raise _translate(error, self._options) from error

    async def close(self) -> None:
        """Disconnect; a connection that is already lost is closed."""
        try:
            await self._client.__aexit__(None, None, None)
        except aiomqtt.MqttError as error:
            raise _translate(error, self._options) from error
        finally:
            self._client.forget_loss()


class _ManualAckClient(aiomqtt.Client):
    """An aiomqtt client that leaves acknowledging, pausing and the session to us."""

    def __init__(
        self,
        options: BrokerOptions,
        generation: int,
        on_message: Callable[[Message], None],
        *,
        clean_start: bool,
        will: Will | None,
    ) -> None:
        five = options.protocol == "5"
        super().__init__(
            options.host,
            options.port,
            identifier=options.client_id,
            username=options.username,
            password=options.password,
            protocol=aiomqtt.ProtocolVersion.V5 if five else aiomqtt.ProtocolVersion.V311,
            # paho's own default would wipe the session at every start of the process.
            clean_start=clean_start if five else paho.MQTT_CLEAN_START_FIRST_ONLY,
            clean_session=None if five else clean_start,
            properties=_connect_properties(options, clean_start=clean_start) if five else None,
            keepalive=options.keepalive,
            transport=options.transport,
            websocket_path=options.websocket_path if options.transport == "websockets" else None,
            tls_context=_tls_context(options.tls) if options.tls else None,
            will=_will(will) if will else None,
        )
        self._generation = generation
        self._deliver = on_message
        self._paused = False
        self._connack: Properties | None = None
        self.session_present = False
        self._client.manual_ack_set(True)

    @property
    def disconnected(self) -> asyncio.Future[None]:
        """Done when the connection has ended."""
        return self._disconnected

    def forget_loss(self) -> None:
        """Take note of why the connection ended, so that asyncio does not warn that nobody did."""
        if self._disconnected.done() and not self._disconnected.cancelled():
            self._disconnected.exception()

    def connack_property(self, name: str, default: Any) -> Any:
        """A property of the broker's CONNACK."""
        return getattr(self._connack, name, default) if self._connack is not None else default

    def acknowledge(self, packet_id: int, qos: int) -> None:
        """Send one acknowledgement."""
        self._client.ack(packet_id, qos)

    def pause(self) -> None:
        """Take the socket from the event loop; TCP then holds the broker back."""
        sock = self._client.socket()
        if not self._paused and sock is not None and sock.fileno() >= 0:
            self._loop.remove_reader(sock.fileno())
        self._paused = True

    def resume(self) -> None:
        """Give the socket back to the event loop."""
        if not self._paused:
            return
        self._paused = False
        sock = self._client.socket()
        if sock is not None and sock.fileno() >= 0:
            self._loop.add_reader(sock.fileno(), self._read)
            # TLS may hold decrypted bytes for which the socket will not become readable again.
            self._loop.call_soon(self._read)

    def _read(self) -> None:
        try:
            while not self._paused and self._client.socket() is not None:
                self._client.loop_read()
                sock: Any = self._client.socket()
                if not (hasattr(sock, "pending") and sock.pending() > 0):
                    break
        except _BROKEN_INPUT as error:
            if not self._disconnected.done():
                self._disconnected.set_exception(error)

    def _on_socket_open(self, client: paho.Client, userdata: Any, sock: Any) -> None:
        # Called from the thread in which aiomqtt connects.
        self._loop.call_soon_threadsafe(self._attach, sock)

    def _attach(self, sock: Any) -> None:
        if sock.fileno() >= 0:
            self._loop.add_reader(sock.fileno(), self._read)
            self._misc_task = self._loop.create_task(self._misc_loop())

    def _on_connect(
        self,
        client: paho.Client,
        userdata: Any,
        flags: paho.ConnectFlags,
        reason_code: ReasonCode,
        properties: Properties | None = None,
    ) -> None:
        self.session_present = flags.session_present
        self._connack = properties
        super()._on_connect(client, userdata, flags, reason_code, properties)

    def _on_message(self, client: paho.Client, userdata: Any, message: paho.MQTTMessage) -> None:
        self._deliver(_message(message, self._generation))


def _message(message: paho.MQTTMessage, generation: int) -> Message:
    five = message.properties
    return Message(
        topic=message.topic,
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
    )


def _packets(subscriptions: Sequence[Subscription]) -> list[Sequence[Subscription]]:
    """Split into packets: an identifier applies to a whole SUBSCRIBE, so it needs one of its own."""
    if any(subscription.identifier for subscription in subscriptions):
        return [[subscription] for subscription in subscriptions]
    return [subscriptions[start : start + _SUBSCRIBE_BATCH] for start in range(0, len(subscriptions), _SUBSCRIBE_BATCH)]


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


def _will(will: Will) -> aiomqtt.Will:
    return aiomqtt.Will(will.topic, will.payload, will.qos, will.retain)


def _tls_context(options: TLSOptions) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=options.ca_file)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if options.cert_file is not None:
            context.load_cert_chain(options.cert_file, options.key_file, options.key_password)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(
            f"the TLS files cannot be used: {error}; fix: check MQTT_TLS_CA_FILE, MQTT_TLS_CERT_FILE, "
            "MQTT_TLS_KEY_FILE and MQTT_TLS_KEY_PASSWORD"
        ) from error
    return context


def _translate(error: BaseException, options: BrokerOptions) -> BrokerUnavailable | BrokerRefused:
    """Turn an error of aiomqtt or paho into ours."""
    where = f"{options.host}:{options.port}"
    code = getattr(error, "rc", None)
    if isinstance(code, ReasonCode):
        refusal = BrokerRefused if is_permanent(code.value) else BrokerUnavailable
        return refusal(f"the broker at {where} says: {explain(code.value, str(code), options.client_id)}")
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return BrokerRefused(
            f"the certificate of {where} is not trusted: {error}; fix: set MQTT_TLS_CA_FILE to the CA that signed "
            "it, and MQTT_BROKER to the host name in it"
        )
    return BrokerUnavailable(f"no connection to the broker at {where}: {error}")
