"""The contract of MQTT drivers, kept by each of them in each version of MQTT that it speaks."""

import asyncio
import contextlib
import dataclasses
import hashlib
import re
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from core.exceptions import BrokerRefused, BrokerUnavailable, ConfigurationError, PublishError
from core.mqtt.connection import Publication, Subscription, Will
from core.mqtt.options import TLSOptions
from tests.integration.mqtt.contract import (
    PATIENCE,
    Client,
    Driver,
    ScriptedBroker,
    Wire,
    client_of,
    device,
    unique,
    until,
)
from tests.servers import Certificates, Mosquitto
from tests.servers.certificates import KEY_PASSWORD

ACCEPTED = {True: bytes.fromhex("2003000000"), False: bytes.fromhex("20020000")}


async def subscribed(client: Client, topic_filter: str, qos: int = 1) -> None:
    """Begin the client's session with one subscription, and leave."""
    async with client.connected() as connection:
        await connection.subscribe([Subscription(topic_filter, qos)])


async def published(port: int, topic: str, payloads: list[str], qos: int = 1) -> None:
    async with device(port) as sender:
        for payload in payloads:
            await sender.publish(topic, payload, qos=qos)


# --- connecting ---


async def test_session_is_kept(driver: Driver, mosquitto: Mosquitto) -> None:
    """A session that the broker has kept is reported as present, and a clean start ends it."""
    client = client_of(driver, mosquitto.port)
    present = []
    for clean_start in (False, False, True, False):
        async with client.connected(clean_start=clean_start) as connection:
            present.append(connection.session_present)
    assert [False, True, False, False] == present


async def test_wrong_password(driver: Driver, mosquitto_factory: Callable[..., Mosquitto]) -> None:
    """A wrong password is a refusal that names the setting; the right one is let in."""
    broker = mosquitto_factory(users={"service": "right"})
    client = client_of(driver, broker.port, username="service", password="right")
    async with client.connected():
        pass
    client.options = dataclasses.replace(client.options, password="wrong")
    with pytest.raises(BrokerRefused, match="MQTT_PASSWORD") as caught:
        await client.connect()
    assert "wrong" not in str(caught.value)


@pytest.mark.parametrize("code", [0x84, 0x85, 0x87])
async def test_permanent_refusals(driver: Driver, code: int) -> None:
    """A refusal that trying again cannot cure is told from one that it can."""
    old_code = {0x84: 1, 0x85: 2, 0x87: 5}[code]
    connack = bytes([0x20, 3, 0, code, 0]) if driver.five else bytes([0x20, 2, 0, old_code])
    async with ScriptedBroker({"1": connack}) as broker:
        with pytest.raises(BrokerRefused if driver.five or code != 0x84 else (BrokerRefused, BrokerUnavailable)):
            await client_of(driver, broker.port).connect()


async def test_busy_broker(driver: Driver) -> None:
    """A refusal that may pass is not final."""
    connack = bytes([0x20, 3, 0, 0x88, 0]) if driver.five else bytes([0x20, 2, 0, 3])
    async with ScriptedBroker({"1": connack}) as broker:
        with pytest.raises(BrokerUnavailable):
            await client_of(driver, broker.port).connect()


async def test_nobody_listens(driver: Driver, free_port: int) -> None:
    """An absent broker is unavailable, not a refusal."""
    with pytest.raises(BrokerUnavailable, match=str(free_port)):
        await client_of(driver, free_port).connect()


async def test_unknown_host(driver: Driver) -> None:
    """A name that cannot be resolved may be resolved later."""
    with pytest.raises(BrokerUnavailable):
        await client_of(driver, 1883, host="nobody.invalid").connect()


async def test_connection_ended_before_connack(driver: Driver) -> None:
    """A broker that hangs up instead of answering is unavailable at once."""
    async with ScriptedBroker({"1": None}) as broker:
        with pytest.raises(BrokerUnavailable, match="closed"):
            await client_of(driver, broker.port).connect()


