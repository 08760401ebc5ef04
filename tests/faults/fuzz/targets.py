"""What is fed with damaged input: each target takes one input, and may only refuse it in its own terms."""

import contextlib
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypedDict

import mqtt5
import msgspec
from pydantic import BaseModel
from sqlalchemy import select
from sqlalchemy.dialects import mysql, postgresql, sqlite

from app.models import Device
from core.exceptions import InvalidPayload, InvalidQuery, PatternError, ProtocolError, RoutingError, UndecodablePayload
from core.model import Model
from core.mqtt.mqtt5_codec import FROM_SERVER, Decoder
from core.query import search
from core.router import Router
from core.routing.pattern import parse
from core.routing.payload import decoder_for
from core.routing.table import RouteTable
from core.topics import name_problem
from tests.faults.fuzz.further import FURTHER
from tests.faults.fuzz.mutations import mutated

__all__ = ["TARGETS", "fuzz"]

# --- packets ---

_PACKETS = [
    mqtt5.PublishPacket(
        "plant/hällen/1",
        b"\xff\0payload",
        qos=mqtt5.QoS.AT_LEAST_ONCE,
        packet_id=7,
        content_type="text/plain",
        response_topic="answers/ä",
        correlation_data=b"\xff\xfe",
        subscription_ids=[5, 300],
        user_properties=[("naïve", "x"), ("c", "d")],
        topic_alias=3,
    ).write(),
    mqtt5.PublishPacket("a/b", b"x" * 300).write(),
    mqtt5.ConnAckPacket(session_present=True, reason_str="wëlcome", receive_max=10, server_keep_alive=9).write(),
    mqtt5.PubAckPacket(9, reason_str="ä", reason_code=mqtt5.PubAckReasonCode.QUOTA_EXCEEDED).write(),
    mqtt5.PubRecPacket(9).write(),
    mqtt5.PubRelPacket(9, user_properties=[("ä", "b")]).write(),
    mqtt5.PubCompPacket(9).write(),
    mqtt5.SubAckPacket(3, [mqtt5.SubAckReasonCode.NOT_AUTHORIZED], reason_str="ä").write(),
    mqtt5.UnsubAckPacket(3, [mqtt5.UnsubAckReasonCode.SUCCESS]).write(),
    mqtt5.PingRespPacket().write(),
    mqtt5.DisconnectPacket(reason_code=mqtt5.DisconnectReasonCode.SESSION_TAKEN_OVER, reason_str="ä").write(),
]


def packets(chance: random.Random) -> None:
    """The driver's input: whole or torn, bytes are packets or a protocol error."""
    octets = mutated(chance.choice(_PACKETS) + chance.choice(_PACKETS), chance, _PACKETS)
    cut = chance.randrange(len(octets) + 1)
    whole, torn = Decoder(FROM_SERVER, max_payload=200), Decoder(FROM_SERVER, max_payload=200)
    assert _decoded(whole, [octets]) == _decoded(torn, [octets[:cut], octets[cut:]]), "torn bytes read differently"


def _decoded(decoder: Decoder, pieces: list[bytes]) -> list[str]:
    read = []
    try:
        for piece in pieces:
            decoder.feed(piece)
            while (packet := decoder.next()) is not None:
                read.append(repr(packet))
    except ProtocolError:
        read.append("refused")
    return read


# --- payloads ---


class _Struct(msgspec.Struct):
    value: float
    name: str = ""
    count: int = 0
    tags: list[str] = []


@dataclass
class _Dataclass:
    value: float
    nested: dict[str, int]


class _Typed(TypedDict):
    value: int


class _Pydantic(BaseModel):
    value: int
    name: str | None = None


_DECODERS = [
    decoder_for(annotation)
    for annotation in (None, bytes, str, dict, list[int], float, _Struct, _Dataclass, _Typed, _Pydantic, int | str)
]
_PAYLOADS = [
    b'{"value": 21.5, "name": "caf\\u00e9", "count": 3, "tags": ["a", "b"]}',
    b'{"value": 1, "nested": {"a": 1, "b": 18446744073709551616}}',
    b'{"value": NaN, "name": null}',
    b'{"value": -1e308, "value": 2}',
    b"[1, 2, 3]",
    b'"\\ud83d\\ude00 text"',
    b"[" * 2000,
    b"1" * 5000,
    b"\xef\xbb\xbf{}",
    b"",
    "21,5 °C".encode("latin-1"),
]


