"""What drivers do when a broker misbehaves; both drivers, where both can."""

import asyncio

import pytest

from core.exceptions import BrokerError, BrokerRefused, BrokerUnavailable, PublishError
from core.mqtt.connection import Publication, Subscription
from core.testing import BrokerConnection, ScriptedBroker, packets
from tests.integration.mqtt.contract import PATIENCE, Client, until


async def lost(client: Client) -> BrokerUnavailable:
    """Wait for the end of the client's connection; returns why it ended."""
    assert client.connection is not None
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(BrokerUnavailable) as caught:
            await client.connection.closed()
    await client.connection.close()
    return caught.value


# --- both drivers ---


async def test_acknowledgements_keep_the_order_of_receipt(any_client: Client, broker: ScriptedBroker) -> None:
    """However the broker numbers its messages (MQTT-4.6.0-2)."""
    async with any_client.connected():
        connection = await broker.connection()
        numbers = [9, 3, 65_535, 1, 4]
        for number in numbers:
            connection.publish("a", qos=1, packet_id=number)
        acks = await connection.expect(packets.PubAckPacket, len(numbers))
    assert numbers == [ack.packet_id for ack in acks]


async def test_a_broker_that_exceeds_receive_maximum_is_borne(any_client: Client, broker: ScriptedBroker) -> None:
    """Memory is bounded by who consumes; what has come in is delivered and can be acknowledged."""
    any_client.hold = True
    async with any_client.connected() as client_side:
        connection = await broker.connection()
        for number in range(1, 2_001):
            connection.publish("a", b"%d" % number, qos=1, packet_id=number)
        messages = await any_client.received(2_000)
        client_side.acknowledge(messages)
        acks = await connection.expect(packets.PubAckPacket, 2_000)
    assert list(range(1, 2_001)) == [ack.packet_id for ack in acks]


async def test_one_identifier_twice_is_two_messages_at_qos_1(any_client: Client, broker: ScriptedBroker) -> None:
    """A duplicate on one connection is the broker's mistake; both copies are delivered and acknowledged."""
    async with any_client.connected():
        connection = await broker.connection()
        connection.publish("a", b"1", qos=1, packet_id=5)
        connection.publish("a", b"1", qos=1, packet_id=5, duplicate=True)
        acks = await connection.expect(packets.PubAckPacket, 2)
        await any_client.received(2)
    assert [5, 5] == [ack.packet_id for ack in acks]
    assert [False, True] == [message.dup for message in any_client.inbox]


async def test_a_lost_session_is_reported(any_client: Client, broker: ScriptedBroker) -> None:
    """The broker forgets the session in between."""
    present = []
    for forget in (False, False, True):
        if forget:
            broker.sessions.clear()
        async with any_client.connected() as connection:
            present.append(connection.session_present)
    assert [False, True, False] == present


@pytest.mark.parametrize(("code", "kind"), [(0x87, BrokerRefused), (0x8A, BrokerRefused), (0x88, BrokerUnavailable)])
async def test_refused_connections(
    any_client: Client, broker: ScriptedBroker, code: int, kind: type[BrokerError]
) -> None:
    """For good, or for now."""
    broker.refusal = code
    with pytest.raises(kind):
        await any_client.connect()
    broker.refusal = 0
    async with any_client.connected():
        pass


async def test_refused_subscriptions(any_client: Client, broker: ScriptedBroker) -> None:
    """The code of each is handed on."""
    broker.suback = 0x87
    async with any_client.connected() as connection:
        codes = await connection.subscribe([Subscription("a", 1), Subscription("b", 1)])
    assert [0x87, 0x87] == codes


@pytest.mark.parametrize(
    ("code", "words"), [(0x8E, "MQTT_CLIENT_ID"), (0x8B, "(?i)server shutting down"), (0x98, "(?i)administrative")]
)
async def test_the_reason_of_a_disconnect_is_explained(
    any_client: Client, broker: ScriptedBroker, code: int, words: str
) -> None:
    """A session taken over says which setting to change."""
    await any_client.connect()
    (await broker.connection()).disconnect(code)
    with pytest.raises(BrokerUnavailable, match=words):
        raise await lost(any_client)


