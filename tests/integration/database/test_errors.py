"""The errors that real databases raise, each as ours."""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from core.database.database import Database
from core.database.errors import translated
from core.exceptions import (
    CheckViolation,
    ConfigurationError,
    Contention,
    DatabaseError,
    DatabaseUnavailable,
    ForeignKeyViolation,
    InvalidValue,
    NotNullViolation,
    SchemaError,
    UniqueViolation,
    ValueOutOfRange,
)
from core.model import Model
from tests.conftest import FreshDatabase
from tests.integration.database.models import Gauge, Untabled

SERVERS = pytest.mark.parametrize("fresh_database", ["postgres", "mariadb"], indirect=True)


async def execute(session: AsyncSession, *statements: str) -> None:
    with translated():
        for statement in statements:
            await session.execute(text(statement))


@contextlib.asynccontextmanager
async def sessions() -> AsyncIterator[tuple[AsyncSession, AsyncSession]]:
    async with await Model.get_session() as one, await Model.get_session() as two:
        yield one, two


# --- values and constraints ---


@pytest.mark.parametrize(
    ("fields", "expected", "named"),
    [
        ({"name": "taken"}, UniqueViolation, "trial_gauges"),
        ({"name": None}, NotNullViolation, "name"),
        ({"name": "g", "site": "nowhere"}, ForeignKeyViolation, "(?i)foreign key"),
        ({"name": "g", "level": 0}, CheckViolation, "ck_trial_gauges_level"),
        ({"name": "g", "level": 2**31}, ValueOutOfRange, r"Gauge\.level"),
        ({"name": "g", "level": 2**64}, ValueOutOfRange, r"Gauge\.level"),
        ({"name": "g", "value": 10**400}, ValueOutOfRange, r"Gauge\.value"),
        ({"name": "g", "value": float("nan")}, ValueOutOfRange, r"Gauge\.value"),
        ({"name": "g", "value": float("inf")}, ValueOutOfRange, r"Gauge\.value"),
        ({"name": "g", "value": "abc"}, InvalidValue, r"Gauge\.value"),
        ({"name": 17}, InvalidValue, r"Gauge\.name"),
        ({"name": "x" * 11}, ValueOutOfRange, r"Gauge\.name"),
        ({"name": "a\0b"}, InvalidValue, r"Gauge\.name"),
        ({"name": "a\ud800"}, InvalidValue, r"Gauge\.name"),
    ],
    ids=lambda value: repr(value)[:40] if isinstance(value, dict) else "",
)
async def test_a_refused_value_names_what_refused_it(
    database: Database, fields: dict[str, Any], expected: type[DatabaseError], named: str
) -> None:
    """The same error on every database; the row is not stored, and the next one is."""
    await Gauge.create(name="taken")
    with pytest.raises(InvalidValue, match=named if named != "trial_gauges" else "unique") as caught:
        await Gauge.create(**fields)
    assert expected.__name__ == type(caught.value).__name__
    assert ["taken"] == [gauge.name for gauge in await Gauge.all()]
    await Gauge.create(name="next", level=1)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"name": "taken"}, UniqueViolation),
        ({"name": None}, NotNullViolation),
        ({"name": "g", "site": "nowhere"}, ForeignKeyViolation),
        ({"name": "g", "level": 0}, CheckViolation),
    ],
    ids=lambda value: repr(value)[:40] if isinstance(value, dict) else "",
)
async def test_errors_of_a_session_translate_to_the_same(
    database: Database, fields: dict[str, Any], expected: type[DatabaseError]
) -> None:
    """A handler's own session raises SQLAlchemy's errors, and the seam knows what they mean."""
    await Gauge.create(name="taken")
    async with await Model.get_session() as session:
        session.add(Gauge(**fields))
        with pytest.raises(expected) as caught, translated():
            await session.commit()
        assert expected.__name__ == type(caught.value).__name__
        assert "INSERT" not in str(caught.value)


@SERVERS
async def test_values_that_only_the_server_checks(database: Database) -> None:
    """Past the checks of create, the servers refuse them themselves; SQLite would take them."""
    statements = (
        "INSERT INTO trial_gauges (name) VALUES ('hunter2 is too long')",
        "INSERT INTO trial_gauges (name, level) VALUES ('g', 99999999999)",
    )
    for statement in statements:
        async with await Model.get_session() as session:
            with pytest.raises(InvalidValue) as caught:
                await execute(session, statement)
            assert "hunter2" not in str(caught.value)


