"""Readings summed up by time: an average every five minutes, a count every hour."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import ColumnElement, Float, Integer, Numeric
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql.functions import FunctionElement

from core.durations import to_duration
from core.exceptions import InvalidQuery
from core.instants import to_instant
from core.model import Instant
from core.query.bucket_start import BucketStart, anchor_of
from core.query.entities import attribute_of, check_plain, entity_of, select_of, time_of
from core.query.execution import reading

__all__ = ["time_buckets"]

#: A Monday, so that weeks begin with Mondays; minutes, hours and days begin as everywhere.
_ORIGIN = datetime(2000, 1, 3, tzinfo=UTC)
_WIDEST = timedelta(days=3660)
_BUCKET = "bucket"

Bucket = dict[str, Any]


async def time_buckets(
    source: Any,
    width: str | timedelta,
    *,
    by: str | Sequence[str] = (),
    time: str | None = None,
    origin: Any = _ORIGIN,
    start: Any = None,
    end: Any = None,
    empty: bool = False,
    max_buckets: int = 100_000,
    session: AsyncSession | None = None,
    **aggregates: ColumnElement[Any],
) -> list[Bucket]:
    """Sum rows up by time, with one statement.

    ``await time_buckets(SensorReading, "5m", by="device_id", mean=func.avg(SensorReading.value), rows=func.count())``

    Args:
        source: A model, or a select with conditions and joins; what it selects does not matter.
        width: ``"45s"``, ``"5m"``, ``"1h"``, ``"1d"``, ``"1w"`` or a timedelta. Days are days of UTC.
        by: Attributes that each have buckets of their own.
        time: The attribute with the time of a row; without it the only ``Instant`` that is never NULL.
        origin: A time at which a bucket starts.
        start: Rows before this time are left out.
        end: Rows from this time on are left out.
        empty: Whether buckets without rows are given too, for each ``by`` that has rows: from ``start`` to
            ``end``, or between the first and the last bucket found. Counts in them are 0, all else is ``None``.
        max_buckets: How many buckets there may be.
        session: Runs the statement; without one a session of the installed database does.
        aggregates: What to compute, by name; any aggregate function of SQLAlchemy.

    Returns:
        Dictionaries with ``bucket``, the start of the bucket as an aware datetime, the attributes of ``by``
        and the aggregates; in the order of ``by``, then of time.

    Raises:
        InvalidQuery: A duration, time or name does not do, or there would be too many buckets.
    """
    statement = select_of(source)
    check_plain(statement, "time_buckets")
    entity = entity_of(statement)
    names = [by] if isinstance(by, str) else list(by)
    _check_names(names, aggregates)
    moment, groups = time_of(entity, time), [attribute_of(entity, name) for name in names]
    if not isinstance(moment.type, Instant):
        raise InvalidQuery(f"{moment.key} is no Instant column")
    extent = _Extent(width, origin, start, end)
    bucket = BucketStart(moment, extent.width, extent.origin)
    if extent.start is not None:
        statement = statement.where(moment >= extent.start)
    if extent.end is not None:
        statement = statement.where(moment < extent.end)
    columns = [bucket.label(_BUCKET), *groups, *(value.label(name) for name, value in aggregates.items())]
    wanted = statement.with_only_columns(*columns, maintain_column_froms=True).where(moment.is_not(None))
    wanted = wanted.order_by(None).group_by(bucket, *groups).order_by(*groups, bucket).limit(max_buckets + 1)
    async with reading(session) as open_session:
        rows = (await open_session.execute(wanted)).all()
    header = [_BUCKET, *names, *aggregates]
    found = [dict(zip(header, row, strict=True)) for row in rows]
    for one in found:
        one |= {name: _plain(one[name], aggregate) for name, aggregate in aggregates.items()}
    if len(found) <= max_buckets and empty:
        blank = {name: 0 if _counts(aggregate) else None for name, aggregate in aggregates.items()}
        found = list(_filled(found, names, blank, extent, max_buckets))
    if len(found) > max_buckets:
        raise InvalidQuery(f"there would be more than {max_buckets} buckets; fix: widen them, or narrow start and end")
    return found


class _Extent:
    """The buckets that are asked for: their width and where they begin and end, checked."""

    def __init__(self, width: Any, origin: Any, start: Any, end: Any) -> None:
        try:
            self.width = to_duration(width)
            self.origin = to_instant(origin)
            self.start = None if start is None else to_instant(start)
            self.end = None if end is None else to_instant(end)
        except ValueError as error:
            raise InvalidQuery(f"time_buckets: {error}") from error
        if self.width > _WIDEST:
            raise InvalidQuery(f"a bucket of {self.width} is too wide; at most {_WIDEST.days} days")

    def starts(self, found: Sequence[Bucket]) -> Iterator[datetime]:
        """The starts of all buckets."""
        times = [one[_BUCKET] for one in found]
        first = min(times, default=None) if self.start is None else self._start_of(self.start)
        last = max(times, default=None) if self.end is None else self.end - timedelta(microseconds=1)
        while first is not None and last is not None and first <= last:
            yield first
            first += self.width

    def _start_of(self, moment: datetime) -> datetime:
        anchor = anchor_of(self.origin, self.width)
        return moment - (moment - anchor) % self.width


def _filled(
    found: Sequence[Bucket], names: Sequence[str], blank: Bucket, extent: _Extent, most: int
) -> Iterator[Bucket]:
    """All buckets, those without rows too; one more than allowed is enough."""
    groups: dict[tuple[Any, ...], dict[datetime, Bucket]] = {} if names else {(): {}}
    for one in found:
        groups.setdefault(tuple(one[name] for name in names), {})[one[_BUCKET]] = one
    number = 0
    for group, buckets in groups.items():
        for start in extent.starts(found):
            number += 1
            yield buckets.get(start) or {_BUCKET: start, **dict(zip(names, group, strict=True)), **blank}
            if number > most:
                return


def _check_names(names: Sequence[str], aggregates: dict[str, ColumnElement[Any]]) -> None:
    if not aggregates:
        raise InvalidQuery("what is to be computed? fix: name an aggregate, as in rows=func.count()")
    for name, aggregate in aggregates.items():
        if not isinstance(aggregate, ColumnElement):
            raise InvalidQuery(f"{name} is no aggregate; fix: write {name}=func.avg(Model.column), for example")
    for name in (*names, *aggregates):
        if name == _BUCKET or (name in names and name in aggregates):
            raise InvalidQuery(f"the name {name!r} is taken; fix: choose another one for the aggregate")


def _counts(aggregate: ColumnElement[Any]) -> bool:
    return isinstance(aggregate, FunctionElement) and getattr(aggregate, "name", "") == "count"


def _plain(value: Any, aggregate: ColumnElement[Any]) -> Any:
    """Undo that PostgreSQL and MariaDB compute with decimals where no decimals were stored."""
    if not isinstance(value, Decimal):
        return value
    arguments = list(aggregate.clauses) if isinstance(aggregate, FunctionElement) else []
    kinds = [argument.type for argument in arguments]
    if any(isinstance(kind, Numeric) and not isinstance(kind, (Float, Integer)) for kind in kinds) or not kinds:
        return value
    whole = getattr(aggregate, "name", "") == "sum" and isinstance(kinds[0], Integer)
    return int(value) if whole else float(value)
