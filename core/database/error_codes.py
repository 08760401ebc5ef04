"""What the error codes of the three databases mean for the work that met them."""

import sqlite3
from enum import Enum

__all__ = ["Meaning", "meaning_of"]


class Meaning(Enum):
    """What an error says, and the words in which people are told."""

    UNAVAILABLE = "the database cannot serve now"
    CONTENTION = "another transaction was in the way"
    LOGIN = "the database refuses the login; fix: check user, password and name in DATABASE_URL, and the user's rights"
    SCHEMA = "the database does not fit the models; fix: migrate it, or call Model.create_tables()"
    UNINDEXED = (
        "full_text needs an index on exactly these columns; fix: add "
        'Index(None, "title", "body", mysql_prefix="FULLTEXT") with their names to the model, and migrate'
    )
    POOLED = "PgBouncer gives the service a different connection for each transaction; fix: DB_PGBOUNCER=true"
    UNIQUE = "another row has the same unique key"
    REFERENCE = "the row that is referred to does not exist, or is still referred to"
    NULL = "a column must have a value"
    CHECK = "a check of the table refuses the row"
    RANGE = "a value does not fit in its column"
    INVALID = "the database refuses the value"
    UNKNOWN = "the database reports an error"


# PostgreSQL: classes and codes of appendix A of its manual. The longest prefix counts.
_POSTGRESQL = {
    "08": Meaning.UNAVAILABLE,
    "22": Meaning.INVALID,
    "22001": Meaning.RANGE,
    "22003": Meaning.RANGE,
    "22008": Meaning.RANGE,
    "23": Meaning.INVALID,
    "23001": Meaning.REFERENCE,
    "23502": Meaning.NULL,
    "23503": Meaning.REFERENCE,
    "23505": Meaning.UNIQUE,
    "23514": Meaning.CHECK,
    "25006": Meaning.UNAVAILABLE,  # read only: a standby, soon to be promoted
    "25P03": Meaning.UNAVAILABLE,  # ended while idle in a transaction
    "26000": Meaning.POOLED,  # a prepared statement that another connection has
    "28": Meaning.LOGIN,
    "3D": Meaning.LOGIN,
    "3F": Meaning.SCHEMA,
    "40": Meaning.UNAVAILABLE,
    "40001": Meaning.CONTENTION,
    "40002": Meaning.INVALID,  # a constraint, checked at COMMIT
    "40P01": Meaning.CONTENTION,
    "42": Meaning.SCHEMA,
    "42501": Meaning.LOGIN,
    "42P05": Meaning.POOLED,  # a prepared statement of the same name that somebody else has left behind
    "44000": Meaning.INVALID,  # the CHECK OPTION of a view
    "53": Meaning.UNAVAILABLE,
    "54000": Meaning.INVALID,
    "55P03": Meaning.UNAVAILABLE,
    "57014": Meaning.UNAVAILABLE,
    "57P": Meaning.UNAVAILABLE,
    "58": Meaning.UNAVAILABLE,
    "P0001": Meaning.INVALID,  # RAISE in a trigger
}

# PostgreSQL has SQLSTATEs for few errors of the file system, a full disk among them. All others, such as an exceeded
# disk quota, are "internal" to it; then only the name of the source file that complains is in no human language.
_POSTGRESQL_INTERNAL = "XX000"
_POSTGRESQL_STORAGE = ("md.c", "fd.c", "slru.c", "buffile.c")

# MySQL and MariaDB: error numbers, for their SQLSTATE is HY000 where it matters.
_MYSQL = {
    Meaning.UNAVAILABLE: (
        *(1021, 1026, 1028, 1030, 1037, 1038, 1040, 1041, 1053, 1077, 1079, 1080, 1105, 1114, 1129),
        *(1152, 1158, 1159, 1160, 1161, 1180, 1184, 1203, 1205, 1226, 1290, 1317, 1412, 1614, 1792, 1836),
        *(1927, 1969, 2002, 2003, 2006, 2012, 2013, 2014, 2026, 2055, 3024, 3032, 3058, 3100, 3101, 3169, 3572, 4031),
    ),
    Meaning.CONTENTION: (1020, 1213),
    Meaning.LOGIN: (
        *(1044, 1045, 1049, 1130, 1131, 1132, 1133, 1142, 1143, 1227, 1251, 1370, 1410, 1524, 1698, 1820, 1862),
        *(2059, 2061, 3118, 3955, 4151),
    ),
    Meaning.SCHEMA: (1046, 1051, 1054, 1060, 1061, 1064, 1071, 1072, 1091, 1103, 1109, 1146, 1176, 1305, 1356, 1932),
    Meaning.UNINDEXED: (1191,),
    Meaning.UNIQUE: (1022, 1062, 1169, 1586),
    # 1364 and 4025 come as OperationalError, and yet the row is what is wrong.
    Meaning.REFERENCE: (1216, 1217, 1451, 1452),
    Meaning.NULL: (1048, 1263, 1364),
    Meaning.CHECK: (3819, 4025),
    Meaning.RANGE: (1264, 1406, 1441, 1690),
    Meaning.INVALID: (
        *(1118, 1153, 1265, 1292, 1300, 1301, 1365, 1366, 1367, 1369, 1390, 1411, 1416, 1526, 1557, 1644),
        *(1761, 1762, 3140, 3156),
    ),
}
# "... does not exist": said of procedures and functions, too. A savepoint goes when a deadlock ends its transaction.
_MYSQL_DOES_NOT_EXIST = 1305
_MYSQL_MEANING = {number: meaning for meaning, numbers in _MYSQL.items() for number in numbers}

