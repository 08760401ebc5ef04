"""Reading more rows than fit into memory."""

from collections.abc import AsyncIterator
from typing import Any

from sqlalchemy import Select, text
from sqlalchemy.ext.asyncio import AsyncSession

from core.database.errors import translated
from core.model import Model
from core.query.entities import returns_instances
from core.query.pages import whole_number

__all__ = ["stream"]

_MOST = 100_000


async def stream(
    statement: Select[Any], *, batch: int = 1000, session: AsyncSession | None = None
) -> AsyncIterator[Any]:
    """Read the rows of a select one after the other, in bounded memory.

    ``async for reading in stream(select(SensorReading))``: the database keeps the result and hands it over in
    batches. A connection is in use until the end, or until the iterator is closed; ``break`` does that soon,
    ``contextlib.aclosing`` at once.

    Args:
        statement: Any select. Collections must be loaded by ``selectinload``.
        batch: Rows that are in memory at a time.
        session: Runs the select, and must do nothing else meanwhile; without one a session of the installed
            database does. On MariaDB and MySQL, whose protocol cannot end a result early, a session passed in
            reads to the end when the iterator is closed.

    Yields:
        Instances, detached unless the session is yours, where one model is selected; values where one column
        is; else rows.

    Raises:
        DatabaseError: As the verbs of ``Model`` do.
    """
    batch = whole_number("batch", batch, _MOST)
    session = session or Model.database().within()
    if session is not None:
        with translated():
            async for rows in _batches(statement, batch, session):
                for row in rows:
                    yield row
        return
    own = Model.database().session(read=True)
    try:
        with translated():
            await _allow_for_slow_readers(own)
            async for rows in _batches(statement, batch, own):
                # Whoever loads more of them must not do so on this connection.
                for instance in list(own):
                    own.expunge(instance)
                for row in rows:
                    yield row
    finally:
        await _end(own)


async def _batches(statement: Select[Any], batch: int, session: AsyncSession) -> AsyncIterator[list[Any]]:
    result = await session.stream(statement, execution_options={"yield_per": batch})
    single = returns_instances(statement) or len(statement.column_descriptions) == 1
    partitions = result.scalars().partitions() if single else result.partitions()
    async for rows in partitions:
        yield list(rows)


async def _allow_for_slow_readers(session: AsyncSession) -> None:
    dialect: Any = session.get_bind().dialect
    if not _is_mysql(session):
        return
    # Both count while it waits for us.
    limit = "max_statement_time" if getattr(dialect, "is_mariadb", False) else "max_execution_time"
    await session.execute(text(f"SET SESSION {limit} = 0, net_write_timeout = 3600"))


async def _end(session: AsyncSession) -> None:
    if _is_mysql(session):
        # Its connection has other timeouts now, and would first have to read all rows that are left.
        await session.invalidate()
    await session.close()


def _is_mysql(session: AsyncSession) -> bool:
    return session.get_bind().dialect.name in {"mysql", "mariadb"}
