"""The decode seam: bytes become packets, bad bytes become ProtocolError, and nothing else ever happens."""

import hashlib
import random
from collections import Counter
from typing import Any

import mqtt5
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.exceptions import ProtocolError
from core.mqtt.mqtt5_codec import FROM_CLIENT, Decoder, OversizePublish

_PUBLISH = mqtt5.PublishPacket(
    "plant/hällen/1",
    b"\xff\x00payload",
    qos=mqtt5.QoS.AT_LEAST_ONCE,
    packet_id=7,
    content_type="text/plain",
    response_topic="answers/ä",
    correlation_data=b"\xff\xfe",
    subscription_ids=[5, 300],
    user_properties=[("naïve", "x"), ("c", "d")],
    topic_alias=3,
    message_expiry_interval=5,
)
_VALID: list[Any] = [
    _PUBLISH,
    mqtt5.PublishPacket("a/b", b"x" * 300),
    mqtt5.PublishPacket("", b"x", topic_alias=1),
    mqtt5.PublishPacket("a", b"", qos=mqtt5.QoS.EXACTLY_ONCE, packet_id=65535, duplicate=True, retain=True),
    mqtt5.ConnAckPacket(
        session_present=True,
        assigned_client_id="ä",
        reason_str="wëlcome",
        server_reference="s",
        user_properties=[("a", "b")],
        max_packet_size=1000,
        receive_max=10,
        server_keep_alive=9,
    ),
    mqtt5.PubAckPacket(9, reason_str="ä", reason_code=mqtt5.PubAckReasonCode.QUOTA_EXCEEDED),
    mqtt5.PubAckPacket(9),
    mqtt5.PubRecPacket(9, reason_str="ä"),
    mqtt5.PubRelPacket(9, user_properties=[("ä", "b")]),
    mqtt5.PubCompPacket(9),
    mqtt5.SubAckPacket(3, [mqtt5.SubAckReasonCode.NOT_AUTHORIZED], reason_str="ä"),
    mqtt5.UnsubAckPacket(3, [mqtt5.UnsubAckReasonCode.SUCCESS], reason_str="ä"),
    mqtt5.PingRespPacket(),
    mqtt5.DisconnectPacket(
        reason_code=mqtt5.DisconnectReasonCode.SESSION_TAKEN_OVER, reason_str="ä", server_reference="s"
    ),
    mqtt5.AuthPacket(authentication_method="ä", authentication_data=b"\xff"),
]


def _decode(octets: bytes, piece: int = 65_536, decoder: Decoder | None = None) -> list[Any]:
    decoder = decoder or Decoder()
    packets = []
    for start in range(0, len(octets), piece):
        decoder.feed(octets[start : start + piece])
        while (packet := decoder.next()) is not None:
            packets.append(packet)
    return packets


@pytest.mark.parametrize("piece", [1, 2, 3, 7, 100, 65_536])
def test_packets_come_out_whole_however_the_bytes_come_in(piece: int) -> None:
    """Packet borders and read borders have nothing to do with each other."""
    octets = b"".join(packet.write() for packet in _VALID)
    assert [repr(packet) for packet in _VALID] == [repr(packet) for packet in _decode(octets, piece)]


def test_the_buffer_grows_for_a_large_packet_and_shrinks_again() -> None:
    """A packet of 1 MB in small reads is taken in, at no more than twice its size, and then the room is small again."""
    octets = mqtt5.PublishPacket("a", b"x" * 1_000_000).write()
    decoder = Decoder(capacity=1_000)
    rooms = []
    for start in range(0, len(octets), 500):
        rooms.append(len(decoder.room()))
        decoder.feed(octets[start : start + 500])
    packet = decoder.next()
    assert isinstance(packet, mqtt5.PublishPacket)
    assert 1_000_000 == len(packet.payload)
    assert max(rooms) <= 2 * len(octets)
    assert 1_000 == len(decoder.room())