async def test_abandoned_attempt(
    driver: Driver, mosquitto_factory: Callable[..., Mosquitto], certificates: Certificates
) -> None:
    """A connection attempt that was cancelled does not take the session over later."""
    broker = mosquitto_factory(tls=certificates.server)
    client = client_of(driver, broker.tls_port, tls=TLSOptions(str(certificates.ca)))
    broker.freeze()
    attempt = asyncio.create_task(client.connect())
    await asyncio.sleep(0.1)
    attempt.cancel()
    await asyncio.gather(attempt, return_exceptions=True)
    broker.thaw()
    async with client.connected() as connection:
        assert not await ended(connection.closed())
    assert 1 == broker.log().count(f" as {client.options.client_id} ")


async def ended(end: Coroutine[Any, Any, None], patience: float = 0.5) -> bool:
    """Whether a connection ends within a moment."""
    watch = asyncio.ensure_future(end)
    await asyncio.wait([watch], timeout=patience)
    over = watch.done()
    watch.cancel()
    await asyncio.gather(watch, return_exceptions=True)
    return over


# --- acknowledging ---


async def test_acknowledged_messages_stay_away(driver: Driver, mosquitto: Mosquitto, topic: str) -> None:
    """What was acknowledged is not sent again, what was not is: marked as such, under its packet id."""
    client = client_of(driver, mosquitto.port, receive_maximum=10)
    await subscribed(client, topic)
    await published(mosquitto.port, topic, ["a", "b", "c"])
    client.hold = True
    async with client.connected() as connection:
        first = list(await client.received(3))
        connection.acknowledge(first[:1])
    client.inbox.clear()
    client.hold = False
    async with client.connected():
        again = list(await client.received(2))
    client.inbox.clear()
    async with client.connected():
        await published(mosquitto.port, topic, ["d"])
        await client.received(1)
    assert [(b"b", True, 3), (b"c", True, 3)] == [(m.payload, m.dup, m.generation) for m in again]
    assert [m.packet_id for m in first[1:]] == [m.packet_id for m in again]
    assert [(b"a", False, 2)] == [(m.payload, m.dup, m.generation) for m in first[:1]]
    assert [b"d"] == client.payloads


async def test_order_of_acknowledgements(driver: Driver, own_mosquitto: Mosquitto, topic: str) -> None:
    """Acknowledgements leave in the order in which they are given."""
    client = client_of(driver, own_mosquitto.port)
    await subscribed(client, topic)
    await published(own_mosquitto.port, topic, [str(number) for number in range(50)])
    client.hold = True
    async with client.connected() as connection:
        messages = list(await client.received(50))
        connection.acknowledge(messages[:20])
        connection.acknowledge(messages[20:])
    pattern = rf"Received PUBACK from {client.options.client_id} \(Mid: (\d+)"
    await until(lambda: len(re.findall(pattern, own_mosquitto.log())) >= 50)
    assert [str(m.packet_id) for m in messages] == re.findall(pattern, own_mosquitto.log())


async def test_closing_loses_no_acknowledgement(driver: Driver, mosquitto: Mosquitto, topic: str) -> None:
    """Acknowledgements sent right before closing arrive, although the broker answers them with more messages."""
    client = client_of(driver, mosquitto.port, receive_maximum=500)
    await subscribed(client, topic)
    await published(mosquitto.port, topic, [str(number) for number in range(1200)])
    client.hold = True
    connection = await client.connect()
    await client.received(400)
    connection.pause()
    acknowledged = client.payloads
    connection.acknowledge(client.inbox)
    await connection.close()
    client.inbox.clear()
    client.hold = False
    async with client.connected():
        await until(lambda: len({*client.payloads, *acknowledged}) == 1200)
    assert set() == {*acknowledged} & {*client.payloads}


async def test_acknowledging_on_a_lost_connection(driver: Driver, mosquitto: Mosquitto, topic: str) -> None:
    """An acknowledgement for a connection that is gone does nothing."""
    client = client_of(driver, mosquitto.port)
    await subscribed(client, topic)
    await published(mosquitto.port, topic, ["a"])
    client.hold = True
    connection = await client.connect()
    messages = await client.received(1)
    await connection.close()
    connection.acknowledge(messages)
    client.inbox.clear()
    async with client.connected():
        await client.received(1)
    assert [b"a"] == client.payloads


