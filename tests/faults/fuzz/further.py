"""More to be fed: sessions, subscriptions, statements that run, cursors, stored letters and times."""

import contextlib
import functools
import math
import random
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import mqtt5
from sqlalchemy import Connection, Select, create_engine
from sqlalchemy.orm import Session as SyncSession

from app.models import Device
from core.database.dead_letter_rows import letter_of, row_of
from core.database.errors import translated
from core.dead_letter import DeadLetter
from core.durations import to_duration, to_seconds
from core.exceptions import DatabaseError, InvalidCursor, InvalidQuery, ProtocolError
from core.instants import to_instant
from core.message import Message
from core.mqtt.connection import Publication
from core.mqtt.mqtt5_codec import FROM_SERVER, Decoder, OversizePublish
from core.mqtt.mqtt5_packets import Limits
from core.mqtt.mqtt5_session import Session
from core.mqtt.subscriptions import Cover
from core.query import search
from core.query.signatures import Place, Seal
from core.topics import filter_problem, matches, name_problem
from core.trie import FilterTrie
from tests.faults.fuzz.mutations import mutated

__all__ = ["FURTHER"]

# --- sessions ---

_PACKETS = [
    *(mqtt5.PublishPacket("a/b", b"1", qos=mqtt5.QoS(qos), packet_id=qos or None).write() for qos in (0, 1, 2)),
    mqtt5.PublishPacket("", b"x" * 90, qos=mqtt5.QoS.EXACTLY_ONCE, packet_id=2, duplicate=True, topic_alias=1).write(),
    mqtt5.PublishPacket("a", b"2", topic_alias=1).write(),
    *(mqtt5.PubAckPacket(packet_id).write() for packet_id in (1, 2)),
    mqtt5.PubAckPacket(1, reason_code=mqtt5.PubAckReasonCode.QUOTA_EXCEEDED).write(),
    *(mqtt5.PubRecPacket(packet_id).write() for packet_id in (1, 2)),
    mqtt5.PubRecPacket(2, reason_code=mqtt5.PubRecReasonCode.NOT_AUTHORIZED).write(),
    *(mqtt5.PubRelPacket(packet_id).write() for packet_id in (1, 2)),
    *(mqtt5.PubCompPacket(packet_id).write() for packet_id in (2, 3)),
]


def sessions(chance: random.Random) -> None:
    """Whatever a broker answers, in whatever order: the session goes on, or the connection ends by a protocol error."""
    session = Session(topic_alias_max=2)
    publications = [Publication("a", b"1", qos=qos) for qos in (1, 2, 2)]
    for kept in (False, True):
        session.begin(Limits(receive_max=2), kept=kept)
        for publication in publications:
            session.outbound.publish(publication, lambda error: None)
        stream = b"".join(chance.choices(_PACKETS, k=6))
        with contextlib.suppress(ProtocolError):
            _converse(session, mutated(stream, chance, _PACKETS) if chance.random() < 0.5 else stream)
        session.take()
        session.end()
        assert len(session.outbound) <= len(publications)


def _converse(session: Session, octets: bytes) -> None:
    decoder, inbound = Decoder(FROM_SERVER, max_payload=64), session.inbound
    decoder.feed(octets)
    while (packet := decoder.next()) is not None:
        if isinstance(packet, OversizePublish):
            message = inbound.oversize(packet, 1, 0.0)
        elif isinstance(packet, mqtt5.PublishPacket):
            message = inbound.message(packet, 1, 0.0)
        else:
            session.receive(packet)
            continue
        if message is not None:
            inbound.acknowledge([message])


# --- subscriptions ---

_FILTERS = [b"a/+/c", b"a/#", b"#", b"+/b/#", b"/", b"a//b", b"$SYS/#", b"+", "ä/+".encode()]
_TOPICS = [b"a/b/c", b"a", b"a//b", b"/", b"x/b/c/d", b"$SYS/broker", "ä/ö".encode()]


def subscriptions(chance: random.Random) -> None:
    """The trie finds the filters that match, and the cover subscribes to what they want: all of it and no more."""
    texts = [mutated(chance.choice(_FILTERS), chance, _FILTERS).decode(errors="replace") for _ in range(4)]
    wanted = {text: chance.choice((0, 1, 2)) for text in texts if filter_problem(text) is None}
    topic = mutated(chance.choice(_TOPICS), chance, _TOPICS).decode(errors="replace")
    if name_problem(topic) is not None:
        return
    trie: FilterTrie[str] = FilterTrie()
    for text in wanted:
        trie.insert(text, text)
    matching = {text for text in wanted if matches(text, topic)}
    assert matching == set(trie.match(trie.split(topic))), f"{list(wanted)} on {topic!r}"
    covering = [qos for text, qos in Cover(wanted).filters.items() if matches(text, topic)]
    assert bool(matching) == bool(covering), f"the cover of {list(wanted)} on {topic!r}"
    assert max((wanted[text] for text in matching), default=0) <= max(covering, default=0)


