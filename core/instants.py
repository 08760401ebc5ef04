"""Points in time: whatever a device sends as a time becomes one aware UTC datetime."""

import math
import re
from datetime import UTC, date, datetime, time, timedelta

__all__ = ["TimeOutOfRange", "now", "to_instant"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# A number is read by its size: 1e11 seconds are the year 5138, 1e11 milliseconds are 1973.
_MILLISECONDS = 1e11
_UNITS = ((1e17, 1_000_000_000), (1e14, 1_000_000), (_MILLISECONDS, 1_000))
_YEAR_1 = -62_135_596_800

_WHOLE = re.compile(r"[+-]?[0-9]{1,40}")
_NUMBER = re.compile(r"[+-]?[0-9]{1,40}(\.[0-9]*)?([eE][+-]?[0-9]{1,3})?")


class TimeOutOfRange(ValueError, OverflowError):
    """A number or a datetime outside the years 1 to 9999; NaN, too."""


def now() -> datetime:
    """The present time."""
    return datetime.now(UTC)


def to_instant(value: object) -> datetime:
    """Convert a time to an aware datetime in UTC.

    Args:
        value: A datetime (naive means UTC), a date (midnight UTC), ISO 8601 text (no zone means UTC),
            or a number: seconds since 1970, or milliseconds, microseconds or nanoseconds where it is too
            large for seconds. Text that holds nothing but a number is read as the number.

    Raises:
        TimeOutOfRange: It is outside the years 1 to 9999.
        ValueError: It is no time.
    """
    if isinstance(value, datetime):
        return value if value.tzinfo is UTC else _in_utc(value)
    if isinstance(value, float) and _YEAR_1 <= value < _MILLISECONDS:
        # What devices send most, and therefore the shortest way.
        return _EPOCH + timedelta(seconds=value)
    if isinstance(value, date):
        return datetime.combine(value, time(), UTC)
    if isinstance(value, str):
        return _from_text(value.strip())
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return _from_number(value)
    raise ValueError(f"{value!r:.60} is no time; give seconds or milliseconds since 1970, or ISO 8601 text")


def _in_utc(value: datetime) -> datetime:
    if value.tzinfo is None:
        return value.replace(tzinfo=UTC)
    try:
        return value.astimezone(UTC)
    except OverflowError as error:
        raise TimeOutOfRange(f"{value.isoformat()} is outside the years 1 to 9999") from error


def _from_text(text: str) -> datetime:
    # Numbers first: Python takes "1712010100123", milliseconds of the year 2024, for the year 1712.
    if _WHOLE.fullmatch(text):
        return _from_number(int(text))
    if _NUMBER.fullmatch(text):
        return _from_number(float(text))
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"{text!r:.60} is no time; give ISO 8601 text, as 2026-01-31T12:00:00Z") from error
    return _in_utc(moment)


def _from_number(number: float) -> datetime:
    try:
        if not math.isfinite(number):
            raise OverflowError(number)
        divisor = next((unit for limit, unit in _UNITS if abs(number) >= limit), 1)
        # Whole numbers are split, not divided: a float has too few digits for nanoseconds.
        whole, part = divmod(number, divisor)
        return _EPOCH + timedelta(seconds=int(whole), microseconds=round(part * 1_000_000 / divisor))
    except OverflowError as error:
        raise TimeOutOfRange("the number is outside the years 1 to 9999") from error
