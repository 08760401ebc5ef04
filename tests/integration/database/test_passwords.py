"""Passwords of any script."""

from sqlalchemy import URL, text

from core.database.database import Database
from tests.servers import MariaDB, PostgreSQL

PASSWORD = "łódź-ü-\u65e5-@:/?#%"


async def connects_twice(url: URL) -> bool:
    """Open two connections: the second one must find the password as the first one did."""
    database = Database(url.render_as_string(hide_password=False))
    async with database.session() as one, database.session() as another:
        results = [(await session.execute(text("SELECT 1"))).scalar() for session in (one, another)]
    await database.close()
    return results == [1, 1]


async def test_on_mariadb(mariadb: MariaDB) -> None:
    """Aiomysql would send another password than the one that was set."""
    mariadb.sql(f"set names utf8mb4; create or replace user 'scripts'@'%' identified by '{PASSWORD}'")
    assert await connects_twice(URL.create("mariadb", "scripts", PASSWORD, "127.0.0.1", mariadb.port, ""))


async def test_on_postgresql(postgres: PostgreSQL) -> None:
    """SCRAM normalises, and agrees with the server."""
    postgres.sql(f"drop role if exists scripts; create role scripts login password '{PASSWORD}'")
    assert await connects_twice(URL.create("postgresql", "scripts", PASSWORD, "127.0.0.1", postgres.port, "postgres"))
