"""The meaning of error codes; real databases raise them in tests/integration/database."""

import copy
import sqlite3
from typing import Any

import pymysql.err
import pytest
from sqlalchemy import exc

import app.models  # noqa: F401 - the tables of users and devices
from core.database.diagnostics import place_of
from core.database.error_codes import Meaning
from core.database.errors import translate, translate_driver, translated
from core.database.violations import VIOLATIONS
from core.exceptions import (
    CheckViolation,
    Contention,
    DatabaseError,
    DatabaseNotConfigured,
    DatabaseUnavailable,
    ForeignKeyViolation,
    InvalidValue,
    NotNullViolation,
    SchemaError,
    UniqueViolation,
    ValueOutOfRange,
)


class PostgresError(Exception):
    """As asyncpg and SQLAlchemy's adapter of it raise them; only the former know the place in the server's source."""

    server_source_filename: str | None = None

    def __init__(self, sqlstate: str, text: str = "something") -> None:
        super().__init__(text)
        self.sqlstate = sqlstate


def sqlite_error(code: int, text: str = "something") -> sqlite3.Error:
    error = sqlite3.OperationalError(text)
    error.sqlite_errorcode = code
    return error


def wrapped(
    origin: BaseException,
    kind: type[exc.DBAPIError] = exc.DBAPIError,
    statement: str = "INSERT INTO t VALUES (%s)",
    **options: Any,
) -> exc.DBAPIError:
    return kind(statement, {"password": "hunter2"}, origin, **options)


def public(error: BaseException | None) -> type[BaseException]:
    """The class in our tree of which a violation is raised."""
    return next(each for each in type(error).__mro__ if each.__module__ == "core.exceptions")


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        (
            ("08006", "08003", "08P01", "40000", "53100", "53300", "55P03", "57014", "57P01", "57P03", "25006"),
            DatabaseUnavailable,
        ),
        (("58030",), DatabaseUnavailable),
        (("40001", "40P01"), Contention),
        (("42P01", "42703", "42501", "42601", "28P01", "28000", "3D000", "3F000"), SchemaError),
        (("22021", "23000", "40002", "54000", "P0001"), InvalidValue),
        (("22001", "22003", "22008"), ValueOutOfRange),
        (("23505",), UniqueViolation),
        (("23502",), NotNullViolation),
        (("23503", "23001"), ForeignKeyViolation),
        (("23514",), CheckViolation),
        (("XX000", "0A000", "99999", ""), DatabaseError),
    ],
)
def test_postgresql_errors_are_told_apart_by_sqlstate(codes: tuple[str, ...], expected: type[DatabaseError]) -> None:
    """Classes and codes of appendix A of PostgreSQL's manual; the class of the exception plays no part."""
    for code in codes:
        assert expected is public(translate(wrapped(PostgresError(code)))), code


@pytest.mark.parametrize(("source", "expected"), [("md.c", DatabaseUnavailable), ("relcache.c", DatabaseError)])
def test_internal_errors_of_postgresqls_storage_are_an_outage(source: str, expected: type[DatabaseError]) -> None:
    """PostgreSQL has no SQLSTATE for an exceeded disk quota; its complaint names the source file that writes."""
    told = PostgresError("XX000", 'could not extend file "base/1/2": Disk quota exceeded')
    told.server_source_filename = source
    adapted = PostgresError("XX000")
    adapted.__cause__ = told
    assert [expected, expected] == [public(translate(wrapped(error))) for error in (told, adapted)]


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        (
            (1021, 1040, 1053, 1114, 1205, 1290, 1317, 1792, 1927, 1969, 2003, 2006, 2013, 3024),
            DatabaseUnavailable,
        ),
        ((1020, 1213), Contention),
        ((1044, 1045, 1049, 1054, 1142, 1146, 1191, 1305, 1698), SchemaError),
        ((1265, 1292, 1366), InvalidValue),
        ((1264, 1406), ValueOutOfRange),
        ((1022, 1062, 1586), UniqueViolation),
        ((1048, 1364), NotNullViolation),
        ((1451, 1452), ForeignKeyViolation),
        ((3819, 4025), CheckViolation),
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
        assert expected is public(translate(wrapped(origin, kind))), number


