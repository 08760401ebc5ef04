"""What a database tells of itself."""

from typing import NamedTuple

from sqlalchemy.pool import Pool, QueuePool

__all__ = ["BufferStatistics", "DatabaseStatistics", "PoolStatus", "pool_status"]


class BufferStatistics(NamedTuple):
    """What the buffer has done since the start.

    Attributes:
        flushes: Transactions committed.
        atoms: Writes of handlers that they held.
        seconds: Time from the begin of each of these transactions to its COMMIT, added up.
        waiting: Writes that no flush has taken yet.
    """

    flushes: int
    atoms: int
    seconds: float
    waiting: int

    @property
    def mean_batch(self) -> float:
        """Writes per transaction."""
        return self.atoms / self.flushes if self.flushes else 0.0

    @property
    def commit_latency(self) -> float:
        """Seconds per transaction."""
        return self.seconds / self.flushes if self.flushes else 0.0


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