def test_there_is_room_even_while_nobody_takes_packets() -> None:
    """A paused connection may still be handed what a TLS layer had decrypted."""
    decoder = Decoder(capacity=16)
    octets = mqtt5.PublishPacket("a", b"12345678").write() * 20
    decoder.feed(octets)
    packets = []
    while (packet := decoder.next()) is not None:
        packets.append(packet)
    assert 20 == len(packets)


def _first_byte(packet: Any, value: int) -> bytes:
    octets = bytearray(packet.write())
    octets[0] = value
    return bytes(octets)


def _topic(name: bytes) -> bytes:
    body = len(name).to_bytes(2) + name + b"\x00"
    return bytes([0x30, len(body)]) + body


@pytest.mark.parametrize(
    ("octets", "code"),
    [
        pytest.param(_topic(b"a/+"), 0x90, id="wildcard +"),
        pytest.param(_topic(b"a/#"), 0x90, id="wildcard #"),
        pytest.param(_topic(b"a\0b"), 0x90, id="NUL in the topic"),
        pytest.param(_topic(b"\xc3\xa4/#"), 0x90, id="wildcard beside other letters"),
        pytest.param(_topic(b"a\xff"), 0x81, id="topic is not UTF-8"),
        pytest.param(_topic(b"\xed\xa0\x80"), 0x81, id="topic has a surrogate"),
        pytest.param(b"\x32\x06\x00\x01a\x00\x00\x00", 0x81, id="PUBLISH with packet id 0"),
        pytest.param(b"\x40\x02\x00\x00", 0x81, id="PUBACK with packet id 0"),
        pytest.param(b"\x62\x02\x00\x00", 0x81, id="PUBREL with packet id 0"),
        pytest.param(_first_byte(_PUBLISH, 0x36), 0x81, id="QoS 3"),
        pytest.param(b"\x00\x00", 0x81, id="packet type 0"),
        pytest.param(mqtt5.ConnectPacket("x").write(), 0x81, id="CONNECT from a server"),
        pytest.param(mqtt5.SubscribePacket(1, [mqtt5.TopicFilter("a")]).write(), 0x81, id="SUBSCRIBE from a server"),
        pytest.param(mqtt5.UnsubscribePacket(1, ["a"]).write(), 0x81, id="UNSUBSCRIBE from a server"),
        pytest.param(mqtt5.PingReqPacket().write(), 0x81, id="PINGREQ from a server"),
        pytest.param(b"\xd0\xff\xff\xff\xff\x7f", 0x81, id="length of five bytes"),
        pytest.param(b"\xd0\x01\x00", 0x81, id="PINGRESP with a body"),
        pytest.param(b"\x30\x00", 0x81, id="PUBLISH without anything"),
        pytest.param(b"\x30\x03\x00\x09a", 0x81, id="topic longer than the packet"),
        pytest.param(b"\x30\x03\x00\x01a", 0x81, id="PUBLISH without properties"),
        pytest.param(b"\x32\x05\x00\x01a\x00\x01", 0x81, id="QoS 1 PUBLISH without properties"),
        pytest.param(b"\x30\x05\x00\x01a\x01\x77", 0x81, id="unknown property"),
        pytest.param(b"\x30\x05\x00\x01a\x05\x01", 0x81, id="properties longer than the packet"),
        pytest.param(b"\xe0\x05\x8e\x03\x1f\x00\x09", 0x81, id="text longer than its properties"),
        pytest.param(b"\xe0\x07\x8e\x05\x1f\x00\x02\xff\xff", 0x81, id="reason is not UTF-8"),
        pytest.param(b"\x30\x03\x00\x00\x00", 0x81, id="neither topic nor alias"),
        pytest.param(b"\x30\x06\x00\x00\x03\x23\x00\x00", 0x81, id="topic alias 0"),
        pytest.param(b"\x90\x80\x80\x80\x01", 0x95, id="SUBACK of 2 MiB"),
    ],
)
def test_what_mqtt_forbids_is_a_protocol_error_with_its_reason_code(octets: bytes, code: int) -> None:
    """The codec lets some of this through, and panics on some."""
    with pytest.raises(ProtocolError) as caught:
        _decode(octets)
    assert code == caught.value.code