# --- statements that run ---

_NAMES = [
    *("device_id", "name__contains", "id__in", "last_seen__gte", "status__ne", "user_id__isnull", "id__between"),
    *("name__like", "name__ilike", "name__icontains", "device_id__startswith", "status__endswith", "updated_at__lt"),
]
_VALUES = [b"x", b"17", b"2026-01-01T00:00:00Z", b"%_\\", b"'; DROP TABLE devices --", b"\0", b"9" * 25]


@functools.cache
def _connection() -> Connection:
    connection = create_engine("sqlite://").connect()
    Device.__table__.create(connection)  # type: ignore[attr-defined]
    return connection


def statements(chance: random.Random) -> None:
    """What strangers ask for runs on a database, or is refused in our own terms; the table is there afterwards."""
    name, text = (
        chance.choice(_NAMES),
        mutated(chance.choice(_VALUES), chance, _VALUES).decode(errors="surrogateescape"),
    )
    number = chance.choice((17, -(2**63), 2**63 - 1, 2**70, 1e999, math.nan, 0.1))
    fitting: Any = chance.choice(("7", 7, number)) if name.startswith("id") else chance.choice((text, number))
    if name.startswith(("last_seen", "updated_at")):
        fitting = chance.choice((number, text, "2026-01-01T00:00:00Z", 1.7e9))
    if name.endswith(("in", "between")):
        fitting = [fitting] * 2
    value = chance.choice(
        (fitting, fitting, fitting, fitting, None, True, text, [], {text: text}, text.encode("utf-8", "replace"))
    )
    order = chance.choice((None, None, "id", ["name", "id"], text))
    try:
        statement: Select[Any] = search(Device, {name: value}, order)
    except InvalidQuery:
        return
    with SyncSession(_connection()) as session, contextlib.suppress(DatabaseError), translated():
        session.scalars(statement.limit(5)).all()


# --- cursors ---

_SEAL = Seal(b"a key of sixteen bytes", "devices by time", [None, None])
_PLACE = Place(True, False, (datetime(2026, 1, 1, tzinfo=UTC), 17))
_CURSORS = [
    _SEAL.write(_PLACE).encode(),
    Seal(b"another key of 16 bytes", "x", [None]).write(Place(True, True, (1,))).encode(),
]


def cursors(chance: random.Random) -> None:
    """No cursor but one that was handed out is taken."""
    with contextlib.suppress(InvalidCursor):
        assert _PLACE == _SEAL.read(mutated(_CURSORS[0], chance, _CURSORS).decode(errors="replace"))


# --- dead letters ---


def letters(chance: random.Random) -> None:
    """Whatever a message holds, its letter fits every database, and reads back as the message that it was."""

    def text() -> str:
        return mutated(chance.choice(_TOPICS), chance, _VALUES).decode(errors="replace")

    message = Message(
        text(),
        mutated(chance.choice(_VALUES), chance, _VALUES) * chance.choice((1, 1, 400)),
        1,
        received_at=time.time(),
        response_topic=chance.choice((None, text())),
        correlation_data=chance.choice((None, text().encode())),
        content_type=chance.choice((None, text())),
        user_properties=tuple((text(), text()) for _ in range(chance.randrange(3))),
    )
    letter = DeadLetter(
        message, text(), "invalid", text() + "\udc80", datetime.now(UTC), text(), size=len(message.payload)
    )
    row = row_of(letter, chance.choice((0, 10_000)))
    for column in ("topic", "properties", "route", "error", "traceback"):
        assert "\0" not in row[column]
        row[column].encode()
    again = letter_of(row | {"id": 1, "received_at": datetime.fromtimestamp(message.received_at, UTC)})
    assert again.whole == (again.message.payload == message.payload)
    for name in ("topic", "response_topic", "correlation_data", "content_type", "user_properties"):
        assert getattr(message, name) == getattr(again.message, name), name


# --- times ---

_TIMES = [b"2026-01-01T00:00:00.123456789Z", b"1712010100123", b"-1e9", b"2026-02-30", b"12 hours", b"30d", b"1e400"]


def times(chance: random.Random) -> None:
    """Text and numbers become a point in time or a duration, or a ValueError."""
    text = mutated(chance.choice(_TIMES), chance, _TIMES).decode(errors="replace")
    number = chance.choice((math.nan, math.inf, -(10**400), chance.uniform(-1e20, 1e20), chance.randrange(10**30)))
    for convert in (to_instant, to_duration, to_seconds):
        for value in (text, number):
            with contextlib.suppress(ValueError):
                convert(value)


FURTHER: Mapping[str, Callable[[random.Random], None]] = {
    "sessions": sessions,
    "subscriptions": subscriptions,
    "statements": statements,
    "cursors": cursors,
    "letters": letters,
    "times": times,
}
