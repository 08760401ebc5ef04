"""The seam where errors of SQLAlchemy and its drivers become our own, by code and not by class."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import exc

from core.exceptions import (
    DatabaseError,
    DatabaseUnavailable,
    InvalidValue,
    SchemaError,
    UniqueViolation,
)

__all__ = ["translate", "translated", "unreachable"]

# PostgreSQL: classes and codes of appendix A of its manual.
_PG_TRANSIENT = ("08", "40001", "40P01", "53", "55P03", "57014", "57P", "25006")
_PG_SCHEMA = ("42", "28", "3D", "3F")
_PG_POISON = ("22", "23", "54000")

# MySQL and MariaDB error numbers.
_MYSQL_TRANSIENT = {1021, 1040, 1053, 1114, 1205, 1213, 1290, 1927, 1969, 2002, 2003, 2006, 2013, 2055, 3024}
_MYSQL_SCHEMA = {1044, 1045, 1049, 1054, 1142, 1143, 1146, 1698}
_MYSQL_UNIQUE = {1022, 1062, 1586}

# SQLite primary result codes; an extended code holds them in its lowest byte.
_SQLITE_TRANSIENT = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_PROTOCOL,
}
_SQLITE_UNIQUE = {sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY}
_SQLITE_SCHEMA = ("no such table", "no such column", "has no column")

_UNAVAILABLE = "the database cannot serve now"
_SCHEMA = "the database does not fit the models"
_INVALID = "the database refuses the value"
_UNIQUE = "another row has the same unique key"


def translate(error: BaseException) -> DatabaseError | None:
    """Translate an error into our own tree.

    Args:
        error: Anything raised while talking to a database.

    Returns:
        Our error, or ``None`` when the error says nothing that we understand about the database.
        An OSError is not: a handler may have got it from anywhere.
    """
    if isinstance(error, DatabaseError):
        return error
    if isinstance(error, exc.DBAPIError):
        if error.connection_invalidated:
            return DatabaseUnavailable(_text(_UNAVAILABLE, error))
        return _by_code(error.orig, error)
    if isinstance(error, exc.TimeoutError):
        return DatabaseUnavailable(
            f"no connection of the pool became free in time ({error}); fix: close sessions, or raise DB_POOL_SIZE"
        )
    if isinstance(error, exc.StatementError) and isinstance(error.orig, (ValueError, TypeError, OverflowError)):
        return InvalidValue(f"{_INVALID}: {error.orig}")
    return _by_code(error, error) if isinstance(error, exc.SQLAlchemyError) else None


@contextmanager
def translated() -> Iterator[None]:
    """Raise our own errors instead of the drivers'; what is not understood passes unchanged."""
    try:
        yield
    except (exc.SQLAlchemyError, OSError) as error:
        # Here, and only here, an error of the network is known to be the database's.
        ours = unreachable(error) if isinstance(error, OSError) else translate(error)
        if ours is None:
            raise
        raise ours from error


def unreachable(error: OSError) -> DatabaseUnavailable:
    """The translation of a network error that came from the database's connection."""
    return DatabaseUnavailable(_text("the database cannot be reached", error))


def _by_code(origin: BaseException | None, error: BaseException) -> DatabaseError | None:
    sqlstate = getattr(origin, "sqlstate", None) or getattr(origin, "pgcode", None)
    if isinstance(sqlstate, str):
        return _postgresql(sqlstate, error)
    code = getattr(origin, "sqlite_errorcode", None)
    if isinstance(code, int):
        return _sqlite(code, str(origin), error)
    number = origin.args[0] if origin is not None and origin.args else None
    if isinstance(number, int) and isinstance(error, exc.DBAPIError):
        return _mysql(number, error)
    if isinstance(error, exc.InterfaceError | exc.InternalError):
        # asyncpg speaks of a connection that ended under it without any code.
        return DatabaseUnavailable(_text(_UNAVAILABLE, error))
    return None


def _postgresql(sqlstate: str, error: BaseException) -> DatabaseError | None:
    if sqlstate == "23505":
        return UniqueViolation(_text(_UNIQUE, error))
    if sqlstate.startswith(_PG_TRANSIENT):
        return DatabaseUnavailable(_text(_UNAVAILABLE, error))
    if sqlstate.startswith(_PG_SCHEMA):
        return SchemaError(_text(_SCHEMA, error))
    if sqlstate.startswith(_PG_POISON):
        return InvalidValue(_text(_INVALID, error))
    return None


def _mysql(number: int, error: BaseException) -> DatabaseError | None:
    if number in _MYSQL_UNIQUE:
        return UniqueViolation(_text(_UNIQUE, error))
    if number in _MYSQL_TRANSIENT:
        return DatabaseUnavailable(_text(_UNAVAILABLE, error))
    if number in _MYSQL_SCHEMA:
        return SchemaError(_text(_SCHEMA, error))
    # 4025 (a CHECK of MariaDB) comes as OperationalError, and yet the row is what is wrong.
    if number == 4025 or isinstance(error, exc.IntegrityError | exc.DataError):
        return InvalidValue(_text(_INVALID, error))
    return None


def _sqlite(code: int, text: str, error: BaseException) -> DatabaseError | None:
    if code in _SQLITE_UNIQUE:
        return UniqueViolation(_text(_UNIQUE, error))
    if code & 0xFF in _SQLITE_TRANSIENT:
        return DatabaseUnavailable(_text(_UNAVAILABLE, error))
    if any(hint in text for hint in _SQLITE_SCHEMA):
        return SchemaError(_text(_SCHEMA, error))
    if code & 0xFF in (sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_TOOBIG):
        return InvalidValue(_text(_INVALID, error))
    return None


def _text(meaning: str, error: BaseException) -> str:
    """Say what happened without the statement and its parameters, which may hold secrets."""
    origin = error.orig if isinstance(error, exc.DBAPIError) else error
    detail = str(origin).strip().splitlines() or [type(origin).__name__]
    return f"{meaning}: {detail[0]}"