def payloads(chance: random.Random) -> None:
    """What devices send becomes a value, or is refused as undecodable or invalid."""
    payload = mutated(chance.choice(_PAYLOADS), chance, _PAYLOADS)
    with contextlib.suppress(UndecodablePayload, InvalidPayload):
        chance.choice(_DECODERS)(payload)


# --- topics ---

_PATTERNS = [
    b"devices/{device_id}/data",
    b"a/{n:int}/{rest:path}",
    b"+/b/#",
    b"x/{u:uuid}",
    b"{f:float}",
    b"$share/g/a/+",
]
_TOPICS = [b"devices/d-1/data", b"a/17/b/c", b"/", b"a//b", b"x/b/c", b"$SYS/broker", "größe/ü".encode()]


async def _nothing() -> None:
    pass


def _table() -> RouteTable:
    router = Router()
    for pattern in ("devices/{device_id}/data", "a/{n:int}/{rest:path}", "+/b/#", "x/{u:uuid}", "{f:float}", "#"):
        router.on(pattern, _nothing)
    return RouteTable(router.routes)


_TABLE = _table()


def topics(chance: random.Random) -> None:
    """A pattern is parsed or refused; any topic is routed."""
    text = mutated(chance.choice(_PATTERNS), chance, _PATTERNS).decode(errors="replace")
    with contextlib.suppress(PatternError, RoutingError):
        parse(text)
    topic = mutated(chance.choice(_TOPICS), chance, _TOPICS).decode(errors="replace")
    if name_problem(topic) is None:
        assert topic.startswith("$") or _TABLE.match(topic), f"'#' takes everything, but not {topic!r}"


# --- dynamic filters ---

_DIALECTS: list[Any] = [sqlite.dialect(), postgresql.dialect(), mysql.dialect()]
_NAMES = [
    b"device_id",
    b"name__contains",
    b"id__in",
    b"last_seen__gte",
    b"status__ne",
    b"user_id__isnull",
    b"id__between",
]
_VALUES = [b"x", b"17", b"2026-01-01T00:00:00Z", b"%_\\", b"'; DROP TABLE devices --", b"\0"]


def filters(chance: random.Random) -> None:
    """What strangers ask for becomes a statement with bound values, or is refused."""
    name = mutated(chance.choice(_NAMES), chance, _NAMES) if chance.random() < 0.5 else chance.choice(_NAMES)
    value: Any = mutated(chance.choice(_VALUES), chance, _VALUES).decode(errors="surrogateescape")
    value = chance.choice((value, [value, value], 17, None, True, 1e999, {value: value}))
    try:
        statement = search(select(Device), {name.decode(errors="replace"): value})
    except InvalidQuery:
        return
    sql = str(statement.compile(dialect=chance.choice(_DIALECTS)))
    assert "DROP" not in sql


TARGETS: Mapping[str, Callable[[random.Random], None]] = {
    "packets": packets,
    "payloads": payloads,
    "topics": topics,
    "filters": filters,
    **FURTHER,
}


def fuzz(target: str, seed: int, inputs: int) -> None:
    """Feed a target; raises what it should not have raised, with the number of the input."""
    feed = TARGETS[target]
    # Filters ask it for its dialect; nobody connects.
    Model.configure("sqlite://")
    try:
        _feed(feed, target, seed, inputs)
    finally:
        Model.install(None)


def _feed(feed: Callable[[random.Random], None], target: str, seed: int, inputs: int) -> None:
    for number in range(inputs):
        try:
            feed(random.Random(f"{seed} {number}"))  # noqa: S311 - repeatable damage
        except BaseException as error:
            error.add_note(f"fuzzing {target}: seed {seed}, input {number}")
            raise
