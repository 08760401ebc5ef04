"""Durations as people write them."""

import re
from datetime import timedelta

__all__ = ["to_duration", "to_seconds"]

_NAMES = ("seconds", "minutes", "hours", "days", "weeks")
#: "d", "day" and "days" alike.
_UNITS = {spelling: name for name in _NAMES for spelling in (name[0], name[:-1], name)}
_FORM = re.compile(r"([0-9]{1,9}) ?([a-z]+)")


def to_duration(value: object) -> timedelta:
    """Convert a duration.

    Args:
        value: A timedelta, or text: a whole number and one of ``s``, ``m``, ``h``, ``d``, ``w`` or its
            word (seconds, minutes, hours, days, weeks), as in ``"30d"``, ``"12 hours"`` and ``"1 day"``.

    Raises:
        ValueError: It is no duration, or not longer than nothing.
    """
    found = _FORM.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is not None and found[2] in _UNITS:
        try:
            value = timedelta(**{_UNITS[found[2]]: int(found[1])})
        except OverflowError as error:
            raise ValueError(f"{value!r} is too long a duration") from error
    if not isinstance(value, timedelta):
        raise ValueError(  # noqa: TRY004 - the same for every value that does not do
            f"{value!r:.60} is no duration; write '45s', '90m', '12h', '30d', '2w' or a timedelta"
        )
    if value <= timedelta(0):
        raise ValueError(f"{value} is no duration in which anything can grow old")
    return value


def to_seconds(value: object) -> float:
    """Convert a time span.

    Args:
        value: A number of seconds, or a duration as in ``to_duration``.

    Raises:
        ValueError: It is neither, or not longer than nothing.
    """
    if isinstance(value, str | timedelta):
        return to_duration(value).total_seconds()
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise ValueError(f"{value!r:.60} is no time; write a number of seconds above 0, or '45s', '90m', '12h', '30d'")
    return float(value)
