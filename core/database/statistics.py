"""What a database tells of itself."""

from typing import NamedTuple

from sqlalchemy.pool import Pool, QueuePool

__all__ = ["DatabaseStatistics", "PoolStatus", "pool_status"]


class DatabaseStatistics(NamedTuple):
    """What has been written since the start.

    Attributes:
        rows: Rows committed by ``create``, ``insert`` and ``upsert``.
        duplicates: Rows whose natural key was already there.
        flushes: Transactions of group commit.
        mean_batch: Writes of handlers per flush.
        commit_latency: Seconds per flush.
    """

    rows: int
    duplicates: int
    flushes: int
    mean_batch: float
    commit_latency: float


class PoolStatus(NamedTuple):
    """The connections of a pool; all are 0 where none is kept.

    Attributes:
        size: Connections that are kept open, once they were needed.
        checked_out: Connections in use.
        checked_in: Connections that wait for use.
        overflow: Connections that are open above ``size``.
    """

    size: int
    checked_out: int
    checked_in: int
    overflow: int


def pool_status(pool: Pool) -> PoolStatus:
    """How many connections of a pool there are, and what they do."""
    if not isinstance(pool, QueuePool):
        return PoolStatus(0, 0, 0, 0)
    free, busy = pool.checkedin(), pool.checkedout()
    return PoolStatus(pool.size(), busy, free, max(0, busy + free - pool.size()))
