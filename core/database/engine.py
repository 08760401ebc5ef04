"""Building the pooled engine: what each database must be told on every new connection."""

import itertools
import ssl
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from aiomysql import connection as aiomysql_connection
from sqlalchemy import URL, Connection, event
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from core.database.errors import translate_driver, unreachable
from core.database.options import EngineOptions, milliseconds
from core.database.shifts import SQLITE_FUNCTION, shift_text
from core.database.sqlite_connection import SQLiteConnection
from core.database.transactions import note_taken_back
from core.database.troubles import listen
from core.exceptions import ConfigurationError, SchemaError

__all__ = ["build_engine"]

_CONNECT_TIMEOUT = 10

# CLIENT_FOUND_ROWS of the MySQL protocol.
_FOUND_ROWS = 2

_REFUSED_BY_PGBOUNCER = "unsupported startup parameter"

_POSTGRESQL_FILES = ("sslrootcert", "sslcert", "sslkey", "sslpassword")
_ENCRYPTED = ("require", "verify-ca", "verify-full")

_memory_numbers = itertools.count(1)


class WrongConnection(SchemaError, ConfigurationError):
    """A connection cannot be made as the settings want it: found at the start, or later when the server has changed.

    Until somebody mends one of them it is like a login that is refused: no message is to blame.
    """


def build_engine(url: URL, options: EngineOptions, *, count_changes: bool = False) -> AsyncEngine:
    """Build the engine of a database; connects only when it is first used.

    Args:
        url: With the async driver filled in.
        options: Pool, timeouts and names.
        count_changes: Whether MySQL and MariaDB say how many rows were changed, and not how many were met.

    Raises:
        ConfigurationError: The URL has parts that its database does not take, or an option does not go with it.
    """
    if options.pgbouncer and url.get_backend_name() != "postgresql":
        raise ConfigurationError("PgBouncer is for PostgreSQL only; fix: take DB_PGBOUNCER away, or mend the URL")
    build = {"sqlite": _sqlite, "postgresql": _postgresql}.get(url.get_backend_name(), _mysql)
    try:
        engine = build(url, options)
    except (ArgumentError, ValueError, TypeError) as error:
        # SQLAlchemy's own text would show the URL with its password.
        raise ConfigurationError(
            "DATABASE_URL or a pool option cannot be used; fix: write postgresql://user:password@host:5432/name, "
            "mysql://user:password@host:3306/name or sqlite:///path"
        ) from error.__cause__
    if count_changes:
        event.listen(engine.sync_engine, "do_connect", _count_changes)
    event.listen(engine.sync_engine, "do_connect", _connect)
    listen(engine)
    return engine


def _count_changes(_dialect: Any, _record: object, _arguments: Any, options: Any) -> None:
    options["client_flag"] = options.get("client_flag", 0) & ~_FOUND_ROWS


def _connect(dialect: Any, _record: object, arguments: Any, options: Any) -> Any:
    """Connect so that even a session of the user's own tells a database that is away from other trouble."""
    try:
        if isinstance(tls := options.get("ssl"), dict):
            # Not changed in place: the next connection gets the same dictionary, and renewed files.
            options = options | {"ssl": _tls_context(tls)}
        if dialect.driver == "asyncpg" and not options.keys().isdisjoint(_POSTGRESQL_FILES):
            options = _with_postgresql_files(options)
        if dialect.driver == "aiomysql" and options.get("password"):
            # It sends passwords as Latin-1; servers keep them as the UTF-8 in which they were set.
            options = options | {"password": options["password"].encode().decode("latin-1")}
        return dialect.connect(*arguments, **options)
    except OSError as error:
        raise unreachable(error) from error
    except dialect.loaded_dbapi.Error as error:
        if _REFUSED_BY_PGBOUNCER in str(error):
            raise WrongConnection(f"PgBouncer refuses the connection ({error}); fix: DB_PGBOUNCER=true") from error
        raise translate_driver(error) from error
    except TypeError as error:
        # "connect() got an unexpected keyword argument 'sslmod'"
        raise WrongConnection(f"an option in DATABASE_URL is not known to its driver: {error}") from error
    except RuntimeError as error:
        if "cryptography" not in str(error):
            raise
        # MySQL 8's usual login over a connection without TLS.
        raise WrongConnection(f"{error}; fix: pip install cryptography, or use TLS (?ssl_ca=...)") from error


def _with_postgresql_files(options: Mapping[str, Any]) -> dict[str, Any]:
    """Give asyncpg a context for the files that a URL names as PostgreSQL's own library does."""
    files = {name: options[name] for name in _POSTGRESQL_FILES if name in options}
    mode = options.get("ssl", "verify-full")
    if mode not in _ENCRYPTED:
        raise WrongConnection(
            f"DATABASE_URL names files for TLS, but sslmode={mode} goes on without it; fix: sslmode=verify-full"
        )
    authority = files.get("sslrootcert", "system")
    try:
        context = ssl.create_default_context(cafile=None if authority == "system" else authority)
        if "sslcert" in files:
            # Without a password OpenSSL would ask for one on the terminal.
            context.load_cert_chain(files["sslcert"], files.get("sslkey"), files.get("sslpassword", ""))
    except OSError as error:
        raise WrongConnection(f"the TLS files named in DATABASE_URL cannot be used: {error}") from error
    # Everything else verifies the authority, as the library does where it is given one.
    context.check_hostname = mode == "verify-full"
    return {name: value for name, value in options.items() if name not in files} | {"ssl": context}


