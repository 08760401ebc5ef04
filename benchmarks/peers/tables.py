"""The fastest idempotent insert that we know for the table ``sensor_readings``, by hand, for each database."""

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, Protocol
from urllib.parse import SplitResult, urlsplit

import msgspec

__all__ = ["Row", "Table", "bare_commits", "open_table"]

#: device_id, sensor_id, sensor_type, value, unit, timestamp in seconds since 1970
Row = tuple[str, str, str, float, str, float]

_COLUMNS = "device_id, sensor_id, sensor_type, value, unit, timestamp"


class Table(Protocol):
    """Where rows go."""

    async def insert(self, rows: Sequence[Row]) -> None:
        """Insert rows that are not there yet and return after COMMIT."""


@contextlib.asynccontextmanager
async def open_table(url: str) -> AsyncIterator[Table]:
    """Connect to the table of a database; only its own driver is imported, SQLAlchemy is not."""
    parsed = urlsplit(url)
    dialect = parsed.scheme.partition("+")[0]
    opened = {"postgresql": _postgresql, "sqlite": _sqlite}.get(dialect, _mariadb)
    async with opened(parsed) as table:
        yield table


async def bare_commits(url: str, number: int, first_instant: float) -> list[float]:
    """Insert rows one by one, each in a transaction of its own.

    Args:
        url: The database.
        number: How many rows.
        first_instant: Timestamp of the first one, in seconds; no other row may have it or one soon after.

    Returns:
        How long each took, in seconds.
    """
    taken = []
    async with open_table(url) as table:
        for n in range(number):
            began = time.perf_counter()
            await table.insert([("bare", "s1", "temperature", 20.0, "C", first_instant + n / 1000)])
            taken.append(time.perf_counter() - began)
    return taken


class _PostgreSQL:
    STATEMENT = f"""
        INSERT INTO sensor_readings ({_COLUMNS})
        SELECT d, s, k, v, u, to_timestamp(t) FROM unnest(
            $1::varchar[], $2::varchar[], $3::varchar[], $4::float8[], $5::varchar[], $6::float8[]
        ) AS reading(d, s, k, v, u, t)
        ON CONFLICT (device_id, sensor_id, sensor_type, timestamp) DO NOTHING
    """  # noqa: S608 - the columns are a constant

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._statement: Any = None

    async def insert(self, rows: Sequence[Row]) -> None:
        if self._statement is None:
            self._statement = await self._connection.prepare(self.STATEMENT)
        await self._statement.fetch(*zip(*rows, strict=True))


@contextlib.asynccontextmanager
async def _postgresql(url: SplitResult) -> AsyncIterator[Table]:
    import asyncpg

    connection = await asyncpg.connect(
        host=url.hostname, port=url.port, user=url.username, password=url.password, database=url.path[1:]
    )
    try:
        yield _PostgreSQL(connection)
    finally:
        await connection.close()


class _MariaDB:
    # One parameter to escape instead of six per row.
    STATEMENT = f"""
        INSERT INTO sensor_readings ({_COLUMNS})
        SELECT d, s, k, v, u, FROM_UNIXTIME(t) FROM JSON_TABLE(%s, '$[*]' COLUMNS (
            d VARCHAR(128) PATH '$[0]', s VARCHAR(128) PATH '$[1]', k VARCHAR(64) PATH '$[2]',
            v DOUBLE PATH '$[3]', u VARCHAR(32) PATH '$[4]', t DECIMAL(20, 6) PATH '$[5]'
        )) AS reading
        ON DUPLICATE KEY UPDATE sensor_readings.id = sensor_readings.id
    """  # noqa: S608 - the columns are a constant

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def insert(self, rows: Sequence[Row]) -> None:
        async with self._connection.cursor() as cursor:
            await cursor.execute(self.STATEMENT, (msgspec.json.encode(rows).decode(),))


@contextlib.asynccontextmanager
async def _mariadb(url: SplitResult) -> AsyncIterator[Table]:
    import aiomysql

    connection = await aiomysql.connect(
        host=url.hostname,
        port=url.port,
        user=url.username,
        password=url.password,
        db=url.path[1:],
        autocommit=True,
        charset="utf8mb4",
        init_command="SET time_zone = '+00:00'",
    )
    try:
        yield _MariaDB(connection)
    finally:
        connection.close()


class _SQLite:
    # One parameter to bind instead of six per row.
    STATEMENT = f"""
        INSERT INTO sensor_readings ({_COLUMNS})
        SELECT value->>0, value->>1, value->>2, value->>3, value->>4, value->>5 FROM json_each(?) WHERE true
        ON CONFLICT (device_id, sensor_id, sensor_type, timestamp) DO NOTHING
    """  # noqa: S608 - the columns are a constant

    def __init__(self, connection: sqlite3.Connection, thread: ThreadPoolExecutor) -> None:
        self._connection = connection
        self._thread = thread

    async def insert(self, rows: Sequence[Row]) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, self._insert, rows)

    def _insert(self, rows: Sequence[Row]) -> None:
        encoded = msgspec.json.encode([(*row[:5], _text(row[5])) for row in rows])
        with self._connection:
            self._connection.execute(self.STATEMENT, (encoded.decode(),))


def _text(instant: float) -> str:
    # As SQLAlchemy writes it: without a zone.
    return datetime.fromtimestamp(instant, UTC).isoformat(" ", "microseconds")[:-6]


@contextlib.asynccontextmanager
async def _sqlite(url: SplitResult) -> AsyncIterator[Table]:
    with ThreadPoolExecutor(1) as thread, contextlib.closing(_connect_sqlite(url.path[1:])) as connection:
        yield _SQLite(connection, thread)


def _connect_sqlite(path: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, check_same_thread=False, timeout=30)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    return connection
