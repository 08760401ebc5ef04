"""What a worker tells its supervisor, and the sum over all workers."""

from collections.abc import Iterable

import msgspec

from core.application import ApplicationStatistics
from core.database.statistics import DatabaseStatistics
from core.ingest.statistics import ConsumerStatistics, HandlerStatistics
from core.mqtt.subscriber import SubscriberStatistics

__all__ = ["Report", "decode", "encode", "total"]


class Report(msgspec.Struct, frozen=True, omit_defaults=True):
    """One heartbeat.

    Attributes:
        statistics: The worker's counters, once it has some.
        ready: Whether messages come in and rows can be written.
        problem: The error that ends it, in words for the user.
    """

    statistics: ApplicationStatistics | None = None
    ready: bool = False
    problem: str | None = None


_decoder = msgspec.json.Decoder(Report)


def encode(report: Report) -> bytes:
    """Write a report as one line."""
    return msgspec.json.encode(report) + b"\n"


def decode(line: bytes) -> Report:
    """Read a report."""
    return _decoder.decode(line)


def total(parts: Iterable[ApplicationStatistics], *, connected: bool) -> ApplicationStatistics:
    """Add the counters of workers up; means are weighted by the number of flushes.

    Args:
        parts: The counters of each.
        connected: Whether all of them are connected.
    """
    parts = list(parts)
    consumers = [part.consumer for part in parts]
    databases = [part.database for part in parts]
    flushes = sum(database.flushes for database in databases)
    return ApplicationStatistics(
        ConsumerStatistics(*(sum(column) for column in zip(*consumers, strict=True)) if consumers else [0] * 9),
        DatabaseStatistics(
            rows=sum(database.rows for database in databases),
            duplicates=sum(database.duplicates for database in databases),
            flushes=flushes,
            mean_batch=sum(database.mean_batch * database.flushes for database in databases) / max(flushes, 1),
            commit_latency=sum(database.commit_latency * database.flushes for database in databases) / max(flushes, 1),
        ),
        SubscriberStatistics(connected, sum(part.subscriber.connections for part in parts)),
        HandlerStatistics(
            repeated=sum(part.handlers.repeated for part in parts),
            held=sum(part.handlers.held for part in parts),
            stalled=any(part.handlers.stalled for part in parts),
            blocked=sum(part.handlers.blocked for part in parts),
            silences=sum(part.handlers.silences for part in parts),
            last_messages=tuple(map(max, zip(*[part.handlers.last_messages for part in parts], strict=True))),
        ),
    )
