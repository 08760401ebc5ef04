"""Which ranges get partitions."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from core.database.timeseries.ranges import Range, chunk_at, missing, partition_name

DAY = timedelta(days=1)


def at(day: int, hour: int = 0) -> datetime:
    return datetime(2026, 11, day, hour, tzinfo=UTC)


def test_chunks_begin_at_midnight_utc() -> None:
    """A chunk for each instant, from the one of the first to that of the last."""
    assert [Range(at(1), at(2)), Range(at(2), at(3))] == missing(Range(at(1, 7), at(2, 7)), DAY, [])


def test_an_instant_at_the_end_is_not_part_of_it() -> None:
    """As everywhere, ranges are half open."""
    assert [Range(at(1), at(2))] == missing(Range(at(1, 7), at(2)), DAY, [])


def test_what_is_there_is_not_made_again() -> None:
    """Nor what lies in a longer range of former times; gaps that remain are filled."""
    existing = [Range(at(3, 12), at(5, 6)), Range(at(1), at(2))]
    expected = [Range(at(2), at(3)), Range(at(3), at(3, 12)), Range(at(5, 6), at(6))]
    assert expected == missing(Range(at(1), at(5, 23)), DAY, existing)


def test_names_tell_the_start() -> None:
    """With the time of day where it says more."""
    assert "readings_p20261103" == partition_name("readings", at(3))
    assert "readings_p20261103_120000" == partition_name("readings", at(3, 12))


hours = st.integers(0, 24 * 20)
ranges = st.lists(st.tuples(hours, st.integers(1, 60)), max_size=6)


@given(hours, st.integers(1, 24 * 10), st.integers(1, 100), ranges)
def test_every_instant_has_exactly_one_range(
    start: int, length: int, chunk: int, others: list[tuple[int, int]]
) -> None:
    """Whatever there is already, with whatever chunks it was made."""
    hour = timedelta(hours=1)
    first = chunk_at(0, hour).start
    existing: list[Range] = []
    for begin, duration in others:
        wanted = Range(first + begin * hour, first + (begin + duration) * hour)
        if all(wanted.end <= other.start or other.end <= wanted.start for other in existing):
            existing.append(wanted)
    instants = Range(first + start * hour, first + (start + length) * hour)
    together = sorted([*existing, *missing(instants, chunk * hour, existing)])
    assert all(before.end <= after.start for before, after in pairwise(together))
    for number in range(start, start + length):
        instant = first + number * hour
        assert 1 == sum(each.start <= instant < each.end for each in together)