def test_a_savepoint_that_is_gone_was_taken_by_a_deadlock() -> None:
    """MariaDB says it in the words in which it misses a procedure."""
    told = pymysql.err.OperationalError(1305, "SAVEPOINT sa_savepoint_2 does not exist")
    assert Contention is type(translate(wrapped(told)))


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        ((sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED), DatabaseUnavailable),
        ((sqlite3.SQLITE_BUSY_SNAPSHOT,), Contention),
        ((sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_READONLY_DBMOVED), DatabaseUnavailable),
        ((sqlite3.SQLITE_CANTOPEN_ISDIR,), DatabaseUnavailable),
        ((sqlite3.SQLITE_NOTADB,), SchemaError),
        ((sqlite3.SQLITE_CONSTRAINT_TRIGGER, sqlite3.SQLITE_MISMATCH), InvalidValue),
        ((sqlite3.SQLITE_CONSTRAINT_NOTNULL,), NotNullViolation),
        ((sqlite3.SQLITE_CONSTRAINT_CHECK,), CheckViolation),
        ((sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY,), ForeignKeyViolation),
        ((sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY), UniqueViolation),
        ((sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT), DatabaseError),
    ],
)
def test_sqlite_errors_are_told_apart_by_code(codes: tuple[int, ...], expected: type[DatabaseError]) -> None:
    """Extended codes count where they say more than the primary one."""
    for code in codes:
        assert expected is public(translate(wrapped(sqlite_error(code)))), code


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
        (OverflowError("Python int too large"), ValueOutOfRange),
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


# --- violations ---


@pytest.mark.parametrize("kind", VIOLATIONS.values())
def test_violations_are_of_both_trees(kind: type[exc.DBAPIError]) -> None:
    """What was written for SQLAlchemy catches them; they read like ours, and can be copied."""
    origin = sqlite3.IntegrityError("a secret")
    error = kind("refused", "devices", ["name"], "uq_devices_name", orig=origin)
    assert isinstance(error, InvalidValue)
    assert isinstance(error, exc.IntegrityError | exc.DataError)
    assert ("refused", origin) == (str(error), error.orig)
    twin = copy.copy(error)
    assert (kind, "refused") == (type(twin), str(twin))
    assert ("devices", ("name",), "uq_devices_name") == (twin.table, twin.columns, twin.constraint)


def test_the_seam_lets_violations_pass() -> None:
    """Though they are errors of SQLAlchemy too, they are translated already."""
    error = VIOLATIONS[Meaning.UNIQUE]("refused")
    with pytest.raises(UniqueViolation) as caught, translated():
        raise error
    assert error is caught.value
    assert error.__cause__ is None


@pytest.mark.parametrize(
    ("number", "text", "expected"),
    [
        (1062, "Duplicate entry 'a' for key 'users.uq_users_user_id'", ("users", ("user_id",), "uq_users_user_id")),
        (1062, "Duplicate entry '1' for key 'PRIMARY'", ("users", ("id",), "PRIMARY")),
        (1062, "Duplicate entry 'a' for key 'email'", ("users", ("email",), "email")),
        (3819, "Check constraint 'ck_users_name' is violated.", ("users", (), "ck_users_name")),
        (1048, "Column 'user_id' cannot be null", ("users", ("user_id",), "")),
        (1364, "Field 'user_id' doesn't have a default value", ("users", ("user_id",), "")),
        (1216, "Cannot add or update a child row: a foreign key constraint fails", ("users", (), "")),
    ],
)
def test_places_in_the_words_of_mysql(number: int, text: str, expected: tuple[Any, ...]) -> None:
    """MySQL 8 puts the table before the name of a key; the table itself is known from the statement."""
    error = wrapped(pymysql.err.IntegrityError(number, text), statement="INSERT INTO `users` (a) VALUES (%s)")
    assert expected == place_of(error.orig, error.statement)