def _tls_context(options: Mapping[str, Any]) -> ssl.SSLContext:
    """What aiomysql wants in place of the options ``ssl_ca``, ``ssl_cert``, ... of the URL."""
    try:
        context = ssl.create_default_context(cafile=options.get("ca"), capath=options.get("capath"))
        if "cert" in options:
            context.load_cert_chain(options["cert"], options.get("key"))
        if "cipher" in options:
            context.set_ciphers(options["cipher"])
    except OSError as error:
        raise WrongConnection(f"the TLS files named in DATABASE_URL cannot be used: {error}") from error
    context.check_hostname = options.get("check_hostname", True)
    return context


def _postgresql(url: URL, options: EngineOptions) -> AsyncEngine:
    settings = {"application_name": options.application_name}
    arguments: dict[str, Any] = {"server_settings": settings, "timeout": _CONNECT_TIMEOUT}
    if options.schema is not None:
        # And nothing else, or a table that is missing there might be found elsewhere.
        settings["search_path"] = f'"{options.schema}"'
    if options.pgbouncer:
        # Without caches asyncpg names no statement: a name would be left behind on a connection that others get next.
        arguments |= {"statement_cache_size": 0, "prepared_statement_cache_size": 0}
    else:
        settings["statement_timeout"] = str(milliseconds(options.statement_timeout))
    engine = create_async_engine(url, connect_args=arguments, **options.arguments())
    if options.pgbouncer and options.statement_timeout:
        event.listen(engine.sync_engine, "begin", _limit_statements(options.statement_timeout))
    return engine


def _limit_statements(seconds: float) -> Callable[[Connection], None]:
    def begin(connection: Connection) -> None:
        # For this transaction: PgBouncer gives the connection to others after it, and takes no such thing at login.
        if connection.get_execution_options().get("isolation_level") != "AUTOCOMMIT":
            connection.exec_driver_sql(f"SET LOCAL statement_timeout = {milliseconds(seconds)}")

    return begin


def _mysql(url: URL, options: EngineOptions) -> AsyncEngine:
    _mend_aiomysql()
    arguments = {
        "charset": "utf8mb4",
        "connect_timeout": _CONNECT_TIMEOUT,
        "program_name": options.application_name,
    }
    engine = create_async_engine(url, connect_args=arguments, **options.arguments())
    encrypted = any(name.startswith("ssl_") for name in url.query)
    event.listen(engine.sync_engine, "connect", _mysql_session(options.statement_timeout, encrypted))
    event.listen(engine.sync_engine, "handle_error", note_taken_back)
    # What SQLAlchemy had to know of types before it knew that the server is MariaDB does not hold for its UUID.
    event.listen(engine.sync_engine, "connect", lambda *_: engine.dialect._type_memos.clear(), once=True)
    return engine


def _mend_aiomysql() -> None:
    """Let aiomysql 0.3 write bytes: it calls a function that PyMySQL 1.2 has replaced by a warning text."""
    if not callable(aiomysql_connection.escape_bytes_prefixed):
        aiomysql_connection.escape_bytes_prefixed = lambda value: f"_binary X'{value.hex()}'"


def _mysql_session(statement_timeout: float, encrypted: bool) -> Any:
    def prepare(connection: Any, _record: object) -> None:
        with ExitStack() as failing:
            # SQLAlchemy would leave it open when something below fails.
            failing.callback(connection.driver_connection.close)
            cursor = connection.cursor()
            if encrypted:
                # aiomysql goes on in the clear where a server, or somebody in between, offers no TLS.
                cursor.execute("SHOW SESSION STATUS LIKE 'Ssl_cipher'")
                if not cursor.fetchone()[1]:
                    raise WrongConnection("the database server offers no TLS, which DATABASE_URL asks for")
            # Strict on every engine, so that a value which does not fit is refused and not cut.
            cursor.execute("SET SESSION time_zone = '+00:00', sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES')")
            cursor.execute("SELECT VERSION()")
            if "mariadb" in cursor.fetchone()[0].lower():
                cursor.execute(f"SET SESSION max_statement_time = {float(statement_timeout)}")
            else:
                # MySQL applies it to SELECT only.
                cursor.execute(f"SET SESSION max_execution_time = {milliseconds(statement_timeout)}")
            cursor.close()
            failing.pop_all()

    return prepare


def _sqlite(url: URL, options: EngineOptions) -> AsyncEngine:
    arguments = options.arguments()
    in_memory = url.database in (None, "", ":memory:")
    if in_memory:
        if options.pool_class == "null":
            raise ConfigurationError(
                "an SQLite database in memory lives in the pool's connections; fix: DB_POOL_CLASS=queue, or name a file"
            )
        # A shared name: connections of their own would each see an empty database, and one for all would
        # mix up their transactions. It lives as long as the pool keeps a connection.
        url = url.set(database=f"file:/mqueduct-{next(_memory_numbers)}", query={"vfs": "memdb", "uri": "true"})
        arguments |= {"pool_recycle": -1, "pool_size": max(options.pool_size, 1)}
    elif not str(url.database).startswith("file:"):
        _make_folder(Path(str(url.database)).parent)
    engine = create_async_engine(url, connect_args={"timeout": 30, "async_creator_fn": SQLiteConnection}, **arguments)
    event.listen(engine.sync_engine, "connect", _prepare_sqlite)
    event.listen(engine.sync_engine, "savepoint", _begin_before)
    return engine


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"the folder {folder} of the SQLite file cannot be made ({error.strerror}); fix: choose another path"
        ) from error


def _begin_before(connection: Connection, _savepoint: str) -> None:
    # The driver begins a transaction with the first change; a savepoint before that would be one by itself,
    # and commit when it is released.
    if not connection.connection.driver_connection.in_transaction:  # type: ignore[union-attr]
        connection.exec_driver_sql("BEGIN")


def _prepare_sqlite(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode = WAL")
    # FULL, or a power cut could take back what a PUBACK has promised.
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()
    connection.create_function(SQLITE_FUNCTION, 2, shift_text, deterministic=True)
