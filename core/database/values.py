"""Values that all databases take alike: what one of them would refuse or change is refused for all."""

import math
from collections.abc import Callable
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Any

from sqlalchemy import types as sqltypes
from sqlalchemy.sql import ClauseElement

from core.database.json import check_json
from core.database.types import Instant
from core.database.violations import ValueOutOfRange
from core.exceptions import InvalidValue
from core.instants import to_instant

__all__ = ["Normaliser", "is_sql", "longest_text", "normaliser", "refusal"]

Normaliser = Callable[[Any], Any]


class _TooLarge(ValueError, OverflowError):
    """The value is of the right kind, but does not fit."""


_BITS = {
    sqltypes.SmallInteger: 16,
    sqltypes.SMALLINT: 16,
    sqltypes.Integer: 32,
    sqltypes.INTEGER: 32,
    sqltypes.BigInteger: 64,
    sqltypes.BIGINT: 64,
}


def normaliser(column: Any) -> Normaliser | None:
    """Choose what checks and converts the values of a column.

    Without it a device id of 17 would be refused by PostgreSQL and stored by the others, NaN stored
    by PostgreSQL alone, a NUL or an over-long text refused by one and cut or kept by another.

    Args:
        column: A column of a table.

    Returns:
        A function from a value, not ``None`` and no SQL expression, to the value as it will read back;
        it raises ValueError with a reason that does not repeat the value. ``None`` where nothing is to do.
    """
    kind = getattr(column, "type", None)
    if isinstance(kind, Instant):
        return to_instant
    if isinstance(kind, sqltypes.Enum):
        return None if kind.enum_class is None else _member(kind.enum_class)
    if isinstance(kind, sqltypes.String):
        return _text(kind.length)
    if isinstance(kind, sqltypes.Integer):
        return _whole_number(_BITS.get(type(kind)))
    if isinstance(kind, sqltypes.Float) and not kind.asdecimal:
        return _real_number
    if isinstance(kind, sqltypes.JSON):
        return check_json
    return _decimal_number(kind) if isinstance(kind, sqltypes.Numeric) else None


def longest_text(column: Any) -> float:
    """How many characters of plain text a column takes; less than none where it does not take every text."""
    kind = getattr(column, "type", None)
    if not isinstance(kind, sqltypes.String) or isinstance(kind, sqltypes.Enum):
        return -1
    return math.inf if kind.length is None else kind.length


def refusal(model: type[Any], attribute: str, column: str, error: ValueError) -> InvalidValue:
    """The error for a value that a normaliser has refused.

    Args:
        model: A mapped class.
        attribute: The attribute that was to get the value.
        column: Its column.
        error: What the normaliser raised.
    """
    kind = ValueOutOfRange if isinstance(error, OverflowError) else InvalidValue
    table = getattr(model, "__table__", None)
    return kind(f"{model.__name__}.{attribute}: {error}", getattr(table, "name", ""), (column,))


def is_sql(value: object) -> bool:
    """Whether a value is an SQL expression, which only the database can compute."""
    return isinstance(value, ClauseElement) or hasattr(value, "__clause_element__")


def _text(length: int | None) -> Normaliser:
    def check(value: Any) -> Any:
        if not isinstance(value, str):
            raise ValueError(f"must be text, not {_kind(value)}; fix: convert it with str()")  # noqa: TRY004
        if length is not None and len(value) > length:
            raise _TooLarge(f"is {len(value)} characters long; at most {length} fit")
        if "\0" in value:
            raise ValueError("must not contain the character NUL, which PostgreSQL cannot store")
        if not value.isascii():
            _check_unicode(value)
        return value

    return check


def _member(kind: Any) -> Normaliser:
    """Of an enumeration, as payloads, topics and queries bring it: by its value, the text of that, or its name."""
    known = dict(kind.__members__) | {str(member.value): member for member in kind}
    # By exact types: True and 1.0 equal 1, and are not what was meant.
    types = {str, *(type(member.value) for member in kind)}
    allowed = ", ".join(repr(member.value) for member in kind)

    def check(value: Any) -> Any:
        if type(value) is kind and value.name in known:  # a union of flags is none of the members
            return value
        member = known.get(str(value)) if type(value) in types else None
        if member is None:
            raise ValueError(f"must be one of {allowed}")
        return member

    return check


def _check_unicode(value: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("must not contain a lone surrogate, which is no character") from None


def _whole_number(bits: int | None) -> Normaliser:
    limit = 2 ** (bits - 1) if bits else math.inf

    def check(value: Any) -> Any:
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValueError(f"must be a whole number, not {_kind(value)}")  # noqa: TRY004
        if not -limit <= value < limit:
            raise _TooLarge(f"does not fit in {bits} bits")
        return value

    return check


def _real_number(value: Any) -> float:
    if not isinstance(value, (int, float, Decimal)) or isinstance(value, bool):
        raise ValueError(f"must be a number, not {_kind(value)}")  # noqa: TRY004
    try:
        number = float(value)
    except OverflowError:
        raise _TooLarge("must be a finite number; it does not fit in 64 bits") from None
    if not math.isfinite(number):
        raise _TooLarge("must be a finite number; NaN and infinity cannot be stored")
    return number


def _decimal_number(kind: Any) -> Normaliser:
    if kind.precision is None:
        return _any_decimal
    scale = kind.scale or 0
    limit, last_place = Decimal(1).scaleb(kind.precision - scale), Decimal(1).scaleb(-scale)
    # As PostgreSQL and MariaDB round; SQLite would keep all digits and show some of them.
    rounding = Context(prec=kind.precision + 1, rounding=ROUND_HALF_UP)

    def check(value: Any) -> Any:
        _real_number(value)
        number = value if isinstance(value, Decimal) else Decimal(str(value))
        if abs(number) < limit:
            number = number.quantize(last_place, context=rounding)
        if abs(number) >= limit:
            raise _TooLarge(f"must be smaller than {limit:E}")
        return number if kind.asdecimal else float(number)

    return check


def _any_decimal(value: Any) -> Any:
    _real_number(value)
    return value


def _kind(value: object) -> str:
    return type(value).__name__
