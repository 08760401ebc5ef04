"""Which ranges of time get a partition of their own. No I/O."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

__all__ = ["Range", "chunk_at", "missing", "partition_name"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Range(NamedTuple):
    """From an instant up to, but without, another one."""

    start: datetime
    end: datetime


def chunk_at(number: int, chunk: timedelta) -> Range:
    """The chunk of a number; they are counted from 1970-01-01 in UTC."""
    start = _EPOCH + number * chunk
    return Range(start, start + chunk)


def missing(instants: Range, chunk: timedelta, existing: Iterable[Range]) -> list[Range]:
    """The ranges that are still to be made, so that there is one for each instant.

    Args:
        instants: From the first to the last instant.
        chunk: How long a range is, unless others leave it less room.
        existing: The ranges that there are, of whatever length: chunks may have been longer once.
    """
    taken = sorted(existing)
    wanted: list[Range] = []
    number = (instants.start - _EPOCH) // chunk
    while (piece := chunk_at(number, chunk)).start < instants.end:
        wanted += _gaps(piece, taken)
        number += 1
    return wanted


def _gaps(piece: Range, taken: Sequence[Range]) -> list[Range]:
    gaps = []
    start = piece.start
    for other in taken:
        if other.end <= start or other.start >= piece.end:
            continue
        if start < other.start:
            gaps.append(Range(start, other.start))
        start = other.end
    return [*gaps, Range(start, piece.end)] if start < piece.end else gaps


def partition_name(table: str, start: datetime) -> str:
    """``readings_p20261121``, or with the time of day where it is not midnight."""
    day = start.time() == datetime.min.time()
    return f"{table}_p{start:%Y%m%d}" if day else f"{table}_p{start:%Y%m%d_%H%M%S}"