async def test_a_missing_table_or_column_is_a_mistake_of_the_deployment(database: Database) -> None:
    """The message names what is missing, and the fix."""
    with pytest.raises(SchemaError, match=r"create_tables.*trial_untabled"):
        await Untabled.create(name="a")
    with pytest.raises(SchemaError, match=r"create_tables.*trial_untabled"):
        await Untabled.all()
    async with await Model.get_session() as session:
        with pytest.raises(SchemaError, match="nothing_of_it"):
            await execute(session, "SELECT nothing_of_it FROM trial_gauges")


# --- connections ---


@SERVERS
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"port": 1}, DatabaseUnavailable),
        ({"host": "nowhere.invalid"}, DatabaseUnavailable),
        ({"password": "hunter2"}, SchemaError),
        ({"username": "nobody"}, SchemaError),
        ({"database": "nonesuch"}, SchemaError),
    ],
    ids=str,
)
async def test_a_connection_that_is_not_made_says_why(
    database: Database, change: dict[str, Any], expected: type[DatabaseError]
) -> None:
    """Alike from a verb and from a session of one's own; neither shows a password."""
    url = database.engine.url.set(**change).render_as_string(hide_password=False)
    other = Database(url)
    async with other.session() as session:
        attempts = (
            other.ping(),
            other.all(Gauge),
            other.create(Gauge, {"name": "g"}),
            session.execute(text("SELECT 1")),
        )
        for attempt in attempts:
            with pytest.raises(expected) as caught:
                await attempt
            assert not {"hunter2", "secret"} & set(str(caught.value).replace("'", " ").split())
    await other.close()


@SERVERS
async def test_an_option_that_the_driver_does_not_know_is_a_configuration_error(database_url: str) -> None:
    """A typing error in the URL does not look like an outage."""
    database = Database(f"{database_url}?nonsense=1")
    with pytest.raises(ConfigurationError, match="nonsense"):
        await database.ping()
    await database.close()


@pytest.mark.parametrize("fresh_database", ["mariadb"], indirect=True)
async def test_mariadb_is_reached_by_a_unix_socket(fresh_database: FreshDatabase) -> None:
    """The path is an option of the URL."""
    assert fresh_database.server is not None
    socket = next(fresh_database.server.folder.rglob("mariadb.sock"))
    name = fresh_database.url.rpartition("/")[2]
    database = Database(f"mariadb://mqueduct:secret@/{name}?unix_socket={socket}")
    await database.ping()
    await database.close()


async def test_an_exhausted_pool_is_an_outage(database: Database) -> None:
    """The message names the setting; closing the sessions ends it."""
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(3):
            session = await stack.enter_async_context(await Model.get_session())
            await session.execute(text("SELECT 1"))
        with pytest.raises(DatabaseUnavailable, match="DB_POOL_SIZE"):
            await Gauge.all()
    assert [] == await Gauge.all()


@SERVERS
async def test_a_killed_connection_is_an_outage_of_one_attempt(
    fresh_database: FreshDatabase, database: Database
) -> None:
    """While idle or in the middle of a statement; the pool replaces it by itself."""
    postgres = fresh_database.kind == "postgres"
    own_id = "SELECT pg_backend_pid()" if postgres else "SELECT connection_id()"
    kill = "SELECT pg_terminate_backend({})" if postgres else "KILL {}"
    for statement in ("SELECT 1", "SELECT pg_sleep(0.9)" if postgres else "SELECT sleep(0.9)"):
        async with sessions() as (victim, killer):
            number = await victim.scalar(text(own_id))
            running = asyncio.create_task(execute(victim, statement)) if "sleep" in statement else None
            await asyncio.sleep(0.1 if running else 0)
            await killer.execute(text(kill.format(number)))
            with pytest.raises(DatabaseUnavailable):
                # PostgreSQL's client may notice the end only at the second statement.
                await (running or execute(victim, *[statement] * 3))
    await database.ping()


@SERVERS
async def test_a_statement_that_takes_too_long_is_ended(fresh_database: FreshDatabase, database: Database) -> None:
    """The server itself ends it after statement_timeout."""
    slow = "SELECT pg_sleep(60)" if fresh_database.kind == "postgres" else "SELECT sleep(60)"
    async with await Model.get_session() as session:
        with pytest.raises(DatabaseUnavailable):
            await execute(session, slow)


