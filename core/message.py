"""A message as it came from the wire: frozen facts, no state of its handling."""

import msgspec

__all__ = ["Message"]

# Bytes that Python needs for a pair of texts, besides their characters.
_PAIR = 160


# A Struct, because it is made for every message: a frozen dataclass takes five times as long.
class Message(msgspec.Struct, frozen=True, gc=False):
    """One received PUBLISH.

    Attributes:
        topic: The topic name, without wildcards.
        payload: The application message, undecoded.
        qos: 0, 1 or 2, as delivered.
        retain: Whether the broker sent it from its retained messages.
        dup: Whether the broker says that it sent it before.
        packet_id: 1 to 65535, or 0 for QoS 0; meaningful only together with ``generation``.
        generation: Which connection delivered it, counted from 1. Packet ids are reused, so an
            acknowledgement must never leave on another connection.
        received_at: Time of receipt, in seconds since 1970 (UTC).
        subscription_ids: The subscription identifiers of this copy (MQTT 5 section 3.3.2.3.8).
        response_topic: Where the sender waits for an answer (MQTT 5 section 3.3.2.3.5).
        correlation_data: What the answer must carry back (MQTT 5 section 3.3.2.3.6).
        content_type: The sender's name for the payload's format (MQTT 5).
        user_properties: The sender's name-value pairs, in order (MQTT 5).
        truncated_size: Bytes of the whole payload, and of the properties that were not kept, when it was too
            large and only the beginning of either was kept; else 0.
        digest: SHA-256 of the whole payload when it was too large to be kept; else empty.
    """

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    dup: bool = False
    packet_id: int = 0
    generation: int = 0
    received_at: float = 0.0
    subscription_ids: tuple[int, ...] = ()
    response_topic: str | None = None
    correlation_data: bytes | None = None
    content_type: str | None = None
    user_properties: tuple[tuple[str, str], ...] = ()
    truncated_size: int = 0
    digest: bytes = b""

    @property
    def size(self) -> int:
        """Bytes that the message weighs in a bounded window: topic, payload and MQTT 5 properties."""
        size = len(self.topic) + len(self.payload)
        if self.user_properties:
            size += sum(_PAIR + len(name) + len(value) for name, value in self.user_properties)
        if self.response_topic or self.correlation_data or self.content_type:
            size += len(self.response_topic or "") + len(self.correlation_data or b"") + len(self.content_type or "")
        return size