# SQLite: extended result codes first, then the primary ones, which are their lowest byte.
_SQLITE = {
    sqlite3.SQLITE_CONSTRAINT_UNIQUE: Meaning.UNIQUE,
    sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY: Meaning.UNIQUE,
    sqlite3.SQLITE_CONSTRAINT_ROWID: Meaning.UNIQUE,
    sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY: Meaning.REFERENCE,
    sqlite3.SQLITE_CONSTRAINT_NOTNULL: Meaning.NULL,
    sqlite3.SQLITE_CONSTRAINT_CHECK: Meaning.CHECK,
    sqlite3.SQLITE_CONSTRAINT: Meaning.INVALID,
    sqlite3.SQLITE_MISMATCH: Meaning.INVALID,
    sqlite3.SQLITE_TOOBIG: Meaning.RANGE,
    sqlite3.SQLITE_RANGE: Meaning.INVALID,
    sqlite3.SQLITE_SCHEMA: Meaning.UNAVAILABLE,  # somebody changed the schema meanwhile
    sqlite3.SQLITE_BUSY_SNAPSHOT: Meaning.CONTENTION,
    sqlite3.SQLITE_BUSY: Meaning.UNAVAILABLE,
    sqlite3.SQLITE_LOCKED: Meaning.UNAVAILABLE,
    sqlite3.SQLITE_FULL: Meaning.UNAVAILABLE,
    sqlite3.SQLITE_IOERR: Meaning.UNAVAILABLE,
    sqlite3.SQLITE_READONLY: Meaning.UNAVAILABLE,
    sqlite3.SQLITE_CANTOPEN: Meaning.UNAVAILABLE,
    sqlite3.SQLITE_NOMEM: Meaning.UNAVAILABLE,
    sqlite3.SQLITE_PROTOCOL: Meaning.UNAVAILABLE,
    sqlite3.SQLITE_INTERRUPT: Meaning.UNAVAILABLE,
    sqlite3.SQLITE_NOTADB: Meaning.LOGIN,
    sqlite3.SQLITE_AUTH: Meaning.LOGIN,
}
# SQLITE_ERROR says nothing by itself; only its text does.
_SQLITE_SCHEMA_TEXTS = ("no such table", "no such column", "has no column", "syntax error", "values were supplied")


def meaning_of(error: BaseException) -> Meaning | None:
    """Read the code of a driver's error.

    Args:
        error: As asyncpg, aiomysql, aiosqlite or SQLAlchemy's adapters of them raise it.

    Returns:
        Its meaning, ``Meaning.UNKNOWN`` for a code that is not listed, or ``None`` where it has no code.
    """
    code = getattr(error, "sqlite_errorcode", None)
    if isinstance(code, int):
        return _sqlite(code, str(error))
    # Before SQLSTATE, which errors of MySQL have too, but coarser.
    if error.args and isinstance(error.args[0], int):
        return _mysql(error.args[0], str(error.args[1:]))
    sqlstate = getattr(error, "sqlstate", None)
    if isinstance(sqlstate, str):
        return Meaning.UNAVAILABLE if _of_storage(sqlstate, error) else _postgresql(sqlstate)
    return None


def _of_storage(sqlstate: str, error: BaseException) -> bool:
    if sqlstate != _POSTGRESQL_INTERNAL:
        return False
    # SQLAlchemy's adapter keeps the SQLSTATE only; its cause is asyncpg's own error.
    sources = [getattr(each, "server_source_filename", None) for each in (error, error.__cause__)]
    return any(source in _POSTGRESQL_STORAGE for source in sources)


def _postgresql(sqlstate: str) -> Meaning:
    for length in range(len(sqlstate), 1, -1):
        if (meaning := _POSTGRESQL.get(sqlstate[:length])) is not None:
            return meaning
    return Meaning.UNKNOWN


def _mysql(number: int, text: str) -> Meaning:
    if number == _MYSQL_DOES_NOT_EXIST and "SAVEPOINT" in text:
        return Meaning.CONTENTION
    return _MYSQL_MEANING.get(number, Meaning.UNKNOWN)


def _sqlite(code: int, text: str) -> Meaning:
    meaning = _SQLITE.get(code) or _SQLITE.get(code & 0xFF)
    if meaning is None and any(hint in text for hint in _SQLITE_SCHEMA_TEXTS):
        return Meaning.SCHEMA
    return meaning or Meaning.UNKNOWN
