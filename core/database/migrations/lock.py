"""One migration at a time: whoever comes second waits and then finds nothing left to do."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TypeVar

import structlog
from sqlalchemy import URL, event, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from core.database.engine import build_engine
from core.database.options import EngineOptions
from core.exceptions import MigrationError

__all__ = ["exclusive", "run"]

T = TypeVar("T")

logger = structlog.get_logger(__name__)

# Any number that other users of the same database are unlikely to lock.
_POSTGRESQL_KEY = 0x6D71_7565_6475_6374

_POLL = 0.1

# SQLITE_BUSY and SQLITE_LOCKED, without the bits of the extended codes.
_SQLITE_BUSY = (5, 6)


@asynccontextmanager
async def exclusive(url: URL, options: EngineOptions) -> AsyncIterator[AsyncConnection]:
    """Wait until nobody else migrates a database, and connect to it without a statement timeout.

    On SQLite the lock is a transaction around everything: it is committed at the end of the block, or
    rolled back when the block raises.

    Args:
        url: With the async driver filled in.
        options: Those of the service; the connections are others than its own.

    Raises:
        MigrationError: On SQLite, foreign keys would be broken after the block.
    """
    engine = build_engine(url, replace(options, pool_size=2, max_overflow=0, statement_timeout=0, slow_query_ms=None))
    try:
        locked = _sqlite(engine) if url.get_backend_name() == "sqlite" else _server(engine)
        async with locked as connection:
            yield connection
    finally:
        await engine.dispose()


async def run(connection: AsyncConnection, function: Callable[..., T], *arguments: object) -> T:
    """Run what wants a synchronous connection, and commit, unless the lock itself is the transaction."""
    result = await connection.run_sync(function, *arguments)
    if connection.dialect.name != "sqlite":
        await connection.commit()
    return result


@asynccontextmanager
async def _server(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    # A second connection holds the lock: migrations commit on theirs.
    async with engine.connect() as holder, engine.connect() as connection:
        await _acquire(holder, _lock_postgresql if engine.dialect.name == "postgresql" else _lock_mysql)
        yield connection


async def _lock_postgresql(connection: AsyncConnection) -> bool:
    # The transaction's lock, and not the session's: it works through PgBouncer too.
    locked = await connection.scalar(text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": _POSTGRESQL_KEY})
    if not locked:
        await connection.rollback()
        return False
    # After the SELECT, whose portal and snapshot it replaces: CREATE INDEX CONCURRENTLY waits for snapshots.
    await connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
    return True


async def _lock_mysql(connection: AsyncConnection) -> bool:
    # Named locks belong to the whole server. It ends with the connection.
    statement = "SELECT GET_LOCK(CONCAT('mqueduct migrations ', MD5(DATABASE())), 0)"
    locked = await connection.scalar(text(statement))
    await connection.commit()
    return bool(locked)


@asynccontextmanager
async def _sqlite(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    # A table is altered by copying it: foreign keys must not notice that the old one is dropped, and the
    # setting cannot be changed inside a transaction. https://www.sqlite.org/lang_altertable.html, section 7.
    event.listen(engine.sync_engine, "connect", _without_foreign_keys)
    async with engine.connect() as connection:
        # The driver's own transactions would not include CREATE TABLE and the like.
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        await _acquire(connection, _lock_sqlite)
        try:
            yield connection
            await _check_foreign_keys(connection)
        except BaseException:
            # A connection whose statement was cancelled is gone already, and its transaction with it.
            if not connection.invalidated:
                await connection.exec_driver_sql("ROLLBACK")
            raise
        await connection.exec_driver_sql("COMMIT")


def _without_foreign_keys(connection: object, _record: object) -> None:
    cursor = connection.cursor()  # type: ignore[attr-defined]
    cursor.execute("PRAGMA foreign_keys = OFF")
    cursor.close()


async def _lock_sqlite(connection: AsyncConnection) -> bool:
    # Waiting inside SQLite could not be cancelled.
    await connection.exec_driver_sql("PRAGMA busy_timeout = 0")
    try:
        await connection.exec_driver_sql("BEGIN IMMEDIATE")
    except OperationalError as error:
        if getattr(error.orig, "sqlite_errorcode", 0) & 0xFF not in _SQLITE_BUSY:
            raise
        return False
    await connection.exec_driver_sql("PRAGMA busy_timeout = 30000")
    return True


async def _check_foreign_keys(connection: AsyncConnection) -> None:
    broken = (await connection.exec_driver_sql("PRAGMA foreign_key_check")).mappings().first()
    if broken is not None:
        raise MigrationError(f"rows of {broken['table']} would refer to rows of {broken['parent']} that do not exist")


async def _acquire(connection: AsyncConnection, lock: Callable[[AsyncConnection], object]) -> None:
    said = False
    while not await lock(connection):  # type: ignore[misc]
        if not said:
            logger.info("another process is migrating the database; waiting for it")
        said = True
        await asyncio.sleep(_POLL)
