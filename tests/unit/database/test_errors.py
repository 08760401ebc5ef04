"""The meaning of error codes; real databases raise them in tests/integration/database."""

import sqlite3
from typing import Any

import pymysql.err
import pytest
from sqlalchemy import exc

from core.database.errors import translate, translate_driver, translated
from core.exceptions import (
    Contention,
    DatabaseError,
    DatabaseNotConfigured,
    DatabaseUnavailable,
    InvalidValue,
    SchemaError,
    UniqueViolation,
)


class PostgresError(Exception):
    """As SQLAlchemy's adapter of asyncpg raises them."""

    def __init__(self, sqlstate: str, text: str = "something") -> None:
        super().__init__(text)
        self.sqlstate = sqlstate


def sqlite_error(code: int, text: str = "something") -> sqlite3.Error:
    error = sqlite3.OperationalError(text)
    error.sqlite_errorcode = code
    return error


def wrapped(origin: BaseException, kind: type[exc.DBAPIError] = exc.DBAPIError, **options: Any) -> exc.DBAPIError:
    return kind("INSERT INTO t VALUES (%s)", {"password": "hunter2"}, origin, **options)


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        (
            ("08006", "08003", "08P01", "40000", "53100", "53300", "55P03", "57014", "57P01", "57P03", "25006"),
            DatabaseUnavailable,
        ),
        (("40001", "40P01"), Contention),
        (("58030",), DatabaseUnavailable),
        (("42P01", "42703", "42501", "42601", "28P01", "28000", "3D000", "3F000"), SchemaError),
        (("22001", "22003", "22021", "23502", "23503", "23514", "40002", "54000", "P0001"), InvalidValue),
        (("23505",), UniqueViolation),
        (("XX000", "0A000", "99999", ""), DatabaseError),
    ],
)
def test_postgresql_errors_are_told_apart_by_sqlstate(codes: tuple[str, ...], expected: type[DatabaseError]) -> None:
    """Classes and codes of appendix A of PostgreSQL's manual; the class of the exception plays no part."""
    for code in codes:
        assert expected is type(translate(wrapped(PostgresError(code)))), code


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        (
            (1021, 1040, 1053, 1114, 1205, 1290, 1317, 1792, 1927, 1969, 2003, 2006, 2013, 3024),
            DatabaseUnavailable,
        ),
        ((1020, 1213), Contention),
        ((1044, 1045, 1049, 1054, 1142, 1146, 1698), SchemaError),
        ((1048, 1264, 1265, 1292, 1364, 1366, 1406, 1451, 1452, 3819, 4025), InvalidValue),
        ((1022, 1062, 1586), UniqueViolation),
        ((1234, 9999), DatabaseError),
    ],
)
@pytest.mark.parametrize("kind", [exc.OperationalError, exc.IntegrityError, exc.DataError])
def test_mysql_errors_are_told_apart_by_number(
    numbers: tuple[int, ...], expected: type[DatabaseError], kind: type[exc.DBAPIError]
) -> None:
    """The class of the exception plays no part: a CHECK of MariaDB (4025) comes as OperationalError."""
    for number in numbers:
        origin = pymysql.err.OperationalError(number, "something", sqlstate="HY000")
        assert expected is type(translate(wrapped(origin, kind))), number


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        ((sqlite3.SQLITE_BUSY, sqlite3.SQLITE_BUSY_SNAPSHOT, sqlite3.SQLITE_LOCKED), DatabaseUnavailable),
        ((sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_READONLY_DBMOVED), DatabaseUnavailable),
        ((sqlite3.SQLITE_CANTOPEN_ISDIR,), DatabaseUnavailable),
        ((sqlite3.SQLITE_NOTADB,), SchemaError),
        ((sqlite3.SQLITE_CONSTRAINT_NOTNULL, sqlite3.SQLITE_CONSTRAINT_CHECK, sqlite3.SQLITE_MISMATCH), InvalidValue),
        ((sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY), UniqueViolation),
        ((sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT), DatabaseError),
    ],
)
def test_sqlite_errors_are_told_apart_by_code(codes: tuple[int, ...], expected: type[DatabaseError]) -> None:
    """Extended codes count where they say more than the primary one."""
    for code in codes:
        assert expected is type(translate(wrapped(sqlite_error(code)))), code


