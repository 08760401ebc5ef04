"""Building the pooled engine: what each database must be told on every new connection."""

import itertools
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aiomysql import connection as aiomysql_connection
from sqlalchemy import URL, AsyncAdaptedQueuePool, event
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from core.database.errors import translate_driver, unreachable
from core.database.shifts import SQLITE_FUNCTION, shift_text
from core.exceptions import ConfigurationError

__all__ = ["build_engine"]

_CONNECT_TIMEOUT = 10

# CLIENT_FOUND_ROWS of the MySQL protocol.
_FOUND_ROWS = 2

_memory_numbers = itertools.count(1)


def build_engine(url: URL, *, statement_timeout: float, count_changes: bool = False, **pool: Any) -> AsyncEngine:
    """Build the engine of a database; connects only when it is first used.

    Args:
        url: With the async driver filled in.
        statement_timeout: Seconds after which the server ends a statement; 0 for never. SQLite has none.
        count_changes: Whether MySQL and MariaDB say how many rows were changed, and not how many were met.
        pool: ``pool_size``, ``max_overflow``, ``pool_timeout``, ``pool_recycle``, ``pool_pre_ping``, ``echo``.

    Raises:
        ConfigurationError: The URL has parts that its database does not take.
    """
    build = {"sqlite": _sqlite, "postgresql": _postgresql}.get(url.get_backend_name(), _mysql)
    # Errors end in logs, and parameters may be secrets; who asks for an echo wants to see them.
    pool["hide_parameters"] = not pool["echo"]
    try:
        engine = build(url, statement_timeout, pool)
    except (ArgumentError, ValueError, TypeError) as error:
        # SQLAlchemy's own text would show the URL with its password.
        raise ConfigurationError(
            "DATABASE_URL or a pool option cannot be used; fix: write postgresql://user:password@host:5432/name, "
            "mysql://user:password@host:3306/name or sqlite:///path"
        ) from error.__cause__
    if count_changes:
        event.listen(engine.sync_engine, "do_connect", _count_changes)
    event.listen(engine.sync_engine, "do_connect", _connect)
    return engine


def _count_changes(_dialect: Any, _record: object, _arguments: Any, options: Any) -> None:
    options["client_flag"] = options.get("client_flag", 0) & ~_FOUND_ROWS


def _connect(dialect: Any, _record: object, arguments: Any, options: Any) -> Any:
    """Connect so that even a session of the user's own tells a database that is away from other trouble."""
    try:
        if isinstance(tls := options.get("ssl"), dict):
            options |= {"ssl": _tls_context(tls)}
        return dialect.connect(*arguments, **options)
    except OSError as error:
        raise unreachable(error) from error
    except dialect.loaded_dbapi.Error as error:
        raise translate_driver(error) from error
    except TypeError as error:
        # "connect() got an unexpected keyword argument 'sslmod'"
        raise ConfigurationError(f"an option in DATABASE_URL is not known to its driver: {error}") from error
    except RuntimeError as error:
        if "cryptography" not in str(error):
            raise
        # MySQL 8's usual login over a connection without TLS.
        raise ConfigurationError(f"{error}; fix: pip install cryptography, or use TLS (?ssl_ca=...)") from error


def _tls_context(options: Mapping[str, Any]) -> ssl.SSLContext:
    """What aiomysql wants in place of the options ``ssl_ca``, ``ssl_cert``, ... of the URL."""
    try:
        context = ssl.create_default_context(cafile=options.get("ca"), capath=options.get("capath"))
        if "cert" in options:
            context.load_cert_chain(options["cert"], options.get("key"))
        if "cipher" in options:
            context.set_ciphers(options["cipher"])
    except OSError as error:
        raise ConfigurationError(f"the TLS files named in DATABASE_URL cannot be used: {error}") from error
    context.check_hostname = options.get("check_hostname", True)
    return context


def _postgresql(url: URL, statement_timeout: float, pool: dict[str, Any]) -> AsyncEngine:
    settings = {"application_name": "mqueduct", "statement_timeout": str(int(statement_timeout * 1000))}
    return create_async_engine(url, connect_args={"server_settings": settings, "timeout": _CONNECT_TIMEOUT}, **pool)


def _mysql(url: URL, statement_timeout: float, pool: dict[str, Any]) -> AsyncEngine:
    _mend_aiomysql()
    engine = create_async_engine(url, connect_args={"charset": "utf8mb4", "connect_timeout": _CONNECT_TIMEOUT}, **pool)
    encrypted = any(name.startswith("ssl_") for name in url.query)
    event.listen(engine.sync_engine, "connect", _mysql_session(statement_timeout, encrypted))
    return engine


def _mend_aiomysql() -> None:
    """Let aiomysql 0.3 write bytes: it calls a function that PyMySQL 1.2 has replaced by a warning text."""
    if not callable(aiomysql_connection.escape_bytes_prefixed):
        aiomysql_connection.escape_bytes_prefixed = lambda value: f"_binary X'{value.hex()}'"


def _mysql_session(statement_timeout: float, encrypted: bool) -> Any:
    def prepare(connection: Any, _record: object) -> None:
        cursor = connection.cursor()
        if encrypted:
            # aiomysql goes on in the clear where a server, or somebody in between, offers no TLS.
            cursor.execute("SHOW SESSION STATUS LIKE 'Ssl_cipher'")
            if not cursor.fetchone()[1]:
                raise ConfigurationError("the database server offers no TLS, which DATABASE_URL asks for")
        # Strict on every engine, so that a value which does not fit is refused and not cut.
        cursor.execute("SET SESSION time_zone = '+00:00', sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES')")
        cursor.execute("SELECT VERSION()")
        if "mariadb" in cursor.fetchone()[0].lower():
            cursor.execute(f"SET SESSION max_statement_time = {float(statement_timeout)}")
        else:
            # MySQL applies it to SELECT only.
            cursor.execute(f"SET SESSION max_execution_time = {int(statement_timeout * 1000)}")
        cursor.close()

    return prepare


def _sqlite(url: URL, _statement_timeout: float, pool: dict[str, Any]) -> AsyncEngine:
    in_memory = url.database in (None, "", ":memory:")
    if in_memory:
        # A shared name: connections of their own would each see an empty database, and one for all would
        # mix up their transactions. It lives as long as the pool keeps a connection.
        url = url.set(database=f"file:/mqueduct-{next(_memory_numbers)}", query={"vfs": "memdb", "uri": "true"})
        pool |= {"pool_recycle": -1, "pool_size": max(pool["pool_size"], 1)}
    elif not str(url.database).startswith("file:"):
        _make_folder(Path(str(url.database)).parent)
    engine = create_async_engine(url, connect_args={"timeout": 30}, poolclass=AsyncAdaptedQueuePool, **pool)
    event.listen(engine.sync_engine, "connect", _prepare_sqlite)
    return engine


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"the folder {folder} of the SQLite file cannot be made ({error.strerror}); fix: choose another path"
        ) from error


def _prepare_sqlite(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode = WAL")
    # FULL, or a power cut could take back what a PUBACK has promised.
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()
    connection.create_function(SQLITE_FUNCTION, 2, shift_text, deterministic=True)
