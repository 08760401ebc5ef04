"""Reading times in all the forms in which devices send them."""

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.instants import now, to_instant

MOMENT = datetime(2023, 11, 14, 22, 13, 20, 123456, tzinfo=UTC)


@pytest.mark.parametrize(
    "value",
    [
        1700000000.123456,
        1700000000123.456,
        1700000000123456,
        1700000000123456000,
        "1700000000.123456",
        "1700000000123456",
        "1700000000123456000",
        " 1700000000.123456 ",
        "2023-11-14T22:13:20.123456Z",
        "2023-11-14T22:13:20.123456",
        "2023-11-14 22:13:20.123456+00:00",
        "2023-11-15T00:13:20.123456+02:00",
        MOMENT,
        MOMENT.replace(tzinfo=None),
        MOMENT.astimezone(timezone(timedelta(hours=-7))),
    ],
)
def test_reads_every_form_of_one_moment(value: Any) -> None:
    """Seconds, milliseconds, microseconds, nanoseconds, ISO 8601 and datetimes give one aware UTC time."""
    instant = to_instant(value)
    assert MOMENT == instant
    assert UTC is instant.tzinfo


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, datetime(1970, 1, 1, tzinfo=UTC)),
        (-1.5, datetime(1969, 12, 31, 23, 59, 58, 500000, tzinfo=UTC)),
        (-1700000000000, datetime(1916, 2, 18, 1, 46, 40, tzinfo=UTC)),
        (99999999999, datetime(5138, 11, 16, 9, 46, 39, tzinfo=UTC)),
        (100000000000, datetime(1973, 3, 3, 9, 46, 40, tzinfo=UTC)),
        ("2026-01-31", datetime(2026, 1, 31, tzinfo=UTC)),
        (date(2026, 1, 31), datetime(2026, 1, 31, tzinfo=UTC)),
        ("0001-01-01", datetime(1, 1, 1, tzinfo=UTC)),
        ("1e9", datetime(2001, 9, 9, 1, 46, 40, tzinfo=UTC)),
    ],
)
def test_edges(value: Any, expected: datetime) -> None:
    """Numbers change their unit at 1e11; dates are midnight in UTC."""
    assert expected == to_instant(value)


def test_milliseconds_as_text_are_not_taken_for_a_date() -> None:
    """Python's ISO parser reads these digits as 1712-01-01T01:23; they are milliseconds of 2024."""
    assert datetime(2024, 4, 1, 22, 21, 40, 123000, tzinfo=UTC) == to_instant("1712010100123")


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        [],
        "",
        "yesterday",
        "1_000",
        "nan",
        "inf",
        "9" * 5000,
        float("nan"),
        float("inf"),
        1e300,
        10**400,
        -(10**400),
        "10000-01-01",
        datetime.max.replace(tzinfo=timezone(timedelta(hours=-1))),
        datetime.min.replace(tzinfo=timezone(timedelta(hours=1))),
    ],
)
def test_refuses_what_is_no_time(value: Any) -> None:
    """Everything else is a ValueError, whose text stays short."""
    with pytest.raises(ValueError, match=r"time|years 1 to 9999") as caught:
        to_instant(value)
    assert len(str(caught.value)) < 200


@given(st.datetimes(timezones=st.timezones()))
def test_text_and_datetime_agree(moment: datetime) -> None:
    """The ISO 8601 text of a datetime is the same instant as the datetime."""
    try:
        expected = moment.astimezone(UTC)
    except OverflowError:
        return
    assert expected == to_instant(moment)
    assert expected == to_instant(expected.isoformat())


@given(st.integers(0, 4_000_000_000_000_000))
def test_microseconds_survive_a_float_of_seconds(microseconds: int) -> None:
    """A float holds microseconds until the year 2096 at least."""
    expected = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)
    assert expected == to_instant(microseconds / 1_000_000)


def test_now_is_aware() -> None:
    """The present is in UTC."""
    assert UTC is now().tzinfo
