"""Publishing: flows until the broker has the message, over reconnects, within the broker's limits."""

import random
from typing import Any

import mqtt5
import pytest

from core.exceptions import BrokerUnavailable, ProtocolError, PublishError
from core.mqtt.connection import Publication
from core.mqtt.mqtt5_outbound import Outbound
from core.mqtt.mqtt5_packets import Limits


class Side:
    """An outbound half with its output read as text, and the ends of its flows."""

    def __init__(self, **options: Any) -> None:
        self._output: list[bytes] = []
        self.outbound = Outbound(self._output, **options)
        self.ends: list[str] = []
        self.begin()

    def begin(self, *, kept: bool = True, **limits: Any) -> list[str]:
        self.outbound.begin(Limits(**limits), kept=kept)
        return self.sent()

    def publish(self, topic: str, qos: int = 1) -> Publication:
        publication = Publication(topic, b"", qos=qos)
        self.again(publication)
        return publication

    def again(self, publication: Publication) -> None:
        topic = publication.topic
        self.outbound.publish(publication, lambda error: self.ends.append(f"{topic}: {error or 'arrived'}"))

    def answer(self, kind: str, packet_id: int) -> None:
        if kind == "PUBCOMP":
            self.outbound.completed(packet_id)
        else:
            answered = self.outbound.acknowledged if kind == "PUBACK" else self.outbound.recorded
            answered(packet_id, 0, "")

    def sent(self) -> list[str]:
        """What was sent since the last time, such as ``PUBLISH 1 a DUP``."""
        texts = [_text(octets) for octets in self._output]
        self._output.clear()
        return texts


def _text(octets: bytes) -> str:
    packet, _ = mqtt5.read(memoryview(octets))
    if isinstance(packet, mqtt5.PublishPacket):
        return f"PUBLISH {packet.packet_id} {packet.topic}{' DUP' if packet.duplicate else ''}"
    assert isinstance(packet, mqtt5.PubRelPacket)
    code = int(packet.reason_code)
    return f"PUBREL {packet.packet_id}{f' 0x{code:02X}' if code else ''}"


# --- the two flows ---


def test_qos_1_ends_with_puback() -> None:
    """The message has arrived, once."""
    side = Side()
    side.publish("a")
    assert ["PUBLISH 1 a"] == side.sent()
    assert [] == side.ends
    side.outbound.acknowledged(1, 0, "")
    side.outbound.acknowledged(1, 0, "")
    assert ["a: arrived"] == side.ends
    assert 0 == len(side.outbound)


def test_qos_2_ends_with_pubcomp() -> None:
    """PUBREC is answered with PUBREL, as often as it comes."""
    side = Side()
    side.publish("a", qos=2)
    side.outbound.recorded(1, 0, "")
    side.outbound.recorded(1, 0, "")
    assert ["PUBLISH 1 a", "PUBREL 1", "PUBREL 1"] == side.sent()
    assert [] == side.ends
    side.outbound.completed(1)
    assert ["a: arrived"] == side.ends


@pytest.mark.parametrize("qos", [1, 2])
def test_a_refusal_is_a_publish_error(qos: int) -> None:
    """PUBACK or PUBREC with a code from 0x80 on ends the flow; a lower one does not."""
    side = Side()
    answer = side.outbound.acknowledged if qos == 1 else side.outbound.recorded
    side.publish("a", qos)
    answer(1, 0x87, "not authorized")
    assert ["a: the broker refuses the message to 'a': not authorized"] == side.ends
    assert ["PUBLISH 1 a"] == side.sent()
    side.publish("b", qos)
    answer(2, 0x10, "no matching subscribers")
    assert 1 == len(side.ends) if qos == 2 else ["b: arrived"] == side.ends[1:]


def test_answers_of_the_wrong_kind_are_protocol_errors() -> None:
    """PUBACK for QoS 2, PUBREC for QoS 1, PUBCOMP before PUBREC."""
    side = Side()
    side.publish("one", qos=1)
    side.publish("two", qos=2)
    for wrong in (
        lambda: side.outbound.acknowledged(2, 0, ""),
        lambda: side.outbound.recorded(1, 0, ""),
        lambda: side.outbound.completed(2),
    ):
        with pytest.raises(ProtocolError):
            wrong()


def test_answers_to_nothing_are_harmless() -> None:
    """An unknown PUBREC is told so; the others need no answer."""
    side = Side()
    side.outbound.acknowledged(9, 0, "")
    side.outbound.completed(9)
    side.outbound.recorded(9, 0, "")
    assert ["PUBREL 9 0x92"] == side.sent()


