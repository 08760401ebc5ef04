"""Values that come from outside, converted to what a column holds."""

import re
import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from sqlalchemy import Boolean, Column, Date, DateTime, Enum, Float, Integer, Numeric, String, Uuid

from core.database.values import normaliser
from core.instants import to_instant
from core.model import Instant

__all__ = ["Converter", "converter", "to_flag"]

Converter = Callable[[Any], Any]

_WHOLE = re.compile(r"[+-]?[0-9]{1,40}")
_NUMBER = re.compile(r"[+-]?[0-9]{1,40}(\.[0-9]{0,40})?([eE][+-]?[0-9]{1,3})?")
_FLAGS = {"true": True, "false": False, "1": True, "0": False}


def converter(column: Column[Any]) -> Converter | None:
    """Choose what converts values from outside, among them the texts of a URL's query, for a column.

    Args:
        column: A column of a table.

    Returns:
        A function from a value to one that the column can be compared with; it raises ValueError with a
        reason. ``None`` for a column whose values databases do not compare alike, such as JSON.
    """
    kind = column.type
    for types, make in _MAKERS:
        if isinstance(kind, types):
            return make(column)
    return None


def to_flag(value: object) -> bool:
    """Read true or false.

    Raises:
        ValueError: It is neither.
    """
    if isinstance(value, bool):
        return value
    flag = _FLAGS.get(str(value).lower()) if isinstance(value, (str, int)) else None
    if flag is None:
        raise ValueError("must be true or false")
    return flag


def _instant(_column: Column[Any]) -> Converter:
    return to_instant


def _enumeration(column: Column[Any]) -> Converter:
    return normaliser(column) or _one_of(column)


def _one_of(column: Column[Any]) -> Converter:
    kind: Any = column.type

    def convert(value: Any) -> Any:
        if not isinstance(value, str) or value not in kind.enums:
            raise ValueError(f"must be one of {', '.join(map(repr, kind.enums))}")
        return value

    return convert


def _text(column: Column[Any]) -> Converter:
    return normaliser(column) or _unchanged


def _flag(_column: Column[Any]) -> Converter:
    return to_flag


def _whole(column: Column[Any]) -> Converter:
    check = normaliser(column) or _unchanged
    return lambda value: check(int(value) if isinstance(value, str) and _WHOLE.fullmatch(value) else value)


def _real(column: Column[Any]) -> Converter:
    check = normaliser(column) or _unchanged

    def convert(value: Any) -> float:
        number = float(value) if isinstance(value, str) and _NUMBER.fullmatch(value) else value
        # What a column would round to is no bound to compare with.
        check(number)
        return float(number)

    return convert


def _number(column: Column[Any]) -> Converter:
    kind: Any = column.type
    if not kind.asdecimal:
        return _real(column)
    check = normaliser(column) or _unchanged
    # What does not fit is refused here, and not by one of the databases.
    limit = Decimal(10) ** ((kind.precision or 60) - (kind.scale or 0))

    def convert(value: Any) -> Decimal:
        if isinstance(value, str) and _NUMBER.fullmatch(value):
            value = Decimal(value)
        check(value)
        try:
            number = Decimal(str(value))
        except InvalidOperation as error:
            raise ValueError("must be a number") from error
        if abs(number) >= limit:
            raise ValueError(f"must be smaller than {limit:E}")
        return number

    return convert


def _uuid(column: Column[Any]) -> Converter:
    as_uuid = getattr(column.type, "as_uuid", True)

    def convert(value: Any) -> Any:
        if not isinstance(value, (str, uuid.UUID)):
            raise ValueError("must be a UUID")  # noqa: TRY004 - the same for every value that does not do
        found = value if isinstance(value, uuid.UUID) else uuid.UUID(value)
        return found if as_uuid else str(found)

    return convert


def _moment(column: Column[Any]) -> Converter:
    aware = getattr(column.type, "timezone", False)
    return lambda value: to_instant(value).replace(tzinfo=UTC if aware else None)


def _day(_column: Column[Any]) -> Converter:
    def convert(value: Any) -> date:
        if isinstance(value, datetime):
            return to_instant(value).date()
        return value if isinstance(value, date) else date.fromisoformat(str(value))

    return convert


def _unchanged(value: Any) -> Any:
    return value


#: The first that fits, so the narrower type comes before the wider.
_MAKERS: tuple[tuple[Any, Callable[[Column[Any]], Converter]], ...] = (
    (Instant, _instant),
    (Enum, _enumeration),
    (String, _text),
    (Boolean, _flag),
    (Integer, _whole),
    ((Float, Numeric), _number),
    (Uuid, _uuid),
    (DateTime, _moment),
    (Date, _day),
)