@pytest.mark.parametrize("text", ["no such table: t", "no such column: c", "table t has no column named c"])
def test_sqlite_names_what_is_missing_only_in_its_text(text: str) -> None:
    """SQLITE_ERROR is a missing table or column, judged by its text."""
    assert SchemaError is type(translate(wrapped(sqlite_error(sqlite3.SQLITE_ERROR, text))))


def test_a_lost_connection_is_an_outage_whatever_its_code() -> None:
    """SQLAlchemy's own judgement that the connection is gone comes first."""
    error = wrapped(PostgresError("22000"), connection_invalidated=True)
    assert DatabaseUnavailable is type(translate(error))


@pytest.mark.parametrize("kind", [exc.InterfaceError, exc.InternalError, exc.NotSupportedError])
def test_errors_without_a_code_speak_of_the_connection(kind: type[exc.DBAPIError]) -> None:
    """The driver asyncpg says without SQLSTATE that a connection ended, or that a migration outdated its plans."""
    assert DatabaseUnavailable is type(translate(wrapped(Exception("cannot switch to state 12"), kind)))


def test_a_value_that_cannot_be_written_down_is_invalid() -> None:
    """PyMySQL refuses NaN, and column types refuse what they cannot convert."""
    nan = wrapped(pymysql.err.ProgrammingError("nan can not be used with MySQL"), exc.ProgrammingError)
    assert InvalidValue is type(translate(nan))
    assert InvalidValue is type(translate(exc.StatementError("no time", "INSERT", {}, ValueError("no time"))))


def test_an_exhausted_pool_is_an_outage_and_names_the_fix() -> None:
    """The message names the setting."""
    ours = translate(exc.TimeoutError("QueuePool limit of size 10 overflow 20 reached"))
    assert DatabaseUnavailable is type(ours)
    assert "DB_POOL_SIZE" in str(ours)


@pytest.mark.parametrize(
    "origin",
    [
        pymysql.err.IntegrityError(1062, "Duplicate entry 'hunter2' for key 'uq_users_email'"),
        pymysql.err.DataError(1366, "Incorrect double value: 'hunter2' for column `d`.`t`.`value` at row 1"),
        PostgresError("23505", "duplicate key value\nDETAIL:  Key (email)=(hunter2) already exists."),
        PostgresError("22000", "invalid input for query argument $2: 'hunter2' (expected str, got int)"),
        PostgresError("22P02", 'invalid input syntax for type double precision: "hunter2"'),
    ],
)
def test_messages_hold_neither_statement_nor_values(origin: Exception) -> None:
    """Values may be secrets, and messages end in logs."""
    ours = str(translate(wrapped(origin)))
    assert "hunter2" not in ours
    assert "INSERT" not in ours


def test_what_is_not_the_databases_is_not_translated() -> None:
    """An OSError may come from anywhere in a handler, and a wrong use of SQLAlchemy is a programming error."""
    for error in (OSError("no route"), ValueError("x"), exc.InvalidRequestError("x"), KeyError("x")):
        assert translate(error) is None


def test_our_own_errors_stay_what_they_are() -> None:
    """Translating twice changes nothing."""
    error = DatabaseNotConfigured("no database")
    assert error is translate(error)


def test_an_error_of_the_driver_itself_is_translated_too() -> None:
    """While connecting, nothing wraps it."""
    assert SchemaError is type(translate_driver(pymysql.err.OperationalError(1045, "Access denied")))
    assert DatabaseError is type(translate_driver(Exception("?")))


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ConnectionRefusedError(111, "refused"), DatabaseUnavailable),
        (TimeoutError(), DatabaseUnavailable),
        (UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed"), InvalidValue),
        (OverflowError("Python int too large"), InvalidValue),
        (wrapped(PostgresError("23505")), UniqueViolation),
    ],
)
def test_the_seam_raises_ours_with_the_cause(error: Exception, expected: type[DatabaseError]) -> None:
    """Inside ``translated`` network errors are the database's; the driver's error stays as the cause."""
    with pytest.raises(expected) as caught, translated():
        raise error
    assert error is caught.value.__cause__


def test_the_seam_lets_everything_else_pass() -> None:
    """A bug in a program is not an error of the database."""
    for error in (KeyError("x"), exc.InvalidRequestError("x")):
        with pytest.raises(type(error)), translated():
            raise error
