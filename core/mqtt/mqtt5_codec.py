"""The one place where bytes from a peer become MQTT 5 packets, and bad bytes become ``ProtocolError``."""

import re
from typing import NamedTuple

import mqtt5

from core.exceptions import ProtocolError
from core.mqtt.mqtt5_text import check_control, check_properties, check_text, malformed, variable_integer
from core.mqtt.skim import MOST_PROPERTIES, Skim, has_large_properties, written_length

__all__ = ["AT_FIRST", "FROM_CLIENT", "FROM_SERVER", "Decoder", "OversizePublish"]

#: The packet types that a server may send, and those that a client may send (MQTT 5 section 2.1.2).
FROM_SERVER = frozenset({2, 3, 4, 5, 6, 7, 9, 11, 13, 14, 15})
FROM_CLIENT = frozenset({1, 3, 4, 5, 6, 7, 8, 10, 12, 14, 15})
#: What a server may send until it has sent CONNACK: CONNACK or AUTH.
AT_FIRST = frozenset({2, 15})

_PUBLISH = 3
_CAPACITY = 64 * 1024
_MAX_CONTROL = 1024 * 1024
_SUSPICIOUS = re.compile(rb"[+#\0\x80-\xFF]")
_FORBIDDEN = re.compile(rb"[+#\0]")


class OversizePublish(NamedTuple):
    """A PUBLISH that was too large to be kept.

    Attributes:
        packet: The packet with the first 64 KiB of its properties and the first 4 KiB of its payload.
        size: Bytes of the whole payload, and of the properties that were not kept.
        digest: SHA-256 of the whole payload.
    """

    packet: mqtt5.PublishPacket
    size: int
    digest: bytes


