"""Passing over what is too large of a PUBLISH while it comes in, whichever driver reads it. No I/O."""

import hashlib

from core.exceptions import ProtocolError
from core.mqtt.mqtt5_text import USER_PROPERTY, malformed, property_end, variable_integer

__all__ = ["MOST_PROPERTIES", "Skim", "has_large_properties", "written_length"]

#: Bytes of MQTT 5 properties with which a message is handled; of more, only the first user properties are kept.
MOST_PROPERTIES = 64 * 1024

_EXCERPT = 4096
# The properties that are no user properties; each of those that a client may set comes once, and has 64 KiB at most.
_MOST_OTHER = 1024 * 1024


def has_large_properties(buffer: bytearray, body: int, stop: int, *, numbered: bool) -> bool:
    """Whether a PUBLISH of MQTT 5 has more properties than are kept; not as long as that cannot be told.

    Args:
        buffer: Holds the packet, as far as it has come.
        body: Where its topic begins, with the length.
        stop: Where the packet ends, or what has come of it.
        numbered: Whether it has a packet identifier (QoS 1 and 2).
    """
    if stop - body < 2:
        return False
    found = variable_integer(buffer, _after_topic(buffer, body, numbered=numbered), stop)
    return found is not None and found[0] > MOST_PROPERTIES


class Skim:
    """A PUBLISH of which only the beginning is kept: of the user properties, and of the payload.

    Args:
        left: Bytes behind the fixed header.
        numbered: Whether it has a packet identifier (QoS 1 and 2).
        five: Whether it has properties (MQTT 5).
    """

    def __init__(self, left: int, *, numbered: bool, five: bool = True) -> None:
        #: Bytes that are still to be taken.
        self.left = left
        #: Bytes of the whole payload, and of the properties that were not kept.
        self.size = 0
        self._numbered = numbered
        self._five = five
        self._head: bytes | None = None
        self._properties = 0
        self._kept = bytearray()
        self._excerpt = bytearray()
        self._hash = hashlib.sha256()

    @property
    def digest(self) -> bytes:
        """SHA-256 of the whole payload."""
        return self._hash.digest()

    @property
    def short(self) -> bytes:
        """What was kept, in the form of a packet behind its fixed header."""
        assert self._head is not None
        length = written_length(len(self._kept)) if self._five else b""
        return self._head + length + self._kept + self._excerpt

    def take(self, buffer: bytearray, start: int, end: int) -> int:
        """Take the bytes from ``start`` to ``end``, as far as they belong to the packet and tell something.

        Returns:
            Where the rest begins; it comes again with the next call, with more behind it.

        Raises:
            ProtocolError: They are no PUBLISH.
        """
        end = min(end, start + self.left)
        at = start
        if self._head is None:
            at = self._take_head(buffer, at, end)
        if self._properties:
            at = self._take_properties(buffer, at, end)
        if self._head is not None and not self._properties:
            at = self._take_payload(buffer, at, end)
        elif end - start == self.left:
            malformed("a PUBLISH that is cut off")
        self.left -= at - start
        return at

    def _take_head(self, buffer: bytearray, start: int, end: int) -> int:
        if end - start < 2:
            return start
        at = _after_topic(buffer, start, numbered=self._numbered)
        found = variable_integer(buffer, at, end) if self._five else (0, at)
        if found is None or at > end:
            return start
        self._head = bytes(buffer[start:at])
        self._properties, at = found
        if at - start + self._properties > self.left:
            malformed("a PUBLISH that is cut off")
        return at

    def _take_properties(self, buffer: bytearray, start: int, end: int) -> int:
        at, limit = start, min(end, start + self._properties)
        while at < limit:
            stop = property_end(buffer, at, limit)
            if stop > limit:
                if limit - start == self._properties:
                    malformed("its properties are cut off")
                break
            self._keep(buffer, at, stop)
            at = stop
        self._properties -= at - start
        return at

    def _keep(self, buffer: bytearray, start: int, stop: int) -> None:
        kept = len(self._kept) + stop - start
        if buffer[start] == USER_PROPERTY and kept > MOST_PROPERTIES:
            self.size += stop - start
            return
        if kept > _MOST_OTHER:
            raise ProtocolError("the broker sent a PUBLISH with more properties than there are", 0x95)
        self._kept += buffer[start:stop]

    def _take_payload(self, buffer: bytearray, start: int, end: int) -> int:
        with memoryview(buffer) as view:
            self._hash.update(view[start:end])
        self._excerpt += buffer[start : min(end, start + _EXCERPT - len(self._excerpt))]
        self.size += end - start
        return end


def _after_topic(buffer: bytearray, body: int, *, numbered: bool) -> int:
    """Where a PUBLISH goes on behind its topic and packet identifier; the length of the topic must be there."""
    return body + 2 + (buffer[body] << 8 | buffer[body + 1]) + (2 if numbered else 0)


def written_length(value: int) -> bytes:
    """Write a Variable Byte Integer (MQTT 5 section 1.5.5)."""
    octets = bytearray()
    while value > 0x7F:
        octets.append(value & 0x7F | 0x80)
        value >>= 7
    octets.append(value)
    return bytes(octets)