async def test_receiver_that_fails(driver: Driver, mosquitto: Mosquitto, topic: str) -> None:
    """An error of the receiver ends the connection, and whoever waits for that gets it."""

    def stumble(_message: object) -> None:
        raise LookupError("a bug")

    client = client_of(driver, mosquitto.port)
    connection = await driver.make()(client.options, 1, stumble)
    await connection.subscribe([Subscription(topic, 1)])
    await published(mosquitto.port, topic, ["a"])
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(LookupError, match="a bug"):
            await connection.closed()
    await connection.close()


# --- pausing ---


@pytest.mark.one_loop
async def test_long_pause(driver: Driver, secure_mosquitto: Mosquitto, certificates: Certificates) -> None:
    """A pause of several keepalives neither ends the connection nor loses or doubles a message."""
    transports = {"tcp": client_of(driver, secure_mosquitto.port, keepalive=2, receive_maximum=50)}
    tls = TLSOptions(str(certificates.ca), str(certificates.client.certificate), str(certificates.client.key))
    transports["tls"] = client_of(driver, secure_mosquitto.tls_port, keepalive=2, receive_maximum=50, tls=tls)
    if driver.websockets:
        transports["websockets"] = client_of(
            driver, secure_mosquitto.websocket_port, keepalive=2, receive_maximum=50, transport="websockets"
        )
    await asyncio.gather(*(pause_for_long(client, secure_mosquitto) for client in transports.values()))


async def pause_for_long(client: Client, broker: Mosquitto) -> None:
    topic = unique("contract/pause")
    async with client.connected() as connection:
        await connection.subscribe([Subscription(topic, 1)])
        await published(broker.port, topic, ["before"])
        await client.received(1)
        connection.pause()
        await published(broker.port, topic, [str(number) for number in range(300)])
        pings = broker.log().count(f"Received PINGREQ from {client.options.client_id}")
        await until(lambda: broker.log().count(f"Received PINGREQ from {client.options.client_id}") >= pings + 3)
        assert [b"before"] == client.payloads
        connection.resume()
        await client.received(301)
        await published(broker.port, topic, ["after"])
        await client.received(302)
        assert [b"before", *(str(number).encode() for number in range(300)), b"after"] == client.payloads
        assert not any(message.dup for message in client.inbox)


async def test_pausing_twice(driver: Driver, mosquitto: Mosquitto, topic: str) -> None:
    """Pausing and resuming may be repeated in any order."""
    client = client_of(driver, mosquitto.port)
    async with client.connected() as connection:
        await connection.subscribe([Subscription(topic, 1)])
        connection.resume()
        connection.pause()
        connection.pause()
        connection.resume()
        connection.resume()
        await published(mosquitto.port, topic, ["a"])
        await client.received(1)


# --- subscribing ---


async def test_codes_of_subscriptions(driver: Driver, mosquitto: Mosquitto, topic: str) -> None:
    """There is one code per filter, in their order, however many packets that takes."""
    wanted = [Subscription(f"{topic}/{number}", number % 2) for number in range(250)]
    client = client_of(driver, mosquitto.port)
    async with client.connected() as connection:
        assert [subscription.qos for subscription in wanted] == await connection.subscribe(wanted)


async def test_refused_subscription(driver: Driver) -> None:
    """A refused filter has a code of 128 or more."""
    suback = bytes.fromhex("900400010087") if driver.five else bytes.fromhex("9003000180")
    async with ScriptedBroker({"1": ACCEPTED[driver.five], "8": suback}) as broker:
        connection = await client_of(driver, broker.port).connect()
        codes = await connection.subscribe([Subscription("a", 1)])
        await connection.close()
    assert [0x87 if driver.five else 0x80] == codes


