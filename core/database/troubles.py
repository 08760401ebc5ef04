"""Troubles: what the database could not do is told to the message at work, whose handler may keep it to itself."""

from typing import Any

from sqlalchemy import AsyncAdaptedQueuePool, NullPool, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import Pool, PoolProxiedConnection

from core import parking
from core.database.errors import translate, unreachable
from core.exceptions import DatabaseUnavailable, SchemaError

__all__ = ["TellingNullPool", "TellingQueuePool", "listen", "tell"]


def tell(error: BaseException) -> None:
    """Tell the message that is being handled, if there is one, that the database has failed it.

    Args:
        error: Anything raised while talking to a database; what is the message's own fault is left alone.
    """
    work = parking.current.get()
    if work is None:
        return
    ours = unreachable(error) if isinstance(error, OSError) else translate(error)
    if isinstance(ours, DatabaseUnavailable | SchemaError):
        work.meet(ours)


def listen(engine: AsyncEngine) -> None:
    """Tell of every statement that fails on an engine, whoever uses it."""
    event.listen(engine.sync_engine, "handle_error", _failed)
    event.listen(engine.sync_engine, "commit", _committing)


def _failed(context: ExceptionContext) -> None:
    # A connection that had ended unnoticed is replaced before its user learns of it.
    if not context.is_pre_ping:
        tell(context.sqlalchemy_exception or context.original_exception)


def _committing(_connection: Any) -> None:
    work = parking.current.get()
    if work is not None:
        work.committed()


class _TellingPool(Pool):
    """Tells of connections that could not be had: nothing else of SQLAlchemy's does."""

    # Or what SQLAlchemy logs of it would not be under "sqlalchemy", whose level is that of a library.
    _sqla_logger_namespace = "sqlalchemy.pool"

    def connect(self) -> PoolProxiedConnection:
        """Return a connection from the pool."""
        try:
            return super().connect()
        except Exception as error:
            tell(error)
            raise


class TellingQueuePool(_TellingPool, AsyncAdaptedQueuePool):
    """SQLAlchemy's usual pool, which tells."""


class TellingNullPool(_TellingPool, NullPool):
    """SQLAlchemy's pool that keeps no connection, which tells."""
