"""The conservation law: every received message is in exactly one place."""

from core.ingest.statistics import ConsumerStatistics


def test_parts_that_add_up_leave_nothing_unaccounted_for() -> None:
    """Eight places, and a message is in one of them."""
    assert 0 == ConsumerStatistics(36, 1, 2, 3, 4, 5, 6, 7, 8).unaccounted


def test_what_is_missing_or_counted_twice_shows() -> None:
    """Too few in the parts is positive, too many negative."""
    assert (1, -1) == (
        ConsumerStatistics(37, 1, 2, 3, 4, 5, 6, 7, 8).unaccounted,
        ConsumerStatistics(35, 1, 2, 3, 4, 5, 6, 7, 8).unaccounted,
    )
