"""Cursors as text: a place in a list, signed so that nobody else can make one up."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from core.exceptions import InvalidCursor, InvalidQuery

__all__ = ["Place", "Seal"]

_MAC_BYTES = 16
_LONGEST = 4096
_REFUSED = "the cursor was changed, or was made for another list, another order or with another key; fix: start again"


class Place(NamedTuple):
    """Between two rows of a list.

    Attributes:
        forward: Whether it leads to the rows behind it, or to those before it.
        inclusive: Whether the row with these values is among those to which it leads.
        values: Of the columns by which the list is ordered.
    """

    forward: bool
    inclusive: bool
    values: tuple[Any, ...]


class Seal:
    """Writes and reads the cursors of one list.

    Args:
        key: The secret.
        purpose: What all cursors of the list have in common: its order.
        types: The Python type of each value, where it is an enumeration, else ``None``.
    """

    def __init__(self, key: bytes, purpose: str, types: Sequence[type[Enum] | None]) -> None:
        self._key = hashlib.sha256(b"mqueduct cursor\0" + key).digest()
        self._purpose = purpose.encode()
        self._types = types

    def write(self, place: Place) -> str:
        """A cursor.

        Raises:
            InvalidQuery: The values are too long for one.
        """
        content = msgspec.msgpack.encode([place.forward, place.inclusive, [_written(value) for value in place.values]])
        cursor = base64.urlsafe_b64encode(self._mac(content) + content).rstrip(b"=").decode()
        if len(cursor) > _LONGEST:
            raise InvalidQuery("a value is too long for a cursor; fix: order by shorter columns")
        return cursor

    def read(self, cursor: object) -> Place:
        """The place that a cursor means.

        Raises:
            InvalidCursor: It is not one that ``write`` has made for the same list with the same key.
        """
        if not isinstance(cursor, str) or len(cursor) > _LONGEST:
            raise InvalidCursor(_REFUSED)
        try:
            signed = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        except (ValueError, binascii.Error) as error:
            raise InvalidCursor(_REFUSED) from error
        mac, content = signed[:_MAC_BYTES], signed[_MAC_BYTES:]
        if not hmac.compare_digest(mac, self._mac(content)):
            raise InvalidCursor(_REFUSED)
        forward, inclusive, values = msgspec.msgpack.decode(content)
        return Place(forward, inclusive, tuple(map(_read, values, self._types)))

    def _mac(self, content: bytes) -> bytes:
        parts = len(self._purpose).to_bytes(4, "big") + self._purpose + content
        return hmac.digest(self._key, parts, "sha256")[:_MAC_BYTES]


def _written(value: Any) -> Any:
    if isinstance(value, Enum):
        return ["enum", value.name]
    for name, (kind, write, _) in _FORMS.items():
        if isinstance(value, kind):  # asyncpg has UUIDs of a class of its own
            return [name, write(value)]
    if value is None or type(value) in {bool, int, float, str, bytes}:
        return value
    raise InvalidQuery(f"a cursor cannot hold a {type(value).__name__}; fix: order by another column")


def _read(written: Any, enumeration: type[Enum] | None) -> Any:
    if not isinstance(written, list):
        return written
    name, text = written
    return enumeration[text] if enumeration is not None else _FORMS[name][2](text)


#: By name: the type, how it is written, and how it is read.
_FORMS: dict[str, tuple[type, Any, Any]] = {
    "datetime": (datetime, datetime.isoformat, datetime.fromisoformat),
    "date": (date, date.isoformat, date.fromisoformat),
    "time": (time, time.isoformat, time.fromisoformat),
    "duration": (timedelta, lambda value: value // timedelta(microseconds=1), lambda us: timedelta(microseconds=us)),
    "decimal": (Decimal, str, Decimal),
    "uuid": (UUID, str, UUID),
}
