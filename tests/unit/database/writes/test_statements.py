"""The statements of each dialect; real databases execute those of the first three in tests/integration."""

import aiomysql
import pytest

from core.database.atoms import Change
from core.database.options import EngineOptions
from core.database.shapes import Shape
from core.database.writers.base import Contention, RowLocked, translated_driver
from core.database.writers.mysql_sql import MySQLStatements
from core.database.writers.postgresql_sql import PostgreSQLStatements
from core.exceptions import DatabaseUnavailable, UniqueViolation
from tests.unit.database.writes.models import MYSQL, POSTGRESQL, Part, Thing

# As in the greeting of these servers.
MARIADB_VERSION = "5.5.5-10.11.6-MariaDB-0+deb12u1"


def mysql(version: str) -> MySQLStatements:
    statements = MySQLStatements(MYSQL, "w")
    statements.learn(version)
    return statements


THING = Shape(Thing, ["name", "a", "at"], MYSQL, ("name",))
PART = Shape(Part, ["thing"], MYSQL, ())


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        (
            MARIADB_VERSION,
            "INSERT INTO planned_things (name, a, `at`) VALUES (%s, %s, %s), (%s, %s, %s) ON DUPLICATE KEY UPDATE "
            "name = IF(planned_things.name = VALUES(name), planned_things.name, (SELECT 1 UNION ALL SELECT 2)), "
            "a = IF(planned_things.`at` IS NULL OR planned_things.`at` <= VALUES(`at`), VALUES(a), planned_things.a), "
            "`at` = IF(planned_things.`at` IS NULL OR planned_things.`at` <= VALUES(`at`), VALUES(`at`), "
            "planned_things.`at`)",
        ),
        (
            "8.4.2",
            "INSERT INTO planned_things (name, a, `at`) VALUES (%s, %s, %s), (%s, %s, %s) AS mqueduct_new "
            "ON DUPLICATE KEY UPDATE name = IF(planned_things.name = mqueduct_new.name, planned_things.name, "
            "(SELECT 1 UNION ALL SELECT 2)), a = IF(planned_things.`at` IS NULL OR planned_things.`at` <= "
            "mqueduct_new.`at`, mqueduct_new.a, planned_things.a), `at` = IF(planned_things.`at` IS NULL OR "
            "planned_things.`at` <= mqueduct_new.`at`, mqueduct_new.`at`, planned_things.`at`)",
        ),
    ],
)
def test_upserts_of_mysql(version: str, expected: str) -> None:
    """The guard is assigned last, and a row of another key is an error; MySQL wants a name for the new row."""
    statement = mysql(version).upsert(THING, Change("at"), 2)
    assert expected.replace("`at`", "at") == statement.replace("`at`", "at")


def test_inserts_of_mysql() -> None:
    """An existing row stays as it is; rows without a key are simply inserted, and only MariaDB can return them."""
    assert mysql("8.4.2").insert(THING, 1).endswith("(SELECT 1 UNION ALL SELECT 2))")
    assert "INSERT INTO planned_a_parts (thing) VALUES (%s), (%s)" == mysql("8.4.2").insert(PART, 2)
    assert "INSERT INTO planned_a_parts (thing) VALUES (%s) RETURNING id" == mysql(MARIADB_VERSION).insert(
        PART, 1, returning=True
    )
    assert "SELECT id FROM planned_a_parts WHERE id = LAST_INSERT_ID()" == mysql("8.4.2").last(PART)


@pytest.mark.parametrize(
    ("version", "named"), [("8.0.19", False), ("8.0.20", True), ("9.1.0", True), (MARIADB_VERSION, False)]
)
def test_who_names_the_new_row(version: str, named: bool) -> None:
    """MySQL from 8.0.20 on; before, and MariaDB for ever, VALUES() is the only way."""
    assert named is ("mqueduct_new" in mysql(version).upsert(THING, Change(), 1))


def test_text_of_postgresql_is_not_cut_off_by_its_cast() -> None:
    """VARCHAR(20) in a cast would shorten it silently; the column itself refuses it."""
    statement = PostgreSQLStatements(POSTGRESQL, "w", EngineOptions()).insert(
        Shape(Thing, ["name", "a"], POSTGRESQL, ("name",))
    )
    assert (
        "INSERT INTO planned_things (name, a) SELECT name, a FROM ROWS FROM "
        "(json_array_elements_text($1::TEXT::JSON), unnest($2::BIGINT[])) WITH ORDINALITY "
        "AS given(name, a, mqueduct_ordinal) ORDER BY mqueduct_ordinal ON CONFLICT (name) DO NOTHING RETURNING id"
    ) == statement


@pytest.mark.parametrize(
    ("number", "expected"),
    [(1205, RowLocked), (1213, Contention), (1062, UniqueViolation), (2013, DatabaseUnavailable)],
)
def test_errors_of_mysql_are_told_apart_by_number(number: int, expected: type[Exception]) -> None:
    """Newer versions of PyMySQL give them a SQLSTATE beside it, which says less."""
    error = aiomysql.OperationalError(number, "something")
    error.sqlstate = "HY000"
    with pytest.raises(expected), translated_driver((aiomysql.MySQLError,), (aiomysql.InterfaceError,)):
        raise error
