"""Rows of dead letters: whatever a message holds, the row can be stored, and gives the message back."""

import hashlib
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.database.dead_letter_rows import EXCERPT, letter_of, row_of
from core.database.metadata import dead_letter_table
from core.database.values import normaliser
from core.dead_letter import DeadLetter, fingerprint
from core.message import Message

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)

# Also what no UTF-8 has: a driver may have let it through.
texts = st.text(st.characters(exclude_categories=()), max_size=20)
messages = st.builds(
    Message,
    topic=texts,
    payload=st.binary(max_size=50),
    qos=st.integers(0, 2),
    retain=st.booleans(),
    received_at=st.just(NOW.timestamp()),
    response_topic=st.none() | texts,
    correlation_data=st.none() | st.binary(max_size=20),
    content_type=st.none() | texts,
    user_properties=st.lists(st.tuples(texts, texts), max_size=3).map(tuple),
)


def letter(message: Message, **fields: Any) -> DeadLetter:
    facts = {"route": "r", "reason": "invalid", "error": "e", "failed_at": NOW, "size": len(message.payload)}
    return DeadLetter(message, **facts | fields)


def stored(row: dict[str, Any]) -> dict[str, Any]:
    """What a database would give back; refuses what one of them would refuse."""
    for name, value in row.items():
        check = normaliser(dead_letter_table.c[name])
        if check is not None and value is not None:
            row[name] = check(value)
    return row | {"id": 7}


@given(messages, texts, texts)
def test_every_message_can_be_stored_and_comes_back(message: Message, error: str, traceback: str) -> None:
    """No text, byte or property of a stranger's keeps a letter from being written."""
    before = letter(message, error=error, traceback=traceback)
    after = letter_of(stored(row_of(before, 1000)))
    assert before.message == after.message
    assert after.whole
    assert ("r", "invalid", NOW, 1, 7) == (after.route, after.reason, after.failed_at, after.attempts, after.id)


def test_texts_are_cut_to_what_fits() -> None:
    """The beginning of an error tells most, and the end of a traceback; a long pattern is cut."""
    row = stored(row_of(letter(Message("t", b""), error="e" * 9999, traceback="t" * 99_999 + "!", route="r" * 999), 0))
    assert (2000, 16_000, "!", 255) == (
        len(row["error"]),
        len(row["traceback"]),
        row["traceback"][-1],
        len(row["route"]),
    )


@pytest.mark.parametrize(("size", "kept"), [(5000, 5000), (5001, EXCERPT)])
def test_payload_above_the_bound_is_cut(size: int, kept: int) -> None:
    """Of what is too large the beginning is kept, with size and digest of the whole."""
    payload = b"x" * size
    row = row_of(letter(Message("t", payload)), 5000)
    digest = None if kept == size else hashlib.sha256(payload).hexdigest()
    assert (kept, size, digest) == (len(row["payload"]), row["size"], row["digest"])
    assert (kept == size) == letter_of(stored(row)).whole


@pytest.mark.parametrize(
    "fields",
    [
        {"user_properties": (("k", "v" * 30_000),) * 80},
        {"user_properties": (("k", '"' * 60_000),) * 80, "payload": b""},
        {"response_topic": "\U0001f600" * 16_000, "correlation_data": b"x" * 65_000, "content_type": "\0" * 60_000},
    ],
    ids=["many", "escaped", "all others"],
)
def test_properties_above_the_bound_are_cut(fields: dict[str, Any]) -> None:
    """The first ones are kept, whole; the letter says so, and that it is not the whole message."""
    before = letter(Message("t", **{"payload": b"p", "content_type": "x"} | fields))
    row = stored(row_of(before, 5000))
    after = letter_of(row)
    assert len(row["properties"]) <= 64 * 1024
    assert '"cut": true' in row["properties"]
    assert not after.whole
    assert before.message.payload == after.message.payload
    pairs = after.message.user_properties
    assert before.message.user_properties[: len(pairs)] == pairs


def test_properties_that_fit_are_not_cut_for_the_rest() -> None:
    """Each other property stays, and the user properties from the first on."""
    message = Message("t", b"", content_type="x", user_properties=(("a", "1" * 60_000), ("b", "2" * 60_000)))
    after = letter_of(stored(row_of(letter(message), 0)))
    assert ("x", message.user_properties[:1]) == (after.message.content_type, after.message.user_properties)


def test_message_that_came_cut_keeps_its_size_and_digest() -> None:
    """A driver that passes over most of a payload tells how much it was."""
    digest = hashlib.sha256(b"all").digest()
    message = Message("t", b"a", truncated_size=10**9, digest=digest)
    row = row_of(letter(message), 5000)
    assert (b"a", 10**9, digest.hex()) == (row["payload"], row["size"], row["digest"])


@pytest.mark.parametrize(
    "other",
    [
        {"packet_id": 2},
        {"qos": 2},
        {"topic": "u"},
        {"payload": b"q"},
        {"correlation_data": b"c"},
        {"user_properties": (("a", "b"),)},
    ],
    ids=str,
)
def test_other_messages_have_another_fingerprint(other: dict[str, Any]) -> None:
    """A letter must not stand for a message that is a different one."""
    message = Message("t", b"p", qos=1, packet_id=1)
    assert fingerprint(message, "r") != fingerprint(msgspec.structs.replace(message, **other), "r")
    assert fingerprint(message, "r") != fingerprint(message, "s")


def test_redelivery_has_the_same_fingerprint() -> None:
    """The flag, the connection and the time of receipt are those of a copy; a retained one has no fixed packet id."""
    message = Message("t", b"p", qos=1, packet_id=1, generation=1, received_at=1.0)
    again = msgspec.structs.replace(message, dup=True, generation=2, received_at=2.0)
    assert fingerprint(message, "r") == fingerprint(again, "r")
    retained = msgspec.structs.replace(message, retain=True)
    assert fingerprint(retained, "r") == fingerprint(msgspec.structs.replace(retained, packet_id=9), "r")