# --- over reconnects ---


def test_with_the_session_kept_everything_unfinished_is_sent_again_in_order() -> None:
    """PUBLISH with DUP and its old identifier; PUBREL where PUBREC had come (MQTT 5 section 4.4)."""
    side = Side()
    for topic, qos in [("a", 1), ("b", 2), ("c", 2), ("d", 1)]:
        side.publish(topic, qos)
    side.outbound.recorded(2, 0, "")
    side.outbound.end()
    side.sent()
    assert ["PUBREL 2", "PUBLISH 1 a DUP", "PUBLISH 3 c DUP", "PUBLISH 4 d DUP"] == side.begin(kept=True)


def test_without_the_session_nothing_is_sent_again() -> None:
    """Who published was told that the connection was lost; a second attempt is a new message."""
    side = Side()
    publication = side.publish("a", 2)
    side.outbound.end()
    side.sent()
    assert [] == side.begin(kept=False)
    side.again(publication)
    assert ["PUBLISH 2 a"] == side.sent()


def test_a_second_attempt_joins_the_flow_of_the_first() -> None:
    """The same object published again is not a second message: QoS 2 stays exactly once."""
    side = Side()
    publication = side.publish("a", 2)
    side.outbound.end()
    side.begin(kept=True)
    side.again(publication)
    assert [] == side.sent()
    side.outbound.recorded(1, 0, "")
    side.outbound.completed(1)
    assert ["a: arrived"] == side.ends


def test_a_second_attempt_learns_what_became_of_the_first_meanwhile() -> None:
    """The flow had ended on the new connection before anybody asked."""
    side = Side()
    publication = side.publish("a", 1)
    side.outbound.end()
    side.begin(kept=True)
    side.outbound.acknowledged(1, 0, "")
    assert [] == side.ends
    side.sent()
    side.again(publication)
    assert ["a: arrived"] == side.ends
    assert [] == side.sent()


def test_what_was_never_sent_is_withdrawn_with_the_connection() -> None:
    """It waited for the quota; a second attempt queues it again."""
    side = Side()
    side.begin(receive_max=1)
    side.publish("a")
    side.publish("b")
    side.outbound.end()
    side.sent()
    assert ["PUBLISH 1 a DUP"] == side.begin(kept=True)
    assert 1 == len(side.outbound)


def test_an_abandoned_flow_goes_on_without_anybody() -> None:
    """It may have reached the broker, so its identifier stays taken; one that waited is withdrawn."""
    side = Side()
    side.begin(receive_max=1)
    flows = [side.outbound.publish(Publication(topic, b"", qos=1), side.ends.append) for topic in ("a", "b")]  # type: ignore[arg-type]
    for flow in flows:
        side.outbound.abandon(flow)
    assert 1 == len(side.outbound)
    side.outbound.acknowledged(1, 0, "")
    assert ["PUBLISH 1 a"] == side.sent()
    assert [] == side.ends


# --- limits ---


def test_the_brokers_receive_maximum_is_never_exceeded() -> None:
    """The rest waits and goes out in order as answers come."""
    side = Side()
    side.begin(receive_max=2)
    for topic in "abcd":
        side.publish(topic)
    assert ["PUBLISH 1 a", "PUBLISH 2 b"] == side.sent()
    side.outbound.acknowledged(2, 0, "")
    assert ["PUBLISH 3 c"] == side.sent()
    side.outbound.acknowledged(1, 0, "")
    assert ["PUBLISH 4 d"] == side.sent()


def test_a_lower_receive_maximum_after_a_reconnect_holds_for_what_is_sent_again() -> None:
    """Releases count; what does not fit waits with its identifier and its DUP flag."""
    side = Side()
    for topic in "abcd":
        side.publish(topic, qos=2)
    side.outbound.recorded(1, 0, "")
    side.outbound.end()
    side.sent()
    assert ["PUBREL 1", "PUBLISH 2 b DUP"] == side.begin(kept=True, receive_max=2)
    side.outbound.completed(1)
    assert ["PUBLISH 3 c DUP"] == side.sent()


def test_the_queue_is_bounded() -> None:
    """Beyond it publishing fails at once."""
    side = Side(max_queued=1)
    side.begin(receive_max=1)
    side.publish("a")
    side.publish("b")
    with pytest.raises(PublishError, match="1 publications wait"):
        side.publish("c")


def test_a_packet_larger_than_the_broker_allows_is_refused() -> None:
    """MQTT 5 section 3.2.2.3.6."""
    side = Side()
    side.begin(max_packet_size=30)
    with pytest.raises(PublishError, match="the broker allows 30"):
        side.outbound.publish(Publication("a", b"x" * 30, qos=1), lambda error: None)
    assert 0 == len(side.outbound)


