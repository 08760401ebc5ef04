"""Finds text that is not UTF-8 before the codec sees it.

The ``mqtt5`` codec panics on such text and prints a backtrace that cannot be caught, so every packet
with a byte above 0x7F in its text is looked through first (MQTT 5 sections 1.5.4 and 2.2.2).
"""

from typing import NoReturn

from core.exceptions import ProtocolError

__all__ = [
    "USER_PROPERTY",
    "check_control",
    "check_properties",
    "check_text",
    "malformed",
    "property_end",
    "variable_integer",
]

#: The identifier of a User Property (MQTT 5 section 3.3.2.3.7).
USER_PROPERTY = 0x26

_BYTE, _TWO, _FOUR, _VARIABLE, _BINARY, _TEXT, _PAIR = range(7)

# MQTT 5 section 2.2.2.2, table 2-4.
_KINDS = {
    0x01: _BYTE,
    0x02: _FOUR,
    0x03: _TEXT,
    0x08: _TEXT,
    0x09: _BINARY,
    0x0B: _VARIABLE,
    0x11: _FOUR,
    0x12: _TEXT,
    0x13: _TWO,
    0x15: _TEXT,
    0x16: _BINARY,
    0x17: _BYTE,
    0x18: _FOUR,
    0x19: _BYTE,
    0x1A: _TEXT,
    0x1C: _TEXT,
    0x1F: _TEXT,
    0x21: _TWO,
    0x22: _TWO,
    0x23: _TWO,
    0x24: _BYTE,
    0x25: _BYTE,
    USER_PROPERTY: _PAIR,
    0x27: _FOUR,
    0x28: _BYTE,
    0x29: _BYTE,
    0x2A: _BYTE,
}
_SIZES = {_BYTE: 1, _TWO: 2, _FOUR: 4}

# Where the properties begin in the body of what a server sends, by packet type.
_PROPERTIES_AT = {2: 2, 4: 3, 5: 3, 6: 3, 7: 3, 9: 2, 11: 2, 14: 1, 15: 1}


def malformed(what: str) -> NoReturn:
    """Refuse bytes that are no MQTT 5 packet.

    Raises:
        ProtocolError: Always, with reason code 0x81 (Malformed Packet).
    """
    raise ProtocolError(f"the broker sent a malformed packet: {what}", 0x81)


def variable_integer(buffer: bytearray, at: int, end: int) -> tuple[int, int] | None:
    """Read a Variable Byte Integer (MQTT 5 section 1.5.5).

    Returns:
        The value and where it ends, or ``None`` when ``end`` comes first.

    Raises:
        ProtocolError: It is longer than four bytes.
    """
    value = 0
    for shift in (0, 7, 14, 21):
        if at >= end:
            return None
        byte = buffer[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    malformed("a length takes more than four bytes")


def check_control(kind: int, buffer: bytearray, body: int, end: int) -> None:
    """Check the text of a packet that is no PUBLISH and that a server may send.

    Args:
        kind: The packet type.
        buffer: Holds the packet.
        body: Where its variable header begins.
        end: Where the packet ends.

    Raises:
        ProtocolError: Its text is not UTF-8.
    """
    at = body + _PROPERTIES_AT.get(kind, end)
    if at < end and not buffer[at:end].isascii():
        check_properties(buffer, at, end)


def check_properties(buffer: bytearray, at: int, end: int) -> None:
    """Check the text of the properties whose length stands at ``at``.

    Raises:
        ProtocolError: They are cut off, unknown or not UTF-8.
    """
    found = variable_integer(buffer, at, end)
    if found is None or found[0] + found[1] > end:
        malformed("its properties are cut off")
    length, at = found
    end = at + length
    while at < end:
        at = property_end(buffer, at, end)
    if at != end:
        malformed("its properties are cut off")


def property_end(buffer: bytearray, at: int, end: int) -> int:
    """Check one property.

    Returns:
        Where it ends; behind ``end`` if it is not whole.

    Raises:
        ProtocolError: It is unknown or not UTF-8.
    """
    kind = _KINDS.get(buffer[at])
    if kind is None:
        malformed(f"there is no property 0x{buffer[at]:02X}")
    at += 1
    if kind in _SIZES:
        return at + _SIZES[kind]
    if kind == _VARIABLE:
        found = variable_integer(buffer, at, end)
        return found[1] if found else end + 1
    for _ in range(2 if kind == _PAIR else 1):
        start = at + 2
        at = start + int.from_bytes(buffer[at:start])
        if at > end:
            break
        if kind != _BINARY:
            check_text(buffer, start, at)
    return at


def check_text(buffer: bytearray, start: int, end: int) -> None:
    """Check one text.

    Raises:
        ProtocolError: It is not UTF-8.
    """
    try:
        buffer[start:end].decode()
    except UnicodeDecodeError as error:
        malformed(f"text that is not UTF-8 ({error.reason})")
