"""Telling of statements that took long."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import structlog
from sqlalchemy import Connection, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.ext.asyncio import AsyncEngine

from core.database.flush import Batch
from core.database.writers.base import Writer

if TYPE_CHECKING:
    from core.database.fingerprints import Shown

__all__ = ["SlowQueries", "WatchedWriter"]

_BEGAN = "mqueduct_began"

logger = structlog.get_logger(__name__)


class SlowQueries:
    """Writes one line to the log for each statement that took as long as a limit, or longer.

    Args:
        limit: Milliseconds.
        database: What the lines call the database.
        dialect: As SQLAlchemy names it.
    """

    def __init__(self, limit: float, database: str, dialect: str) -> None:
        self._limit = limit
        self._database = database
        self._dialect = dialect

    def watch(self, engine: AsyncEngine) -> None:
        """Look at every statement of an engine."""
        event.listen(engine.sync_engine, "before_cursor_execute", self._begin)
        event.listen(engine.sync_engine, "after_cursor_execute", self._end)
        event.listen(engine.sync_engine, "handle_error", self._fail)

    def flushed(self, batches: Sequence[Batch], seconds: float) -> None:
        """A flush of group commit has ended."""
        if seconds * 1000 >= self._limit:
            from core.database.fingerprints import Shown, fingerprint

            text = "; ".join(map(_described, batches))
            rows = sum(len(batch.rows) for batch in batches)
            self._tell("slow flush", Shown(text, fingerprint(text)), seconds, rows)

    def _begin(self, connection: Connection, *_: Any) -> None:
        connection.info[_BEGAN] = time.perf_counter()

    def _end(self, connection: Connection, cursor: Any, statement: str, *_: Any) -> None:
        self._ended(connection, statement, cursor.rowcount)

    def _fail(self, context: ExceptionContext) -> None:
        if context.connection is not None and context.statement is not None:
            self._ended(context.connection, context.statement, -1)

    def _ended(self, connection: Connection, statement: str, rows: int) -> None:
        began = connection.info.pop(_BEGAN, None)
        if began is not None and (seconds := time.perf_counter() - began) * 1000 >= self._limit:
            # Late: few services ever need to read SQL.
            from core.database.fingerprints import shown

            self._tell("slow query", shown(statement, self._dialect), seconds, rows)

    def _tell(self, what: str, statement: "Shown", seconds: float, rows: int) -> None:
        # A driver that counts no rows says -1.
        counted = {"rows": rows} if rows >= 0 else {}
        logger.warning(
            what,
            database=self._database,
            duration_ms=round(seconds * 1000, 1),
            fingerprint=statement.fingerprint,
            statement=statement.text,
            **counted,
        )


def _described(batch: Batch) -> str:
    columns = ", ".join(column.name for column in batch.shape.columns)
    return f"{'INSERT' if batch.change is None else 'UPSERT'} INTO {batch.shape.table.fullname} ({columns})"


class WatchedWriter:
    """A writer whose flushes are timed.

    Args:
        writer: Does the work.
        slow_queries: Told of each flush.
    """

    def __init__(self, writer: Writer, slow_queries: SlowQueries) -> None:
        self._writer = writer
        self._slow_queries = slow_queries
        self.open = writer.open
        self.rollback = writer.rollback
        self.reached = writer.reached
        self.close = writer.close

    @property
    def uncertain(self) -> bool:
        """As that of the writer."""
        return self._writer.uncertain

    @uncertain.setter
    def uncertain(self, uncertain: bool) -> None:
        self._writer.uncertain = uncertain

    @property
    def failing(self) -> Batch | None:
        """As that of the writer."""
        return self._writer.failing

    @failing.setter
    def failing(self, failing: Batch | None) -> None:
        self._writer.failing = failing

    async def flush(self, sequence: int, batches: Sequence[Batch], *, patient: bool = True) -> None:
        """Write batches, and see how long that takes."""
        began = time.perf_counter()
        try:
            await self._writer.flush(sequence, batches, patient=patient)
        finally:
            self._slow_queries.flushed(batches, time.perf_counter() - began)
