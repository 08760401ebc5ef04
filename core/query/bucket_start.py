"""The start of the time bucket in which a point in time lies, in the SQL of each database."""

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger, bindparam
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import QueryableAttribute
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from core.model import Instant

__all__ = ["BucketStart", "anchor_of"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: Before every time that is stored: counted from here, nothing is negative, which databases divide differently.
_LONG_AGO = datetime(1000, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def anchor_of(origin: datetime, width: timedelta) -> datetime:
    """The first start of a bucket after the year 1000."""
    return _LONG_AGO + (origin - _LONG_AGO) % width


class BucketStart(FunctionElement[datetime]):
    """The latest start of a bucket that is not after a time.

    Args:
        moment: An ``Instant`` column.
        width: Of the buckets.
        origin: The start of any one of them.
    """

    name = "bucket_start"
    inherit_cache = True

    def __init__(self, moment: QueryableAttribute[Any], width: timedelta, origin: datetime) -> None:
        anchor = anchor_of(origin, width)
        super().__init__(moment, _number(width // _MICROSECOND), _number((anchor - _EPOCH) // _MICROSECOND))
        self.type = Instant()


def _number(value: int) -> Any:
    # Written into the statement: GROUP BY must repeat the expression, and two parameters are two expressions.
    return bindparam(None, value, BigInteger(), literal_execute=True, unique=True)


def _parts(element: BucketStart, compiler: SQLCompiler, options: Any) -> tuple[str, str, str]:
    moment, width, anchor = (compiler.process(clause, **options) for clause in element.clauses)
    return moment, width, anchor


@compiles(BucketStart)
def _on_postgresql(element: BucketStart, compiler: SQLCompiler, **options: Any) -> str:
    moment, width, anchor = _parts(element, compiler, options)
    epoch = "TIMESTAMPTZ '1970-01-01 00:00:00Z'"
    return f"date_bin({width} * INTERVAL '1 microsecond', {moment}, {epoch} + ({anchor}) * INTERVAL '1 microsecond')"


@compiles(BucketStart, "mysql")
@compiles(BucketStart, "mariadb")
def _on_mysql(element: BucketStart, compiler: SQLCompiler, **options: Any) -> str:
    moment, width, anchor = _parts(element, compiler, options)
    since = f"TIMESTAMPDIFF(MICROSECOND, '1970-01-01 00:00:00', {moment}) - ({anchor})"
    return f"TIMESTAMPADD(MICROSECOND, -MOD({since}, {width}), {moment})"


@compiles(BucketStart, "sqlite")
def _on_sqlite(element: BucketStart, compiler: SQLCompiler, **options: Any) -> str:
    moment, width, anchor = _parts(element, compiler, options)
    # A time is a text of 26 characters, of which the last six are microseconds.
    since = f"(strftime('%s', {moment}) * 1000000 + CAST(substr({moment}, 21, 6) AS INTEGER) - ({anchor}))"
    start = f"({since} - {since} % {width} + ({anchor}) - ({_LONG_AGO_MICROSECONDS}))"
    seconds = f"{start} / 1000000 + ({_LONG_AGO_MICROSECONDS // 1_000_000})"
    return f"strftime('%Y-%m-%d %H:%M:%S', {seconds}, 'unixepoch') || printf('.%06d', {start} % 1000000)"


_LONG_AGO_MICROSECONDS = (_LONG_AGO - _EPOCH) // _MICROSECOND
