"""From a dead letter to a row that every database takes, whatever the message holds, and back."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from core.dead_letter import DeadLetter, fingerprint, properties_of, with_properties
from core.message import Message

__all__ = ["EXCERPT", "letter_of", "row_of"]

#: Bytes that are kept of a payload that is not kept whole.
EXCERPT = 4096

# Characters. MySQL's TEXT has 65,535 bytes.
_LONGEST_ERROR = 2000
_LONGEST_TRACEBACK = 16_000
_LONGEST_ROUTE = 255
# Bytes of JSON.
_LONGEST_PROPERTIES = 64 * 1024


def row_of(letter: DeadLetter, max_payload: int) -> dict[str, Any]:
    """The values of a row by the name of its column.

    Args:
        letter: The letter.
        max_payload: Bytes of a payload from which on only the beginning is kept.
    """
    message = letter.message
    properties, cut = _fitting(properties_of(message))
    size = (message.truncated_size or len(message.payload)) + cut
    whole = not message.truncated_size and not cut and size <= max(max_payload, EXCERPT)
    digest = message.digest if message.truncated_size else hashlib.sha256(message.payload).digest()
    topic = _storable(message.topic)
    if topic != message.topic:
        # JSON writes with escapes what the column cannot hold.
        properties["topic"] = message.topic
    return {
        "fingerprint": fingerprint(message, letter.route),
        "topic": topic,
        "payload": message.payload if whole else message.payload[:EXCERPT],
        "size": size,
        "digest": None if whole else digest.hex(),
        "qos": message.qos,
        "retain": message.retain,
        "properties": json.dumps(properties),
        "route": None if letter.route is None else _storable(letter.route)[:_LONGEST_ROUTE],
        "reason": letter.reason,
        "error": _storable(letter.error)[:_LONGEST_ERROR],
        # The end says what was raised, and where.
        "traceback": None if letter.traceback is None else _storable(letter.traceback)[-_LONGEST_TRACEBACK:],
        "attempts": letter.attempts,
        "received_at": message.received_at,
        "failed_at": letter.failed_at,
    }


def letter_of(row: Mapping[Any, Any]) -> DeadLetter:
    """The letter that a row holds; its message counts as a fresh one."""
    properties = json.loads(row["properties"])
    payload = bytes(row["payload"])
    message = Message(
        topic=properties.get("topic", row["topic"]),
        payload=payload,
        qos=row["qos"],
        retain=row["retain"],
        received_at=row["received_at"].timestamp(),
        truncated_size=0 if row["digest"] is None else row["size"],
        digest=bytes.fromhex(row["digest"] or ""),
    )
    return DeadLetter(
        message=with_properties(message, properties),
        route=row["route"],
        reason=row["reason"],
        error=row["error"],
        failed_at=row["failed_at"],
        traceback=row["traceback"],
        attempts=row["attempts"],
        id=row["id"],
        size=row["size"],
    )


def _fitting(properties: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """Properties of which any server takes the JSON, marked if they are cut; and bytes of JSON that were cut."""
    whole = len(json.dumps(properties))
    if whole <= _LONGEST_PROPERTIES:
        return properties, 0
    pairs = properties.pop("user_properties", [])
    kept: dict[str, Any] = {"cut": True, "user_properties": []}
    room = _LONGEST_PROPERTIES - len(json.dumps(kept))
    for name, value in properties.items():
        if (size := len(json.dumps({name: value}))) <= room:
            room -= size
            kept[name] = value
    for pair in pairs:
        room -= len(json.dumps(pair)) + 2
        if room < 0:
            break
        kept["user_properties"].append(pair)
    return kept, whole - len(json.dumps(kept))


def _storable(text: str) -> str:
    """Text that PostgreSQL takes too, which has no NUL; a lone surrogate has no form in UTF-8 at all."""
    return text.replace("\0", "\\x00").encode(errors="backslashreplace").decode()