async def test_loss_while_subscribing(driver: Driver) -> None:
    """A connection that is lost instead of a SUBACK ends the wait for it."""
    async with ScriptedBroker({"1": ACCEPTED[driver.five], "8": None}) as broker:
        connection = await client_of(driver, broker.port).connect()
        async with asyncio.timeout(5):
            with pytest.raises(BrokerUnavailable):
                await connection.subscribe([Subscription("a", 1)])
        await connection.close()


async def test_identifiers(driver: Driver, mosquitto: Mosquitto, topic: str) -> None:
    """On MQTT 5 every copy of a message names the subscription that it comes from."""
    client = client_of(driver, mosquitto.port)
    async with client.connected() as connection:
        assert driver.five is connection.capabilities.subscription_ids
        first = Subscription(f"{topic}/+/c", 1, 7 if driver.five else 0)
        second = Subscription(f"{topic}/b/#", 1, 268_435_455 if driver.five else 0)
        await connection.subscribe([first, Subscription(f"{topic}/other", 1), second])
        await published(mosquitto.port, f"{topic}/b/c", ["a"])
        await published(mosquitto.port, f"{topic}/other", ["end"])
        await until(lambda: b"end" in client.payloads)
    expected = [(7,), (268_435_455,), ()] if driver.five else [(), ()]
    assert sorted(expected) == sorted(message.subscription_ids for message in client.inbox)


async def test_unsubscribing(driver: Driver, mosquitto: Mosquitto, topic: str) -> None:
    """A filter that was given up delivers nothing more."""
    client = client_of(driver, mosquitto.port)
    async with client.connected() as connection:
        await connection.subscribe([Subscription(f"{topic}/a", 1), Subscription(f"{topic}/b", 1)])
        await connection.unsubscribe([f"{topic}/a", *(f"{topic}/{number}" for number in range(150))])
        await published(mosquitto.port, f"{topic}/a", ["a"])
        await published(mosquitto.port, f"{topic}/b", ["b"])
        await client.received(1)
    assert [b"b"] == client.payloads


async def test_retained_messages(driver: Driver, mosquitto: Mosquitto, topic: str) -> None:
    """Retained messages come once, where the version of MQTT can say so, and are marked."""
    async with device(mosquitto.port) as sender:
        await sender.publish(f"{topic}/a", "kept", qos=1, retain=True)
    client = client_of(driver, mosquitto.port)
    async with client.connected() as connection:
        await connection.subscribe([Subscription(f"{topic}/#", 1)])
        await client.received(1)
    async with client.connected() as connection:
        assert driver.five is connection.capabilities.retain_handling
        await connection.subscribe([Subscription(f"{topic}/#", 1)])
        await published(mosquitto.port, f"{topic}/b", ["end"])
        await until(lambda: b"end" in client.payloads)
    times = 1 if driver.five else 2
    assert [(b"kept", True)] * times + [(b"end", False)] == [(m.payload, m.retain) for m in client.inbox]


async def test_properties(driver: Driver, mosquitto: Mosquitto, topic: str) -> None:
    """What a device says in MQTT 5 properties arrives."""
    properties = Properties(PacketTypes.PUBLISH)
    properties.ResponseTopic = "answers/1"
    properties.CorrelationData = b"\x00\xff"
    properties.ContentType = "application/json"
    properties.UserProperty = [("key", "one"), ("key", "two")]
    client = client_of(driver, mosquitto.port)
    async with client.connected() as connection:
        await connection.subscribe([Subscription(topic, 1)])
        async with device(mosquitto.port) as sender:
            await sender.publish(topic, "{}", qos=1, properties=properties)
        [message] = await client.received(1)
    assert driver.five is connection.capabilities.properties
    expected = ("answers/1", b"\x00\xff", "application/json", (("key", "one"), ("key", "two")))
    assert (expected if driver.five else (None, None, None, ())) == (
        message.response_topic,
        message.correlation_data,
        message.content_type,
        message.user_properties,
    )


