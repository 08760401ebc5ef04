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
        # In two numbers: PostgreSQL multiplies intervals with the precision of a float.
        seconds, rest = divmod(anchor_of(origin, width) - _EPOCH, timedelta(seconds=1))
        super().__init__(moment, *map(_number, (width // _MICROSECOND, seconds, rest // _MICROSECOND)))
        self.type = Instant()


def _number(value: int) -> Any:
    # Written into the statement: GROUP BY must repeat the expression, and two parameters are two expressions.
    return bindparam(None, value, BigInteger(), literal_execute=True, unique=True)


def _parts(element: BucketStart, compiler: SQLCompiler, options: Any) -> list[str]:
    return [compiler.process(clause, **options) for clause in element.clauses]


@compiles(BucketStart)
def _on_postgresql(element: BucketStart, compiler: SQLCompiler, **options: Any) -> str:
    moment, width, seconds, rest = _parts(element, compiler, options)
    shift = f"({seconds}) * INTERVAL '1 second' + {rest} * INTERVAL '1 microsecond'"
    anchor = f"TIMESTAMPTZ '1970-01-01 00:00:00Z' + {shift}"
    return f"date_bin({width} * INTERVAL '1 microsecond', {moment}, {anchor})"


@compiles(BucketStart, "mysql")
@compiles(BucketStart, "mariadb")
def _on_mysql(element: BucketStart, compiler: SQLCompiler, **options: Any) -> str:
    moment, width, seconds, rest = _parts(element, compiler, options)
    since = f"TIMESTAMPDIFF(MICROSECOND, '1970-01-01 00:00:00', {moment}) - ({seconds}) * 1000000 - {rest}"
    return f"TIMESTAMPADD(MICROSECOND, -MOD({since}, {width}), {moment})"


@compiles(BucketStart, "sqlite")
def _on_sqlite(element: BucketStart, compiler: SQLCompiler, **options: Any) -> str:
    moment, width, seconds, rest = _parts(element, compiler, options)
    # A time is a text of 26 characters. Its functions would round the six digits at the end.
    whole, part = f"strftime('%s', substr({moment}, 1, 19))", f"CAST(substr({moment}, 21, 6) AS INTEGER)"
    since = f"(({whole} - ({seconds})) * 1000000 + {part} - {rest})"
    start = f"({since} - {since} % {width} + {rest} + (({seconds}) - ({_LONG_AGO_SECONDS})) * 1000000)"
    day = f"strftime('%Y-%m-%d %H:%M:%S', {start} / 1000000 + ({_LONG_AGO_SECONDS}), 'unixepoch')"
    return f"{day} || printf('.%06d', {start} % 1000000)"


_LONG_AGO_SECONDS = (_LONG_AGO - _EPOCH) // timedelta(seconds=1)