class Decoder:
    """Takes bytes and gives packets; a partial packet waits for the rest of it.

    The bytes are written into ``room()``, so that a read needs no copy. The room is a bounded buffer: it
    holds one read, and grows only while a single packet needs more.

    Args:
        accept: The packet types that the peer may send.
        max_payload: Bytes of a PUBLISH from which on it is skimmed instead of kept.
        capacity: Bytes of one read.
    """

    def __init__(
        self, accept: frozenset[int] = FROM_SERVER, max_payload: int = 16 * 2**20, capacity: int = _CAPACITY
    ) -> None:
        #: The packet types that the peer may send from now on.
        self.accept = accept
        self._max_payload = max_payload
        self._large = min(max_payload, MOST_PROPERTIES)
        self._capacity = capacity
        self._allocate(capacity)
        self._start = 0
        self._end = 0
        self._skim: Skim | None = None
        self._skimmed = 0  # its first byte

    def __repr__(self) -> str:
        return f"<Decoder {self._end - self._start} of {len(self._buffer)} bytes>"

    def _allocate(self, capacity: int) -> None:
        self._buffer = bytearray(capacity)
        self._view = memoryview(self._buffer)

    def room(self) -> memoryview:
        """Where the next bytes go; never empty."""
        held = self._end - self._start
        if held == 0 and len(self._buffer) > self._capacity:
            self._allocate(self._capacity)
        elif held == len(self._buffer):
            full = self._view
            self._allocate(2 * held)
            self._view[:held] = full
        elif self._start:
            self._view[:held] = self._view[self._start : self._end]
        self._start, self._end = 0, held
        return self._view[held:]

    def filled(self, size: int) -> None:
        """Note that ``size`` bytes were written into the room."""
        self._end += size

    def feed(self, octets: bytes) -> None:
        """Copy bytes into the room, however many there are."""
        rest = memoryview(octets)
        while rest:
            room = self.room()
            size = min(len(room), len(rest))
            room[:size] = rest[:size]
            self.filled(size)
            rest = rest[size:]

    def next(self) -> mqtt5.Packet | OversizePublish | None:
        """Take the next packet.

        Returns:
            The packet, or ``None`` until more bytes have come.

        Raises:
            ProtocolError: The bytes are no packet that the peer may send; there is no going on.
        """
        if self._skim is not None:
            return self._pass_over(self._skim)
        buffer, start, end = self._buffer, self._start, self._end
        if end - start < 2:
            return None
        kind = buffer[start] >> 4
        if kind not in self.accept:
            malformed(f"a packet of type {kind}")
        length, body = buffer[start + 1], start + 2
        if length > 0x7F:
            found = variable_integer(buffer, start + 1, end)
            if found is None:
                return None
            length, body = found
        stop = body + length
        if kind != _PUBLISH:
            return self._control(kind, body, stop)
        if length > self._large and self._is_too_large(body, stop):
            return self._begin_skim(body, length)
        if stop > end:
            return None
        self._check_publish(buffer, start, body, stop)
        self._start = stop
        return _read(self._view[start:stop])

    def _control(self, kind: int, body: int, stop: int) -> mqtt5.Packet | None:
        if stop - body > _MAX_CONTROL:
            raise ProtocolError(f"the broker sent a packet of {stop - body} bytes that is no PUBLISH", 0x95)
        if stop > self._end:
            return None
        check_control(kind, self._buffer, body, stop)
        packet = _read(self._view[self._start : stop])
        self._start = stop
        if getattr(packet, "packet_id", 1) == 0:
            malformed("packet identifier 0")
        return packet

    def _check_publish(self, buffer: bytearray, start: int, body: int, stop: int) -> None:
        """Refuse what the codec lets through or panics on."""
        at = body + 2
        if at > stop:
            malformed("a PUBLISH without a topic")
        topic_end = at + (buffer[body] << 8 | buffer[body + 1])
        if topic_end >= stop:
            malformed("a PUBLISH that is cut off")
        if _SUSPICIOUS.search(buffer, at, topic_end) is not None:
            check_text(buffer, at, topic_end)
            if _FORBIDDEN.search(buffer, at, topic_end) is not None:
                raise ProtocolError("the broker sent a PUBLISH whose topic has a wildcard or NUL", 0x90)
        if buffer[start] & 0x06:
            if not (buffer[topic_end] or buffer[topic_end + 1]):
                malformed("packet identifier 0")
            topic_end += 2
            if topic_end >= stop:
                malformed("a PUBLISH that is cut off")
        if buffer[topic_end]:
            check_properties(buffer, topic_end, stop)

    def _is_too_large(self, body: int, stop: int) -> bool:
        if stop - body > self._max_payload:
            return True
        numbered = bool(self._buffer[self._start] & 0x06)
        return has_large_properties(self._buffer, body, min(stop, self._end), numbered=numbered)

    def _begin_skim(self, body: int, length: int) -> OversizePublish | None:
        self._skimmed = self._buffer[self._start]
        self._start = body
        self._skim = Skim(length, numbered=bool(self._skimmed & 0x06))
        return self._pass_over(self._skim)

    def _pass_over(self, skim: Skim) -> OversizePublish | None:
        self._start = skim.take(self._buffer, self._start, self._end)
        if skim.left:
            return None
        self._skim = None
        short, length = skim.short, written_length(len(skim.short))
        # The same packet, only shorter: the codec wants whole ones.
        whole = bytearray((self._skimmed,)) + length + short
        self._check_publish(whole, 0, 1 + len(length), len(whole))
        packet = _read(memoryview(whole))
        assert isinstance(packet, mqtt5.PublishPacket)
        return OversizePublish(packet, skim.size, skim.digest)


def _read(view: memoryview) -> mqtt5.Packet:
    try:
        packet, size = mqtt5.read(view)
    except (ValueError, IndexError) as error:
        raise ProtocolError(f"the broker sent a malformed packet: {error}", 0x81) from error
    except BaseException as error:
        # The codec's Rust panics derive from BaseException and cannot be imported.
        if type(error).__name__ != "PanicException":
            raise
        raise ProtocolError(f"the broker sent a packet on which the codec panics: {error}", 0x81) from error
    if size != len(view):
        malformed("its length is wrong")
    return packet