@pytest.mark.parametrize("transport", ["tcp", "tls"])
async def test_extreme_messages(
    driver: Driver, secure_mosquitto: Mosquitto, certificates: Certificates, transport: str
) -> None:
    """The longest topic, an empty payload and a large one pass in both directions, whole."""
    tls = TLSOptions(str(certificates.ca), str(certificates.client.certificate), str(certificates.client.key))
    if transport == "tls":
        client = client_of(driver, secure_mosquitto.tls_port, tls=tls)
    else:
        client = client_of(driver, secure_mosquitto.port)
    stem = unique("extreme")
    longest = stem + "/" + "x" * (65_535 - len(stem) - 1)
    large = bytes(range(256)) * 4096
    expected = [(longest, b"a"), (f"{stem}/empty", b""), (f"{stem}/large", large), (f"{stem}/ä€🚀", b"b")]
    async with client.connected() as connection:
        await connection.subscribe([Subscription(f"{stem}/#", 1)])
        for topic, payload in expected:
            await connection.publish(Publication(topic, payload))
        await client.received(4)
    assert expected == [(message.topic, message.payload) for message in client.inbox]


# --- publishing ---


@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_publishing(driver: Driver, mosquitto: Mosquitto, topic: str, qos: int) -> None:
    """A publication arrives with its QoS and, on MQTT 5, its properties; publishing on a closed connection fails."""
    async with device(mosquitto.port) as listener:
        await listener.subscribe(topic, qos=2)
        client = client_of(driver, mosquitto.port)
        async with client.connected() as connection:
            await connection.publish(Publication(topic, b"x", qos, correlation_data=b"7", content_type="text/plain"))
            message = await anext(listener.messages)
        with pytest.raises(BrokerUnavailable):
            await connection.publish(Publication(topic, b"x", qos))
    assert (b"x", qos) == (message.payload, message.qos)
    if driver.five:
        properties = message.properties
        assert (b"7", "text/plain") == (properties.CorrelationData, properties.ContentType)  # type: ignore[union-attr]


async def test_many_at_once(driver: Driver, mosquitto: Mosquitto, topic: str) -> None:
    """Far more publications than may be under way at once all arrive."""
    client = client_of(driver, mosquitto.port)
    async with client.connected() as connection:
        await connection.subscribe([Subscription(topic, 1)])
        await asyncio.gather(*(connection.publish(Publication(topic, str(n).encode())) for n in range(300)))
        await client.received(300)
    assert {str(n).encode() for n in range(300)} == set(client.payloads)


async def test_retained_publication(driver: Driver, mosquitto: Mosquitto, topic: str) -> None:
    """A retained publication is there for later subscribers, until an empty one."""
    client = client_of(driver, mosquitto.port)
    async with client.connected() as connection:
        await connection.publish(Publication(topic, b"kept", retain=True))
        await connection.subscribe([Subscription(topic, 1)])
        await client.received(1)
        await connection.publish(Publication(topic, b"", retain=True))
        await client.received(2)
    assert [(b"kept", True), (b"", False)] == [(m.payload, m.retain) for m in client.inbox]


async def test_refused_publication(driver: Driver, mosquitto_factory: Callable[..., Mosquitto]) -> None:
    """A publication that the broker's rules forbid is an error on MQTT 5; 3.1.1 has no words for it."""
    broker = mosquitto_factory(acl="topic readwrite allowed/#\n")
    client = client_of(driver, broker.port)
    async with client.connected() as connection:
        await connection.publish(Publication("allowed/a", b"x"))
        with pytest.raises(PublishError, match="forbidden/a") if driver.five else contextlib.nullcontext():
            await connection.publish(Publication("forbidden/a", b"x"))


async def test_limits_of_the_broker(driver: Driver) -> None:
    """What an MQTT 5 broker announces not to accept is refused here, or the broker would hang up."""
    if not driver.five:
        pytest.skip("MQTT 3.1.1 announces nothing")
    # Maximum QoS 0, no retained messages, packets of 1000 bytes at most.
    connack = bytes.fromhex("200c0000" + "09" + "2400" + "2500" + "27000003e8")
    async with ScriptedBroker({"1": connack}) as broker:
        connection = await client_of(driver, broker.port).connect()
        for publication in (
            Publication("a", b"", qos=1),
            Publication("a", b"", qos=0, retain=True),
            Publication("a", bytes(1001), qos=0),
        ):
            with pytest.raises(PublishError):
                await connection.publish(publication)
        await connection.publish(Publication("a", b"fits", qos=0))
        await connection.close()