@SERVERS
async def test_a_read_only_database_is_an_outage(fresh_database: FreshDatabase, database: Database) -> None:
    """A standby will be promoted: the rows are not at fault."""
    async with await Model.get_session() as session:
        with pytest.raises(DatabaseUnavailable):
            await execute(
                session,
                "SET TRANSACTION READ ONLY" if fresh_database.kind == "postgres" else "START TRANSACTION READ ONLY",
                "INSERT INTO trial_gauges (name) VALUES ('g')",
            )


@SERVERS
async def test_locks_and_deadlocks_are_outages(fresh_database: FreshDatabase, database: Database) -> None:
    """Trying again helps."""
    postgres = fresh_database.kind == "postgres"
    impatient = "SET lock_timeout = '50ms'" if postgres else "SET innodb_lock_wait_timeout = 0"
    update = "UPDATE trial_gauges SET level = 1 WHERE name = '{}'"
    for name in "ab":
        await Gauge.create(name=name)
    async with sessions() as (one, two):
        await execute(one, update.format("a"))
        with pytest.raises(DatabaseUnavailable):
            await execute(two, impatient, update.format("a"))
    async with sessions() as (one, two):
        for session in (one, two):
            await execute(session, "SET lock_timeout = 0" if postgres else "SET innodb_lock_wait_timeout = 50")
            await execute(session, "SET statement_timeout = 0" if postgres else "SET max_statement_time = 0")
        await execute(one, update.format("a"))
        await execute(two, update.format("b"))
        crossing = (execute(one, update.format("b")), execute(two, update.format("a")))
        results = await asyncio.gather(*crossing, return_exceptions=True)
    assert [Contention] == [type(result) for result in results if result is not None]


@pytest.mark.parametrize("fresh_database", ["postgres"], indirect=True)
async def test_a_migration_under_a_running_service_is_survived(database: Database) -> None:
    """Plans that it outdated are an outage of one attempt."""
    select = "SELECT * FROM trial_gauges"
    async with sessions() as (reader, migration):
        await execute(reader, select)
        await reader.commit()
        await execute(migration, "ALTER TABLE trial_gauges ADD COLUMN extra integer")
        await migration.commit()
        # Told only in a transaction; DDL through the same engine would have renewed the plans by itself.
        with contextlib.suppress(DatabaseUnavailable):
            await execute(reader, select)
        await reader.rollback()
        await execute(reader, select)


@pytest.mark.parametrize("fresh_database", ["sqlite"], indirect=True)
async def test_a_locked_read_only_or_full_sqlite_file_is_an_outage(database: Database) -> None:
    """None of it is the row's fault."""
    path = database.engine.url.database
    assert path is not None
    other = sqlite3.connect(path)
    other.execute("BEGIN IMMEDIATE")
    insert = "INSERT INTO trial_gauges (name) VALUES (hex(randomblob(5)))"
    async with await Model.get_session() as session:
        with pytest.raises(DatabaseUnavailable, match="locked"):
            await execute(session, "PRAGMA busy_timeout = 1", insert)
        await session.rollback()
        other.close()
        with pytest.raises(DatabaseUnavailable, match="readonly"):
            await execute(session, "PRAGMA query_only = 1", insert)
        await session.rollback()
        with pytest.raises(DatabaseUnavailable, match="full"):
            await execute(session, "PRAGMA query_only = 0", "PRAGMA max_page_count = 1", *[insert] * 5000)


# --- no room ---


@pytest.mark.parametrize("fresh_database", ["postgres"], indirect=True)
@pytest.mark.parametrize("rest", [0, 4096])
async def test_a_file_that_must_not_grow_is_an_outage(
    database: Database, fresh_database: FreshDatabase, rest: int
) -> None:
    """In a session as in a flush; PostgreSQL calls it a full disk where part of a page fits, or an internal error."""
    server = fresh_database.server
    assert server is not None
    rows = "SELECT repeat('x', 1900) AS content FROM generate_series(1, {})"
    async with sessions() as (one, two):
        # Longer than a file of the write-ahead log, without which the server could not live.
        await execute(one, "CREATE TABLE large AS " + rows.format(12_000))
        await one.commit()
        server.limit_files(await one.scalar(text("SELECT pg_relation_size('large')")) + rest)
        try:
            with pytest.raises(DatabaseUnavailable, match="could not extend file"):
                await execute(two, "INSERT INTO large " + rows.format(100))
        finally:
            server.limit_files(None)
        await two.rollback()
        await execute(two, "INSERT INTO large " + rows.format(100))
        assert 12_100 == await two.scalar(text("SELECT count(*) FROM large"))