@pytest.mark.parametrize(
    "octets",
    [
        pytest.param(b"\x00\x00", id="packet type 0"),
        pytest.param(b"\xd0\xff\xff\xff\xff\x7f", id="endless length"),
        pytest.param(b"\x20\x03\x00\x00\x00", id="second CONNACK"),
    ],
)
async def test_garbage_ends_the_connection(any_client: Client, broker: ScriptedBroker, octets: bytes) -> None:
    """And a new one can be made."""
    await any_client.connect()
    (await broker.connection()).send(octets)
    if any_client.driver.name != "aiomqtt" or octets[0] != 0x20:  # paho takes a second CONNACK for a first
        await lost(any_client)
    else:
        assert any_client.connection is not None
        await any_client.connection.close()
    async with any_client.connected():
        pass


async def test_a_held_back_puback_keeps_a_publication_waiting(any_client: Client, broker: ScriptedBroker) -> None:
    """Until the answer comes, or the connection ends."""
    broker.on(packets.PublishPacket, None)
    async with any_client.connected() as client_side:
        connection = await broker.connection()
        first, second = (asyncio.create_task(client_side.publish(Publication("a", b"", qos=1))) for _ in range(2))
        published = await connection.expect(packets.PublishPacket, 2)
        assert published[0].packet_id is not None
        connection.send(packets.PubAckPacket(published[0].packet_id))
        await first
        assert not second.done()
        connection.cut()
        with pytest.raises(BrokerUnavailable):
            await second


async def test_a_refused_publication_is_an_error(any_client: Client, broker: ScriptedBroker) -> None:
    """PUBACK with Quota exceeded."""

    def refuse(connection: BrokerConnection, packet: packets.PublishPacket) -> None:
        assert packet.packet_id is not None
        connection.send(packets.PubAckPacket(packet.packet_id, reason_code=packets.PubAckReasonCode.QUOTA_EXCEEDED))

    broker.on(packets.PublishPacket, refuse)
    async with any_client.connected() as connection:
        with pytest.raises(PublishError):
            await connection.publish(Publication("a", b"", qos=1))


# --- what only the mqtt5 driver promises ---


async def test_no_message_comes_before_the_connection_is_handed_out(client: Client, broker: ScriptedBroker) -> None:
    """Messages in the same read as CONNACK wait, so that each can be acknowledged (the client asserts it)."""

    def accept(connection: BrokerConnection, _packet: packets.ConnectPacket) -> None:
        publish = packets.PublishPacket("a", b"1", qos=packets.QoS.AT_LEAST_ONCE, packet_id=1)
        connection.send(packets.ConnAckPacket(session_present=True), publish)

    broker.on(packets.ConnectPacket, accept)
    async with client.connected():
        await (await broker.connection()).expect(packets.PubAckPacket)
    assert [b"1"] == client.payloads


async def test_topic_aliases_are_resolved_per_connection(client: Client, broker: ScriptedBroker) -> None:
    """And announced in CONNECT."""
    await client.connect()
    connection = await broker.connection()
    assert 0 < connection.of(packets.ConnectPacket)[0].topic_alias_max
    connection.publish("first/topic", b"1", topic_alias=1)
    connection.publish("", b"2", topic_alias=1)
    await client.received(2)
    assert ["first/topic", "first/topic"] == [message.topic for message in client.inbox]
    connection.cut()
    await lost(client)
    await client.connect()
    connection = await broker.connection(2)
    connection.publish("", b"3", topic_alias=1)
    await lost(client)
    assert 0x82 == int(connection.of(packets.DisconnectPacket)[0].reason_code)