def test_a_server_may_be_the_one_who_decodes() -> None:
    """The seam serves both ends: a scripted broker takes CONNECT and refuses CONNACK."""
    [packet] = _decode(mqtt5.ConnectPacket("me").write(), decoder=Decoder(FROM_CLIENT))
    assert isinstance(packet, mqtt5.ConnectPacket)
    with pytest.raises(ProtocolError):
        _decode(mqtt5.ConnAckPacket().write(), decoder=Decoder(FROM_CLIENT))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the codec's way to panic
def test_a_client_that_sends_what_makes_the_codec_panic_gets_a_protocol_error() -> None:
    """The panic, which is no Exception, is caught too where no check goes before it."""
    octets = mqtt5.ConnectPacket("abc").write().replace(b"abc", b"a\xffc")
    with pytest.raises(ProtocolError, match="panics"):
        _decode(octets, decoder=Decoder(FROM_CLIENT))


def _mutate(chance: random.Random, octets: bytes) -> bytes:
    mutant = bytearray(octets)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(mutant))
        match chance.randrange(5):
            case 0 | 1:
                mutant[at] = chance.randrange(256)
            case 2:
                mutant[at] ^= 1 << chance.randrange(8)
            case 3 if len(mutant) > 2:
                del mutant[at]
            case _:
                mutant.insert(at, chance.randrange(256))
    return bytes(mutant)


def test_mutated_packets_raise_nothing_but_protocol_errors(capfd: pytest.CaptureFixture[str]) -> None:
    """Of 30,000 mutants many are refused, and none makes the codec panic: a panic would print a backtrace."""
    chance = random.Random(20_261_121)  # noqa: S311 - the same mutants in every run
    valid = [packet.write() for packet in _VALID]
    codes: Counter[int] = Counter()
    for _ in range(30_000):
        try:
            _decode(_mutate(chance, chance.choice(valid)), decoder=Decoder(max_payload=chance.choice([20, 2**24])))
        except ProtocolError as error:
            codes[error.code] += 1
    assert {0x81, 0x90, 0x95} == set(codes)
    assert codes.total() > 10_000
    assert ("", "") == capfd.readouterr()


@given(st.lists(st.binary(max_size=40), max_size=8))
def test_arbitrary_bytes_raise_nothing_but_protocol_errors(pieces: list[bytes]) -> None:
    """Noise is refused or waits for more of it."""
    decoder = Decoder(max_payload=64)
    try:
        for piece in pieces:
            decoder.feed(piece)
            while decoder.next() is not None:
                pass
    except ProtocolError:
        pass


# --- payloads too large to keep ---


@pytest.mark.parametrize("piece", [1, 999, 100_000])
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_an_oversize_publish_is_skimmed(piece: int, qos: int) -> None:
    """It is not buffered: topic, properties, the first 4 KiB, the size and the digest are all that is kept."""
    payload = bytes(range(256)) * 118
    large = mqtt5.PublishPacket(
        "a/b", payload, qos=mqtt5.QoS(qos), packet_id=9 if qos else None, subscription_ids=[3], content_type="x"
    )
    small = mqtt5.PublishPacket("c", b"1")
    decoder = Decoder(max_payload=10_000, capacity=8_192)
    skimmed, following = _decode(large.write() + small.write(), piece, decoder)
    assert isinstance(skimmed, OversizePublish)
    assert (30_208, hashlib.sha256(payload).digest()) == (skimmed.size, skimmed.digest)
    assert ("a/b", payload[:4096], [3], "x") == (
        skimmed.packet.topic,
        skimmed.packet.payload,
        skimmed.packet.subscription_ids,
        skimmed.packet.content_type,
    )
    assert (9 if qos else None) == skimmed.packet.packet_id
    assert repr(small) == repr(following)
    assert len(decoder.room()) == 8_192


