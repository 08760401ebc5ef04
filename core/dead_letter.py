"""A dead letter: a message that could not be handled, and why. Facts only, no state."""

import base64
import binascii
import hashlib
import json
from datetime import datetime
from typing import Any

import msgspec

from core.instants import to_instant
from core.message import Message

__all__ = ["DeadLetter", "facts_of", "fingerprint", "properties_of", "with_properties"]


class DeadLetter(msgspec.Struct, frozen=True):
    """A message that was set aside.

    Attributes:
        message: The message as it came.
        route: The route that could not handle it, by its name or else its pattern; ``None`` where none matches.
        reason: The category, a ``core.ingest.outcome.Reason``.
        error: The reason in words.
        failed_at: When it was set aside.
        traceback: Where an unexpected error was raised.
        attempts: How often it was tried.
        id: Its number in the table, once it has one.
        size: Bytes of the whole payload; more than ``message.payload`` has, where only the beginning was kept.
    """

    message: Message
    route: str | None
    reason: str
    error: str
    failed_at: datetime
    traceback: str | None = None
    attempts: int = 1
    id: int = 0
    size: int = 0

    @property
    def whole(self) -> bool:
        """Whether the payload was kept as it came, so that the message can be handled again."""
        return len(self.message.payload) == self.size


def fingerprint(message: Message, route: str | None) -> str:
    """What a redelivery of a message has in common with it, and another message most likely has not.

    A redelivery keeps its packet identifier (MQTT 5 section 4.4). A retained message gets another one
    each time that it is sent, and is the same message nevertheless.

    Args:
        message: The message.
        route: The route that could not handle it; each route has a letter of its own.

    Returns:
        64 hexadecimal digits.
    """
    packet_id = 0 if message.retain else message.packet_id
    content = message.digest or hashlib.sha256(message.payload).digest()
    facts = [packet_id, message.qos, message.topic, content.hex(), route, properties_of(message)]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def facts_of(letter: DeadLetter) -> dict[str, Any]:
    """Everything about a letter in a form that JSON takes; a payload that is no text comes in base64."""
    message = letter.message
    text = _text(message.payload)
    return {
        "id": letter.id or None,
        "reason": letter.reason,
        "error": letter.error,
        "route": letter.route,
        "attempts": letter.attempts,
        "received_at": to_instant(message.received_at).isoformat(),
        "failed_at": letter.failed_at.isoformat(),
        "topic": message.topic,
        "qos": message.qos,
        "retain": message.retain,
        "properties": properties_of(message),
        "size": letter.size,
        "sha256": message.digest.hex() or None,
        "payload": text,
        "payload_base64": base64.b64encode(message.payload).decode() if text is None else None,
        "traceback": letter.traceback,
    }


def _text(payload: bytes) -> str | None:
    try:
        return payload.decode()
    except UnicodeDecodeError:
        return None


def properties_of(message: Message) -> dict[str, Any]:
    """The MQTT 5 properties of a message that it has, in a form that JSON takes."""
    correlation = message.correlation_data
    properties = {
        "content_type": message.content_type,
        "response_topic": message.response_topic,
        "correlation_data": None if correlation is None else base64.b64encode(correlation).decode(),
        "user_properties": [list(pair) for pair in message.user_properties] or None,
    }
    return {name: value for name, value in properties.items() if value is not None}


def with_properties(message: Message, properties: dict[str, Any]) -> Message:
    """A message with the properties that ``properties_of`` told.

    Raises:
        ValueError: They are not what ``properties_of`` returns.
    """
    correlation = properties.get("correlation_data")
    try:
        given = {
            "content_type": properties.get("content_type"),
            "response_topic": properties.get("response_topic"),
            "correlation_data": None if correlation is None else base64.b64decode(correlation, validate=True),
            "user_properties": tuple((name, value) for name, value in properties.get("user_properties", ())),
        }
    except (binascii.Error, TypeError) as error:
        raise ValueError(f"the stored properties cannot be read: {error}") from error
    return msgspec.structs.replace(message, **given)