@pytest.mark.parametrize(
    ("octets", "code"),
    [
        pytest.param(b"\x30\x06\x00\x03a/#\x00", 0x90, id="wildcard in a topic"),
        pytest.param(b"\x30\x05\x00\x02\xff\xff\x00", 0x81, id="topic that makes the codec panic"),
        pytest.param(b"\xc0\x00", 0x81, id="PINGREQ"),
        pytest.param(b"\x90\x04\x00\x07\x00\x00", 0x82, id="SUBACK for nothing"),
        pytest.param(b"\x20\x03\x00\x00\x00", 0x82, id="second CONNACK"),
        pytest.param(packets.AuthPacket(authentication_method="m").write(), 0x82, id="AUTH"),
    ],
)
async def test_the_broker_is_told_what_it_did_wrong(
    client: Client, broker: ScriptedBroker, octets: bytes, code: int
) -> None:
    """DISCONNECT carries the reason code (MQTT 5 section 4.13); what came before is still delivered."""
    await client.connect()
    connection = await broker.connection()
    connection.send(packets.PublishPacket("a", b"before"), octets, packets.PublishPacket("a", b"after"))
    await lost(client)
    [disconnect] = await connection.expect(packets.DisconnectPacket)
    assert code == int(disconnect.reason_code)
    assert [b"before"] == client.payloads


async def test_something_else_than_connack_is_no_broker(client: Client, broker: ScriptedBroker) -> None:
    """A PUBLISH before CONNACK, or another protocol altogether."""
    for octets in (packets.PublishPacket("a", b"").write(), b"HTTP/1.1 400 Bad Request\r\n\r\n"):
        broker.on(packets.ConnectPacket, lambda connection, _packet, answer=octets: connection.send(answer))  # type: ignore[misc]
        with pytest.raises(BrokerUnavailable):
            await client.connect()
    assert [] == client.inbox


async def test_enhanced_authentication_is_refused(client: Client, broker: ScriptedBroker) -> None:
    """The broker asks for a method that was not offered."""
    auth = packets.AuthPacket(
        reason_code=packets.AuthReasonCode.CONTINUE_AUTHENTICATION, authentication_method="SCRAM-SHA-1"
    )
    broker.on(packets.ConnectPacket, lambda connection, _packet: connection.send(auth))
    with pytest.raises(BrokerRefused, match="enhanced authentication"):
        await client.connect()


async def test_an_oversize_payload_is_delivered_as_its_beginning(client: Client, broker: ScriptedBroker) -> None:
    """Acknowledged like any other; the next message is whole."""
    async with client.connected():
        connection = await broker.connection()
        connection.publish("a", b"x" * (8 * 2**20 + 1), qos=1, packet_id=1)
        connection.publish("a", b"next", qos=1, packet_id=2)
        await connection.expect(packets.PubAckPacket, 2)
    large, following = client.inbox
    assert (8 * 2**20 + 1, 4096, 32) == (large.truncated_size, len(large.payload), len(large.digest))
    assert (b"next", 0, b"") == (following.payload, following.truncated_size, following.digest)


# --- pausing and keepalive ---


async def test_pausing_stops_at_once_and_resuming_loses_nothing(client: Client, broker: ScriptedBroker) -> None:
    """A pause from within a message holds back the rest of the same read."""
    client.hold = True
    async with client.connected() as client_side:
        connection = await broker.connection()
        connection.send(*[packets.PublishPacket("a", b"%d" % n) for n in range(1_000)])
        await client.received(1)
        for _ in range(20):
            client_side.pause()
            count = len(client.inbox)
            for _ in range(3):
                await asyncio.sleep(0)
            assert count == len(client.inbox)
            client_side.resume()
            await asyncio.sleep(0)
        await client.received(1_000)
    assert [b"%d" % n for n in range(1_000)] == client.payloads


async def test_a_receiver_may_pause_in_the_middle_of_a_read(client: Client, broker: ScriptedBroker) -> None:
    """A full window takes not one message more, however many were read with the last one."""
    counts: list[int] = []

    def pause(_message: object) -> None:
        counts.append(len(counts))
        if len(counts) % 100 == 0:
            connection.pause()

    connection = await client.driver.make()(client.options, 1, pause)
    (await broker.connection()).send(*[packets.PublishPacket("a", b"") for _ in range(300)])
    for full in (100, 200, 300):
        await until(lambda full=full: len(counts) >= full)  # type: ignore[misc]
        await asyncio.sleep(0.01)
        assert full == len(counts)
        connection.resume()
    await connection.close()


async def test_while_paused_pings_go_on_and_silence_is_no_death(broker: ScriptedBroker, client: Client) -> None:
    """The server's keep alive replaces ours; unanswered pings end nothing while reading is paused."""
    broker.connack = {"server_keep_alive": 1}
    broker.on(packets.PingReqPacket, None)
    connection = await client.connect()
    connection.pause()
    broker_side = await broker.connection()
    await broker_side.expect(packets.PingReqPacket, 4)
    broker_side.publish("a", b"alive")
    connection.resume()
    await client.received(1)
    await connection.close()


