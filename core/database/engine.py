"""Building the pooled engine: what each database must be told on every new connection."""

from pathlib import Path
from typing import Any

from sqlalchemy import URL, event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from core.database.errors import unreachable

__all__ = ["build_engine"]

_CONNECT_TIMEOUT = 10


def build_engine(url: URL, *, statement_timeout: float, **pool: Any) -> AsyncEngine:
    """Build the engine of a database; connects only when it is first used.

    Args:
        url: With the async driver filled in.
        statement_timeout: Seconds after which the server ends a statement; 0 for never. SQLite has none.
        pool: ``pool_size``, ``max_overflow``, ``pool_timeout``, ``pool_recycle``, ``pool_pre_ping``, ``echo``.
    """
    build = {"sqlite": _sqlite, "postgresql": _postgresql}.get(url.get_backend_name(), _mysql)
    engine = build(url, statement_timeout, pool)
    event.listen(engine.sync_engine, "do_connect", _connect)
    return engine


def _connect(dialect: Any, _record: object, arguments: Any, options: Any) -> Any:
    """Connect so that even a session of the user's own tells a database that is away from other trouble."""
    try:
        return dialect.connect(*arguments, **options)
    except OSError as error:
        raise unreachable(error) from error


def _postgresql(url: URL, statement_timeout: float, pool: dict[str, Any]) -> AsyncEngine:
    settings = {"application_name": "mqueduct", "statement_timeout": str(int(statement_timeout * 1000))}
    return create_async_engine(url, connect_args={"server_settings": settings, "timeout": _CONNECT_TIMEOUT}, **pool)


def _mysql(url: URL, statement_timeout: float, pool: dict[str, Any]) -> AsyncEngine:
    engine = create_async_engine(url, connect_args={"charset": "utf8mb4", "connect_timeout": _CONNECT_TIMEOUT}, **pool)
    event.listen(engine.sync_engine, "connect", _mysql_session(statement_timeout))
    return engine


def _sqlite(url: URL, _statement_timeout: float, pool: dict[str, Any]) -> AsyncEngine:
    if url.database in (None, "", ":memory:"):
        # One shared connection, or every connection would see an empty database of its own.
        pool = {"echo": pool["echo"]}
    else:
        Path(str(url.database)).parent.mkdir(parents=True, exist_ok=True)
    engine = create_async_engine(url, connect_args={"timeout": 30}, **pool)
    event.listen(engine.sync_engine, "connect", _prepare_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode = WAL")
    # FULL, or a power cut could take back what a PUBACK has promised.
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _mysql_session(statement_timeout: float) -> Any:
    def prepare(connection: Any, _record: object) -> None:
        cursor = connection.cursor()
        cursor.execute("SET SESSION time_zone = '+00:00', sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES')")
        cursor.execute("SELECT VERSION()")
        if "mariadb" in cursor.fetchone()[0].lower():
            cursor.execute(f"SET SESSION max_statement_time = {float(statement_timeout)}")
        else:
            cursor.execute(f"SET SESSION max_execution_time = {int(statement_timeout * 1000)}")
        cursor.close()

    return prepare
