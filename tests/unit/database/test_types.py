"""The Instant type and the tables' options, compiled for each database without connecting."""

import enum
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import Column, MetaData, String, Table, func, select
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.schema import CreateTable

from core.database.ddl import table_options
from core.database.types import Instant
from core.exceptions import ConfigurationError
from core.model import Mapped, Model, mapped_column

POSTGRESQL, MYSQL, SQLITE = postgresql.dialect(), mysql.dialect(), sqlite.dialect()

table = Table("t", MetaData(), Column("at", Instant), Column("name", String(3)))


def compiled(element: Any, dialect: Any) -> str:
    return " ".join(str(element.compile(dialect=dialect, compile_kwargs={"literal_binds": True})).split())


@pytest.mark.parametrize(
    ("dialect", "expected"),
    [(POSTGRESQL, "at TIMESTAMP WITH TIME ZONE"), (MYSQL, "at DATETIME(6)"), (SQLITE, "at DATETIME")],
)
def test_the_column_keeps_microseconds(dialect: Any, expected: str) -> None:
    """A plain DATETIME of MySQL would drop them."""
    assert expected in str(CreateTable(table).compile(dialect=dialect))


@pytest.mark.parametrize(
    ("dialect", "expected"),
    [
        (POSTGRESQL, "SELECT t.at FROM t WHERE t.at >= '2023-11-14 22:13:20+00:00'"),
        (MYSQL, "SELECT t.at FROM t WHERE t.at >= '2023-11-14 22:13:20'"),
        (SQLITE, "SELECT t.at FROM t WHERE t.at >= '2023-11-14 22:13:20.000000'"),
    ],
)
@pytest.mark.parametrize("value", [1700000000, 1700000000000, "2023-11-14T22:13:20Z"])
def test_the_other_side_of_a_comparison_is_a_time_too(dialect: Any, expected: str, value: Any) -> None:
    """Seconds, milliseconds and text compare; literals are printed as each database stores them."""
    assert expected == compiled(select(table.c.at).where(table.c.at >= value), dialect)


@pytest.mark.parametrize(
    ("dialect", "expected"),
    [
        (POSTGRESQL, "(t.at + -3600000000 * INTERVAL '1 microsecond')"),
        (MYSQL, "TIMESTAMPADD(MICROSECOND, -3600000000, t.at)"),
        (SQLITE, "mqueduct_shift(t.at, -3600000000)"),
    ],
)
def test_a_timedelta_shifts(dialect: Any, expected: str) -> None:
    """Each database spells it its own way."""
    assert expected == compiled(table.c.at - timedelta(hours=1), dialect)


def test_what_is_made_of_instants_is_an_instant() -> None:
    """Aggregates and shifted times read back as aware datetimes too."""
    for expression in (func.max(table.c.at), table.c.at + timedelta(1), timedelta(1) + table.c.at):
        assert isinstance(expression.type, Instant)


def test_differences_are_refused() -> None:
    """MariaDB and SQLite would answer with a number that means nothing."""
    for wrong in (lambda: table.c.at - table.c.at, lambda: table.c.at - 5, lambda: 5 - table.c.at):
        with pytest.raises(TypeError, match="subtract in Python"):
            wrong()


def test_two_shifts_share_a_cached_statement() -> None:
    """The distance is a parameter and no part of the statement."""
    one, two = (str(select(table.c.at + timedelta(seconds=n)).compile(dialect=POSTGRESQL)) for n in (1, 2))
    assert one == two


@pytest.mark.parametrize(
    ("dialect", "expected"),
    [
        (SimpleNamespace(is_mariadb=True), "utf8mb4_nopad_bin"),
        (SimpleNamespace(is_mariadb=False, server_version_info=(8, 0, 36)), "utf8mb4_0900_bin"),
        (SimpleNamespace(is_mariadb=False, server_version_info=(8, 0, 16)), "utf8mb4_bin"),
        (SimpleNamespace(is_mariadb=False, server_version_info=None), "utf8mb4_0900_bin"),
    ],
)
def test_texts_compare_byte_by_byte(dialect: Any, expected: str) -> None:
    """By default MySQL and MariaDB would take the devices ``Pump`` and ``pump`` for one."""
    assert {"engine": "InnoDB", "default_charset": "utf8mb4", "collate": expected} == table_options(dialect)


def test_a_table_may_choose_its_own_options() -> None:
    """What a model names is not named again; of character set and collation, one choice takes both."""
    chosen = Table("t", MetaData(), Column("c", String(3)), mysql_engine="Aria", mysql_charset="latin1")
    created = compiled(CreateTable(chosen), MYSQL)
    assert created.endswith(")ENGINE=Aria CHARSET=latin1")
    assert compiled(CreateTable(chosen), SQLITE).endswith(")")


def test_members_that_a_database_could_not_tell_apart() -> None:
    """Are refused when the class is made, not mixed up when rows are read."""

    class Confusing(enum.Enum):
        NUMBER = 1
        TEXT = "1"

    with pytest.raises(ConfigurationError, match="Confusing: two members have values of the same text"):

        class Confused(Model):
            __tablename__ = "confused"
            id: Mapped[int] = mapped_column(primary_key=True)
            kind: Mapped[Confusing]