async def test_unanswered_pings_end_the_connection(broker: ScriptedBroker, client: Client) -> None:
    """A broker that is silent for two intervals is gone."""
    broker.connack = {"server_keep_alive": 1}
    broker.on(packets.PingReqPacket, None)
    await client.connect()
    assert "has not answered for 1 s" in str(await lost(client))


async def test_closing_does_not_wait_for_a_frozen_broker(broker: ScriptedBroker, client: Client) -> None:
    """Not even with a write buffer that it does not empty, reading paused."""
    connection = await client.connect()
    broker_side = await broker.connection()
    broker_side.freeze()
    connection.pause()
    for _ in range(20):
        task = asyncio.create_task(connection.publish(Publication("a", b"x" * 2**20)))
        await asyncio.wait([task], timeout=0.2)
        if not task.done():
            break
    async with asyncio.timeout(PATIENCE):
        await connection.close()
        with pytest.raises(BrokerUnavailable):
            await task
    broker_side.cut()


async def test_closing_drops_nothing_that_was_sent_last(broker: ScriptedBroker, client: Client) -> None:
    """Acknowledgements arrive although bytes of the broker lie unread in the socket."""
    client.hold = True
    connection = await client.connect()
    broker_side = await broker.connection()
    for number in range(1, 101):
        broker_side.publish("a", b"x" * 1_000, qos=1, packet_id=number)
    messages = list(await client.received(100))
    connection.pause()
    broker_side.send(*[packets.PublishPacket("a", b"x" * 1_000) for _ in range(100)])
    connection.acknowledge(messages)
    await connection.close()
    await broker_side.expect(packets.PubAckPacket, 100)
    await broker_side.expect(packets.DisconnectPacket)
    assert 100 == len(client.inbox)


# --- limits of the broker ---


async def test_the_brokers_limits_are_respected(broker: ScriptedBroker, client: Client) -> None:
    """Receive Maximum, Maximum Packet Size, Maximum QoS and Retain Available."""
    broker.connack = {
        "receive_max": 3,
        "max_packet_size": 100,
        "max_qos": packets.QoS.AT_LEAST_ONCE,
        "retain_available": False,
    }
    held: list[int] = []
    broker.on(packets.PublishPacket, lambda _connection, packet: held.append(packet.packet_id or 0))
    async with client.connected() as client_side:
        for refused in (
            Publication("a", b"x" * 100, qos=1),
            Publication("a", b"x" * 100, qos=0),
            Publication("a", b"", qos=2),
            Publication("a", b"", qos=1, retain=True),
        ):
            with pytest.raises(PublishError):
                await client_side.publish(refused)
        tasks = [asyncio.create_task(client_side.publish(Publication("a", b"", qos=1))) for _ in range(10)]
        connection = await broker.connection()
        answered = 0
        while answered < 10:
            await connection.expect(packets.PublishPacket, min(answered + 3, 10))
            assert len(held) <= answered + 3
            connection.send(packets.PubAckPacket(held[answered]))
            answered += 1
        await asyncio.gather(*tasks)
        filters = [Subscription(f"filter/number/{n}", 1) for n in range(50)]
        assert [1] * 50 == await client_side.subscribe(filters)
    assert 1 < len(connection.of(packets.SubscribePacket))
    assert all(len(packet.write()) <= 100 for packet in connection.of(packets.SubscribePacket))


@pytest.mark.parametrize("turns", range(12))
async def test_giving_up_in_the_middle_of_connecting_ends(client: Client, turns: int) -> None:
    """Whoever stops connecting, at whatever moment, is let go (uvloop does not tell a protocol of the end then)."""
    connecting = asyncio.create_task(client.connect())
    for _ in range(turns):
        await asyncio.sleep(0)
    connecting.cancel()
    done, _ = await asyncio.wait([connecting], timeout=PATIENCE)
    assert {connecting} == done
    if not connecting.cancelled():
        await connecting.result().close()