def test_a_publish_at_the_bound_is_kept() -> None:
    """The bound counts all that follows the fixed header."""
    at_bound = mqtt5.PublishPacket("a", b"x" * 96).write()
    above = mqtt5.PublishPacket("a", b"x" * 97).write()
    [kept] = _decode(at_bound, decoder=Decoder(max_payload=100))
    [skimmed] = _decode(above, decoder=Decoder(max_payload=100))
    assert isinstance(kept, mqtt5.PublishPacket)
    assert isinstance(skimmed, OversizePublish)


def test_an_oversize_publish_is_checked_like_any_other() -> None:
    """Its topic must not have wildcards either."""
    octets = mqtt5.PublishPacket("a/b", b"x" * 1_000).write().replace(b"a/b", b"a/#")
    with pytest.raises(ProtocolError) as caught:
        _decode(octets, decoder=Decoder(max_payload=100))
    assert 0x90 == caught.value.code


@pytest.mark.parametrize("piece", [1_000, 65_536, 300_000])
@pytest.mark.parametrize("payload", [b"", b"1", b"x" * 9_000])
@pytest.mark.parametrize("max_payload", [100_000, 1_000_000])
def test_properties_too_large_to_be_kept_are_skimmed(piece: int, payload: bytes, max_payload: int) -> None:
    """The first user properties are kept up to 64 KiB, and all that is needed to tell what this is and where from."""
    pairs = [("k", "v" * 9_000) for _ in range(20)]
    large = mqtt5.PublishPacket(
        "a/b",
        payload,
        qos=mqtt5.QoS(1),
        packet_id=9,
        topic_alias=4,
        subscription_ids=[3],
        content_type="x",
        user_properties=pairs,
    )
    small = mqtt5.PublishPacket("c", b"1")
    skimmed, following = _decode(large.write() + small.write(), piece, Decoder(max_payload=max_payload))
    assert isinstance(skimmed, OversizePublish)
    packet = skimmed.packet
    assert ("a/b", 9, 4, [3], "x") == (
        packet.topic,
        packet.packet_id,
        packet.topic_alias,
        packet.subscription_ids,
        packet.content_type,
    )
    assert (pairs[:7], payload[:4096]) == (packet.user_properties, packet.payload)
    assert (len(payload) + 13 * 9_006, hashlib.sha256(payload).digest()) == (skimmed.size, skimmed.digest)
    assert repr(small) == repr(following)


def test_large_properties_are_not_gathered() -> None:
    """Those of a message that is small enough as a whole are passed over as they come, too."""
    octets = mqtt5.PublishPacket("a", b"1", user_properties=[("", "")] * 400_000).write()
    decoder = Decoder(max_payload=8 * 2**20)
    packets = []
    for start in range(0, len(octets), 50_000):
        decoder.feed(octets[start : start + 50_000])
        packets.append(decoder.next())
        assert len(decoder._buffer) <= 128 * 1024
    assert [True] == [isinstance(packet, OversizePublish) for packet in packets if packet is not None]


_LARGE = b"\x30\xff\xff\xff\x7f"


@pytest.mark.parametrize(
    ("octets", "code"),
    [
        (_LARGE + b"\x00\x01a" + b"\xff\xff\xff\x7f", 0x81),
        (_LARGE + b"\x00\x01a" + b"\xff\xff\xff\x3f\x26\x00\x01\xff\x00\x00", 0x81),
        (_LARGE + b"\x00\x01a" + b"\xff\xff\xff\x3f\x04", 0x81),
        (_LARGE + b"\x00\x01a" + b"\x05\x26\x00\x01a\x00\x09", 0x81),
        (_LARGE + b"\x00\x01a" + b"\xff\xff\xff\x3f" + 20 * (b"\x09\xff\xff" + bytes(65_535)), 0x95),
    ],
    ids=["longer than the packet", "not UTF-8", "unknown", "cut off", "too many that are not the sender's"],
)
def test_large_properties_are_checked_like_any_other(octets: bytes, code: int) -> None:
    """A broker that sends no MQTT is not listened to for longer because it sends a lot of it."""
    with pytest.raises(ProtocolError) as caught:
        _decode(octets, decoder=Decoder())
    assert code == caught.value.code