async def test_loss_while_publishing(driver: Driver) -> None:
    """A connection that is lost instead of a PUBACK ends the wait for it."""
    async with ScriptedBroker({"1": ACCEPTED[driver.five], "3": None}) as broker:
        connection = await client_of(driver, broker.port).connect()
        async with asyncio.timeout(5):
            with pytest.raises(BrokerUnavailable):
                await connection.publish(Publication("a", b""))
        await connection.close()


# --- the end of a connection ---


async def test_lost_connection(driver: Driver, mosquitto: Mosquitto, topic: str) -> None:
    """A cut connection is noticed, the broker publishes the will, and the session goes on."""
    async with Wire(mosquitto.port) as wire, device(mosquitto.port) as listener:
        await listener.subscribe(f"{topic}/will", qos=1)
        client = client_of(driver, wire.port)
        connection = await client.connect(will=Will(f"{topic}/will", b"gone", qos=1))
        await connection.subscribe([Subscription(f"{topic}/in", 1)])
        wire.cut()
        async with asyncio.timeout(PATIENCE):
            with pytest.raises(BrokerUnavailable):
                await connection.closed()
            assert b"gone" == (await anext(listener.messages)).payload
        await connection.close()
        await published(mosquitto.port, f"{topic}/in", ["meanwhile"])
        async with client.connected() as connection:
            assert connection.session_present
            await client.received(1)
    assert [b"meanwhile"] == client.payloads


async def test_closed_connection(driver: Driver, mosquitto: Mosquitto, topic: str) -> None:
    """Closing ends the wait for the end without an error, publishes no will and may be repeated."""
    async with device(mosquitto.port) as listener:
        await listener.subscribe(topic, qos=1)
        client = client_of(driver, mosquitto.port)
        connection = await client.connect(will=Will(topic, b"gone", qos=1))
        waiting = asyncio.create_task(connection.closed())
        await connection.close()
        await connection.close()
        await waiting
        await published(mosquitto.port, topic, ["no will"])
        assert b"no will" == (await anext(listener.messages)).payload


async def test_retained_will(driver: Driver, mosquitto: Mosquitto, topic: str) -> None:
    """A retained will stays for later subscribers."""
    async with Wire(mosquitto.port) as wire:
        connection = await client_of(driver, wire.port).connect(will=Will(topic, b"gone", qos=1, retain=True))
        wire.cut()
        with pytest.raises(BrokerUnavailable):
            await connection.closed()
        await connection.close()
    async with device(mosquitto.port) as listener:
        await listener.subscribe(topic, qos=1)
        message = await anext(listener.messages)
    assert (b"gone", True) == (message.payload, message.retain)


async def test_taken_over(driver: Driver, mosquitto: Mosquitto) -> None:
    """Another client with the same id ends the connection; MQTT 5 says why, and then so do we."""
    client = client_of(driver, mosquitto.port)
    first = await client.connect()
    second = await client.connect()
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(BrokerUnavailable):
            await first.closed()
    await first.close()
    assert not await ended(second.closed())
    await second.close()


async def test_reason_of_the_end(driver: Driver) -> None:
    """An MQTT 5 broker says why it ends a connection, and then so do we."""
    if not driver.five:
        pytest.skip("MQTT 3.1.1 says nothing")
    taken_over = bytes.fromhex("e0028e00")
    async with ScriptedBroker({"1": ACCEPTED[True] + taken_over}) as broker:
        connection = await client_of(driver, broker.port).connect()
        async with asyncio.timeout(PATIENCE):
            with pytest.raises(BrokerUnavailable, match="MQTT_CLIENT_ID"):
                await connection.closed()
        await connection.close()


