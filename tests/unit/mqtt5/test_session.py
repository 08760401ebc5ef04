"""Both halves together: acknowledgements reach the right one, and what there is to send is taken once."""

import mqtt5

from core.mqtt.connection import Publication
from core.mqtt.mqtt5_packets import Limits
from core.mqtt.mqtt5_session import Session


def _publish(packet_id: int, *, duplicate: bool = False) -> mqtt5.PublishPacket:
    return mqtt5.PublishPacket("a", b"", qos=mqtt5.QoS.EXACTLY_ONCE, packet_id=packet_id, duplicate=duplicate)


def test_each_acknowledgement_reaches_its_half() -> None:
    """PUBACK, PUBREC and PUBCOMP are about what we sent, PUBREL about what we received."""
    session = Session()
    session.begin(Limits(), kept=False)
    ends: list[object] = []
    session.outbound.publish(Publication("one", b"", qos=1), ends.append)
    session.outbound.publish(Publication("two", b"", qos=2), ends.append)
    session.take()
    message = session.inbound.message(_publish(1), 1, 0)
    assert message is not None
    session.inbound.acknowledge([message])
    packets = [
        mqtt5.PubAckPacket(1),
        mqtt5.PubRecPacket(2),
        mqtt5.PubCompPacket(2),
        mqtt5.PubRelPacket(1),
        mqtt5.PubRelPacket(1),
    ]
    assert [True] * 5 == [session.receive(packet) for packet in packets]
    assert [None, None] == ends
    expected = [
        mqtt5.PubRelPacket(2),
        mqtt5.PubCompPacket(1),
        mqtt5.PubCompPacket(1, reason_code=mqtt5.PubCompReasonCode.PACKET_ID_NOT_FOUND),
    ]
    assert b"".join(packet.write() for packet in expected) == session.take()
    assert b"" == session.take()


def test_other_packets_are_left_to_the_connection() -> None:
    """PINGRESP is no acknowledgement."""
    assert False is Session().receive(mqtt5.PingRespPacket())


def test_a_reason_is_told_in_words() -> None:
    """The broker's own, else the name of the code."""
    session = Session()
    session.begin(Limits(), kept=False)
    ends: list[object] = []
    for _ in range(2):
        session.outbound.publish(Publication("a", b"", qos=1), ends.append)
    refused = mqtt5.PubAckReasonCode.QUOTA_EXCEEDED
    session.receive(mqtt5.PubAckPacket(1, reason_code=refused))
    session.receive(mqtt5.PubAckPacket(2, reason_code=refused, reason_str="too much today"))
    assert [
        "the broker refuses the message to 'a': quota exceeded (0x97)",
        "the broker refuses the message to 'a': too much today",
    ] == [str(error) for error in ends]


def test_a_repetition_of_what_was_recorded_is_answered_over_reconnects() -> None:
    """PUBREC again, until the release."""
    session = Session()
    session.begin(Limits(), kept=False)
    message = session.inbound.message(_publish(5), 1, 0)
    assert message is not None
    session.inbound.acknowledge([message])
    session.end()
    session.begin(Limits(), kept=True)
    assert None is session.inbound.message(_publish(5, duplicate=True), 2, 0)
    session.repeated(5)
    assert mqtt5.PubRecPacket(5).write() == session.take()


def test_nothing_of_an_old_connection_is_sent_on_a_new_one() -> None:
    """What was not taken before the end is void."""
    session = Session()
    session.begin(Limits(), kept=False)
    session.receive(mqtt5.PubRelPacket(1))
    session.end()
    session.begin(Limits(), kept=True)
    assert b"" == session.take()
