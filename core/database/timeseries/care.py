"""Taking care of the time series of PostgreSQL, step by step; each step is a short transaction."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from functools import partial
from typing import NamedTuple, TypeVar

import structlog
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection

from core.backoff import Backoff
from core.database.errors import translated
from core.database.timeseries.creation import AHEAD, CROWDED, past
from core.database.timeseries.declaration import Declaration, declarations
from core.database.timeseries.partitions import (
    Partition,
    crowded_chunks,
    default_partition,
    drop_partition,
    make_default_partition,
    make_partition,
    partitions_of,
    purge,
)
from core.database.timeseries.ranges import Range, missing
from core.database.timeseries.relation import Kind, Relation, kind_of
from core.database.timeseries.timescale import set_policies
from core.exceptions import DatabaseUnavailable
from core.instants import now

__all__ = ["Maintained", "care_for_all"]

T = TypeVar("T")

_BATCH = 10_000

# Times that a lock is asked for; it is given up quickly, for whoever waits for it keeps all others waiting.
_ATTEMPTS = 20

logger = structlog.get_logger(__name__)


class Maintained(NamedTuple):
    """What was done for one time series.

    Attributes:
        table: Its table.
        made: Partitions made.
        moved: Rows moved into them.
        dropped: Partitions dropped, with rows that are too old.
        removed: Old rows removed one by one.
        policies: What was changed of the policies of TimescaleDB.
    """

    table: str
    made: int = 0
    moved: int = 0
    dropped: int = 0
    removed: int = 0
    policies: tuple[str, ...] = ()

    def __str__(self) -> str:
        counted = [
            f"{self.made} partitions made",
            f"{self.moved} rows moved into them",
            f"{self.dropped} partitions dropped",
            f"{self.removed} rows removed",
            *[f"{policy} policy set" for policy in self.policies],
        ]
        return f"{self.table}: {', '.join(counted)}"


async def care_for_all(connection: AsyncConnection, *, remove: bool = False) -> list[Maintained]:
    """Do what is due for every time series.

    Args:
        connection: To PostgreSQL, under the lock of migrations, without a transaction.
        remove: Whether old rows go as well; a migration removes nothing.

    Returns:
        What was done, by table.

    Raises:
        DatabaseUnavailable: The database cannot serve now, or others kept a table locked; what was done stays done.
    """
    done = []
    for declared in declarations():
        relation = Relation(declared.table.name, declared.table.schema)
        kind = await _step(connection, partial(kind_of, relation=relation))
        if kind is Kind.PARTITIONED:
            done.append(await _Care(connection, declared, relation).give(remove=remove))
        elif kind is Kind.HYPERTABLE:
            changed = await _step(connection, partial(set_policies, declared=declared))
            done.append(Maintained(relation.name, policies=tuple(changed)))
        elif kind is Kind.PLAIN:
            logger.warning(
                "a model declares a time series, but no migration has made its table one",
                table=relation.name,
                fix='python main.py migrate:make "time series", then python main.py migrate',
            )
    return done


class _Care:
    """For one partitioned table, step by step; each step is a transaction of its own."""

    def __init__(self, connection: AsyncConnection, declared: Declaration, relation: Relation) -> None:
        self._connection = connection
        self._relation = relation
        self._time = declared.time.name
        self._series = declared.series
        self._made = self._moved = self._dropped = self._removed = 0

    async def give(self, *, remove: bool) -> Maintained:
        """Make partitions, move rows, and let old ones go if that is wished."""
        partitions = await self._look()
        default = default_partition(partitions)
        if default is None:
            default = await self._do(partial(make_default_partition, parent=self._relation))
        await self._make(partitions, default)
        if remove and self._series.retain is not None:
            await self._let_go(partitions, default, past(self._series.retain).start)
        return Maintained(self._relation.name, self._made, self._moved, self._dropped, self._removed)

    async def _make(self, partitions: list[Partition], default: Relation) -> None:
        chunk = self._series.chunk
        existing = [partition.range for partition in partitions if partition.range is not None]
        find = partial(
            crowded_chunks,
            relation=default,
            time=self._time,
            within=past(self._series.retain),
            chunk=chunk,
            rows=CROWDED,
        )
        present = now()
        for instants in [*await self._do(find), Range(present, present + AHEAD * chunk)]:
            for wanted in missing(instants, chunk, existing):
                make = partial(make_partition, parent=self._relation, default=default, time=self._time, wanted=wanted)
                self._moved += await self._do(make)
                self._made += 1
                existing.append(wanted)

    async def _let_go(self, partitions: list[Partition], default: Relation, before: datetime) -> None:
        for partition in partitions:
            if partition.range is not None and partition.range.end <= before:
                await self._do(partial(drop_partition, parent=self._relation, partition=partition.relation))
                self._dropped += 1
        remove = partial(purge, relation=default, time=self._time, before=before, batch=_BATCH)
        while count := await self._do(remove):
            self._removed += count

    async def _look(self) -> list[Partition]:
        return await self._do(partial(partitions_of, parent=self._relation))

    async def _do(self, work: Callable[[Connection], T]) -> T:
        return await _step(self._connection, work)


async def _step(connection: AsyncConnection, work: Callable[[Connection], T]) -> T:
    """Do something in a transaction of its own; locks that others hold are waited out."""
    backoff = Backoff(first=0.05, limit=2.0)
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            async with _transaction(connection):
                return await connection.run_sync(work)
        except DatabaseUnavailable:
            if attempt == _ATTEMPTS or connection.invalidated or connection.closed:
                raise
        await asyncio.sleep(backoff.next())
    raise AssertionError("the loop ends by itself")


@contextlib.asynccontextmanager
async def _transaction(connection: AsyncConnection) -> AsyncIterator[None]:
    with translated():
        async with connection.begin():
            yield