@pytest.mark.one_loop
async def test_frozen_broker(driver: Driver, own_mosquitto: Mosquitto, topic: str) -> None:
    """A broker that stops answering is noticed by the keepalive; closing does not wait for it."""
    closing = await client_of(driver, own_mosquitto.port).connect()
    client = client_of(driver, own_mosquitto.port, keepalive=1)
    connection = await client.connect()
    own_mosquitto.freeze()
    async with asyncio.timeout(PATIENCE):
        await closing.close()
        with pytest.raises(BrokerUnavailable):
            await connection.closed()
        await connection.close()
    own_mosquitto.thaw()


async def test_broken_input(driver: Driver) -> None:
    """Bytes that are no MQTT end the connection with an error."""
    for garbage in (b"\x30\x80\x80\x80\x80\x01", b"\x32\x05\x00\x02\xff\xfe\x01", b"\xf3\x00"):
        async with ScriptedBroker({"1": ACCEPTED[driver.five] + garbage}) as broker:
            connection = await client_of(driver, broker.port).connect()
            async with asyncio.timeout(PATIENCE):
                with pytest.raises(BrokerUnavailable):
                    await connection.closed()
            await connection.close()


# --- TLS and WebSockets ---


@pytest.mark.parametrize("pair", ["client", "client_encrypted"])
async def test_client_certificate(
    driver: Driver, secure_mosquitto: Mosquitto, certificates: Certificates, pair: str
) -> None:
    """TLS with the broker's CA and a certificate of our own works, by name and by address."""
    keys = getattr(certificates, pair)
    tls = TLSOptions(str(certificates.ca), str(keys.certificate), str(keys.key), KEY_PASSWORD)
    for host in ("localhost", "127.0.0.1"):
        async with client_of(driver, secure_mosquitto.tls_port, host=host, tls=tls).connected():
            pass


@pytest.mark.parametrize(
    ("pair", "words"),
    [("expired", "expired"), ("wrong_host", "MQTT_BROKER"), ("untrusted", "MQTT_TLS_CA_FILE")],
)
async def test_bad_broker_certificates(
    driver: Driver,
    mosquitto_factory: Callable[..., Mosquitto],
    certificates: Certificates,
    pair: str,
    words: str,
) -> None:
    """A broker whose certificate is not good is refused for good, with the fix."""
    broker = mosquitto_factory(tls=getattr(certificates, pair))
    with pytest.raises(BrokerRefused, match=words):
        await client_of(driver, broker.tls_port, tls=TLSOptions(str(certificates.ca))).connect()


@pytest.mark.parametrize("pair", [None, "unknown_client"])
async def test_bad_client_certificates(
    driver: Driver, secure_mosquitto: Mosquitto, certificates: Certificates, pair: str | None
) -> None:
    """A broker that does not accept our certificate, or misses one, is a refusal that names the setting."""
    keys = getattr(certificates, pair) if pair else None
    tls = TLSOptions(str(certificates.ca), *((str(keys.certificate), str(keys.key)) if keys else ()))
    with pytest.raises(BrokerRefused, match="MQTT_TLS_CERT_FILE"):
        await client_of(driver, secure_mosquitto.tls_port, tls=tls).connect()


async def test_plain_and_encrypted_mixed_up(
    driver: Driver, secure_mosquitto: Mosquitto, certificates: Certificates
) -> None:
    """TLS to a plain port is a refusal that names the setting; plain to a TLS port ends, too."""
    with pytest.raises((BrokerRefused, BrokerUnavailable)):
        await client_of(driver, secure_mosquitto.port, tls=TLSOptions(str(certificates.ca))).connect()
    with pytest.raises(BrokerUnavailable):
        await client_of(driver, secure_mosquitto.tls_port).connect()