def test_a_packet_that_the_broker_no_longer_allows_ends_its_flow() -> None:
    """The limit became smaller over the reconnect; nobody waits, and a second attempt is told."""
    side = Side()
    publication = Publication("a", b"x" * 50, qos=1)
    side.again(publication)
    side.outbound.end()
    side.sent()
    assert [] == side.begin(kept=True, max_packet_size=30)
    side.again(publication)
    assert ["a: cannot publish to 'a': the packet has 58 bytes, the broker allows 30"] == side.ends


@pytest.mark.parametrize(
    ("limits", "publication", "words"),
    [
        ({"max_qos": 1}, Publication("a", b"", qos=2), "the broker takes QoS 1 at most"),
        ({"max_qos": 0}, Publication("a", b"", qos=1), "the broker takes QoS 0 at most"),
        ({"retain": False}, Publication("a", b"", retain=True), "the broker retains no messages"),
        ({}, Publication("a/#", b""), "cannot publish to 'a/#'"),
    ],
)
def test_what_the_broker_would_not_take_is_refused(
    limits: dict[str, Any], publication: Publication, words: str
) -> None:
    """Maximum QoS, Retain Available, and topics that cannot be written."""
    side = Side()
    side.begin(**limits)
    with pytest.raises(PublishError, match=words):
        side.again(publication)


# --- packet identifiers ---


def test_identifiers_are_not_used_twice_at_a_time() -> None:
    """They wrap around past those in use, those of SUBSCRIBE included, and never become 0."""
    side = Side()
    request = side.outbound.request_id()
    side.publish("long")
    for _ in range(65_533):
        side.outbound.give_back(side.outbound.request_id())
    assert (1, ["PUBLISH 2 long"]) == (request, side.sent())
    assert 3 == side.outbound.request_id()
    side.outbound.give_back(request)
    side.outbound.acknowledged(2, 0, "")


def test_when_all_identifiers_are_taken_it_says_so() -> None:
    """65,535 requests without an answer."""
    side = Side()
    for _ in range(65_535):
        side.outbound.request_id()
    with pytest.raises(BrokerUnavailable, match="65,535"):
        side.outbound.request_id()


# --- everything at once ---


class Broker:
    """A model broker: it has what reached it, exactly once for QoS 2."""

    def __init__(self) -> None:
        self.got: list[str] = []
        self._recorded: dict[int, str] = {}

    def take(self, text: str) -> tuple[str, int]:
        name, packet_id, *rest = text.split()
        if name == "PUBREL":
            self._recorded.pop(int(packet_id), None)
            return "PUBCOMP", int(packet_id)
        if rest[0].startswith("one"):
            self.got.append(rest[0])
            return "PUBACK", int(packet_id)
        if int(packet_id) not in self._recorded:
            self._recorded[int(packet_id)] = rest[0]
            self.got.append(rest[0])
        return "PUBREC", int(packet_id)


@pytest.mark.parametrize("seed", range(100))
def test_whatever_is_lost_on_the_way_qos_2_arrives_exactly_once(seed: int) -> None:
    """Random cuts lose packets in both directions; publishers try again until they hear that it arrived."""
    chance = random.Random(seed)  # noqa: S311 - the same runs every time
    side, broker = Side(), Broker()
    side.begin(receive_max=3)
    waiting = [Publication(f"{'two' if n % 2 else 'one'}{n}", b"", qos=n % 2 + 1) for n in range(12)]
    names = [publication.topic for publication in waiting]
    wire: list[str] = []
    answers: list[tuple[str, int]] = []
    for publication in waiting:
        side.again(publication)
    for _ in range(2_000):
        wire += side.sent()
        if chance.random() < 0.1:
            wire.clear()
            answers.clear()
            side.outbound.end()
            side._output.clear()
            side.outbound.begin(Limits(receive_max=3), kept=True)
            for publication in waiting:
                if f"{publication.topic}: arrived" not in side.ends:
                    side.again(publication)
        elif wire and chance.random() < 0.6:
            answers.append(broker.take(wire.pop(0)))
        elif answers:
            side.answer(*answers.pop(0))
        if len(side.ends) == len(waiting):
            break
    assert sorted(f"{name}: arrived" for name in names) == sorted(side.ends)
    assert sorted(names) == sorted(set(broker.got))
    twos = [name for name in broker.got if name.startswith("two")]
    assert sorted(set(twos)) == sorted(twos)
