"""What workers report, and its sum."""

from core.application import ApplicationStatistics
from core.database.statistics import DatabaseStatistics
from core.ingest.statistics import ConsumerStatistics, HandlerStatistics
from core.mqtt.subscriber import SubscriberStatistics
from core.workers.reports import Report, decode, encode, total

ONE = ApplicationStatistics(
    ConsumerStatistics(10, 1, 2, 1, 1, 1, 1, 1, 2),
    DatabaseStatistics(5, 1, 2, 3.0, 0.25),
    SubscriberStatistics(True, 1),
    HandlerStatistics(1, 2, True, 3, 0, (7.0, 1.0)),
)
OTHER = ApplicationStatistics(
    ConsumerStatistics(20, 20, 0, 0, 0, 0, 0, 0, 0),
    DatabaseStatistics(20, 0, 6, 1.0, 0.75),
    SubscriberStatistics(True, 2),
    HandlerStatistics(2, 0, False, 1, 0, (0.0, 9.0)),
)


def test_reports_survive_the_line() -> None:
    """One line each, types included."""
    for report in (Report(), Report(ONE, ready=True), Report(problem="bad\npassword")):
        line = encode(report)
        assert (report, 1) == (decode(line), line.count(b"\n"))


def test_sum_of_workers() -> None:
    """Counters are added, means weighted by flushes."""
    summed = total([ONE, OTHER], connected=False)
    assert ConsumerStatistics(30, 21, 2, 1, 1, 1, 1, 1, 2) == summed.consumer
    assert DatabaseStatistics(25, 1, 8, 1.5, 0.625) == summed.database
    assert SubscriberStatistics(False, 3) == summed.subscriber
    assert HandlerStatistics(3, 2, True, 4, 0, (7.0, 9.0)) == summed.handlers


def test_sum_of_a_sum() -> None:
    """Workers that have ended may be added up as they go."""
    parts = [ONE, OTHER, ONE]
    assert total(parts, connected=True) == total([total(parts[:2], connected=False), ONE], connected=True)


def test_sum_of_nobody() -> None:
    """Before the first worker has reported everything is zero."""
    assert {0} == set(total([], connected=False).consumer)