@pytest.mark.parametrize("broken", ["ca_file", "cert_file", "key_password"])
async def test_unusable_files(driver: Driver, certificates: Certificates, broken: str) -> None:
    """Files that cannot be used are a mistake in the configuration, found before anything is sent."""
    keys = certificates.client_encrypted
    good = TLSOptions(str(certificates.ca), str(keys.certificate), str(keys.key), KEY_PASSWORD)
    wrong = dataclasses.replace(good, **{broken: None if broken == "key_password" else "/nowhere"})
    with pytest.raises(ConfigurationError, match="MQTT_TLS"):
        await client_of(driver, 1, tls=wrong).connect()


async def test_websockets(driver: Driver, secure_mosquitto: Mosquitto, topic: str) -> None:
    """MQTT over WebSockets delivers and acknowledges; a port that speaks none is unavailable."""
    if not driver.websockets:
        pytest.skip("this driver has no WebSockets")
    client = client_of(driver, secure_mosquitto.websocket_port, transport="websockets")
    async with client.connected() as connection:
        await connection.subscribe([Subscription(topic, 1)])
        await published(secure_mosquitto.port, topic, [str(number) for number in range(100)])
        await client.received(100)
    async with client.connected() as connection:
        await published(secure_mosquitto.port, topic, ["end"])
        await client.received(101)
    assert [*(str(number).encode() for number in range(100)), b"end"] == client.payloads
    # More than the kernel takes at once.
    large = bytes(range(256)) * 4096 * 6
    async with client.connected() as sender, device(secure_mosquitto.port) as listener:
        await listener.subscribe(f"{topic}/large", qos=1)
        await sender.publish(Publication(f"{topic}/large", large))
        assert large == (await anext(listener.messages)).payload
    with pytest.raises(BrokerUnavailable):
        await client_of(driver, secure_mosquitto.port, transport="websockets").connect()


# --- payloads that are too large ---


@pytest.mark.parametrize("size", [4096, 100_000, 100_001, 3_000_000])
async def test_large_payload_arrives_as_its_beginning(
    driver: Driver, mosquitto: Mosquitto, topic: str, size: int
) -> None:
    """With its size and SHA-256, and acknowledged like any other; what follows is whole, and the memory is spared."""
    client = client_of(driver, mosquitto.port, max_payload=100_000)
    await subscribed(client, topic)
    payload = bytes(range(251)) * (size // 251 + 1)
    payload = payload[:size]
    async with client.connected(), device(mosquitto.port) as sender:
        for sent in (payload, b"next", payload, b"last"):
            await sender.publish(topic, sent, qos=1)
        await client.received(4)
    large, following, again, last = client.inbox
    # Topic and headers count too.
    if size < 100_000:
        assert (payload, 0, b"") == (large.payload, large.truncated_size, large.digest)
    else:
        digest = hashlib.sha256(payload).digest()
        assert (payload[:4096], size, digest) == (large.payload, large.truncated_size, large.digest)
        assert (large.payload, large.digest) == (again.payload, again.digest)
    assert [(b"next", 0), (b"last", 0)] == [(each.payload, each.truncated_size) for each in (following, last)]


@pytest.mark.parametrize("size", [1, 7 * 2**20])
async def test_large_properties_arrive_as_their_beginning(
    driver: Driver, mosquitto: Mosquitto, topic: str, size: int
) -> None:
    """Else a message of 9 MB, most of it properties, would come again and again, and nothing after it."""
    client = client_of(driver, mosquitto.port)
    await subscribed(client, topic)
    pairs = tuple(("k", "x" * 60_000) for _ in range(40))
    properties = Properties(PacketTypes.PUBLISH)
    properties.UserProperty = list(pairs)
    async with client.connected(), device(mosquitto.port) as sender:
        await sender.publish(topic, b"y" * size, qos=1, properties=properties)
        await sender.publish(topic, b"next", qos=1)
        await client.received(2)
    large, following = client.inbox
    assert (b"y" * min(size, 4096), b"next") == (large.payload[:4096], following.payload)
    if driver.five:
        assert (pairs[:1], hashlib.sha256(b"y" * size).digest()) == (large.user_properties, large.digest)
        assert size + 39 * 60_006 == large.truncated_size
    assert 0 == following.truncated_size
