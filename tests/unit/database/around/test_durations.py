"""Durations as people write them."""

import contextlib
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.durations import to_duration, to_seconds


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("45s", timedelta(seconds=45)),
        ("90m", timedelta(minutes=90)),
        ("12h", timedelta(hours=12)),
        (" 30d ", timedelta(days=30)),
        ("2w", timedelta(weeks=2)),
        ("1 day", timedelta(days=1)),
        ("30 days", timedelta(days=30)),
        ("12hours", timedelta(hours=12)),
        (timedelta(hours=1), timedelta(hours=1)),
    ],
)
def test_units(text: Any, expected: timedelta) -> None:
    """Seconds, minutes, hours, days, weeks; a timedelta is what it is."""
    assert expected == to_duration(text)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "d",
        "30",
        "30  days",
        "2 months",
        "1.5h",
        "-1d",
        "0s",
        "1y",
        "1M",
        30,
        1.5,
        None,
        True,
        timedelta(0),
        "999999999w",
    ],
)
def test_anything_else_is_refused(value: Any) -> None:
    """A number alone too: of what?"""
    with pytest.raises(ValueError, match="duration"):
        to_duration(value)


@given(st.text())
def test_no_text_breaks_it(text: str) -> None:
    """Any text is a duration or a ValueError."""
    with contextlib.suppress(ValueError):
        assert to_duration(text) > timedelta(0)


@pytest.mark.parametrize(
    ("value", "expected"), [(1, 1.0), (0.5, 0.5), ("2m", 120.0), (timedelta(milliseconds=5), 0.005)]
)
def test_seconds_are_numbers_or_durations(value: Any, expected: float) -> None:
    """Where a unit goes without saying."""
    assert expected == to_seconds(value)


@pytest.mark.parametrize("value", [0, -1, float("nan"), True, None, "5", "0s", [1]])
def test_what_is_no_time_is_refused(value: Any) -> None:
    """Nothing takes no time at all."""
    with pytest.raises(ValueError, match="is no"):
        to_seconds(value)
