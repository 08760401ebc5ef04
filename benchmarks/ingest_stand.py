"""The test stand: one private database server, and for each run an empty database and a fresh broker."""

import contextlib
import shutil
import statistics
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import psutil
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

import app.models  # noqa: F401 - fills the metadata
from core.database.metadata import metadata
from benchmarks.load.workload import FIRST_INSTANT
from benchmarks.peers.tables import bare_commits
from tests.servers import MariaDB, Mosquitto, PostgreSQL

__all__ = ["Bench", "Kind", "Readings", "Stand", "open_stand"]


class Kind(StrEnum):
    """Which database."""

    POSTGRES = "postgres"
    MARIADB = "mariadb"
    SQLITE = "sqlite"


# Nothing is dropped, clients of MQTT 3.1.1 get as much at once as the others, small packets do not wait for each other
# (Nagle's algorithm with delayed acknowledgements adds 40 ms to some messages), and the log stays small.
_BROKER = {
    "max_inflight_messages": 0,
    "max_queued_messages": 0,
    "set_tcp_nodelay": True,
    "log_type": "warning",
    "connection_messages": False,
}


class Readings:
    """A second connection to the database, which looks at ``sensor_readings`` without getting in the way."""

    def __init__(self, connection: AsyncConnection) -> None:
        self.connection = connection

    async def highest_id(self) -> int:
        """The highest committed id: one step in an index, never less than the number of rows."""
        return await self._number("SELECT max(id) FROM sensor_readings")

    async def count(self) -> int:
        """The number of committed rows."""
        return await self._number("SELECT count(*) FROM sensor_readings")

    async def distinct(self) -> int:
        """The number of different natural keys."""
        return await self._number(
            "SELECT count(*) FROM (SELECT DISTINCT device_id, sensor_id, sensor_type, timestamp"
            " FROM sensor_readings) AS readings"
        )

    async def _number(self, statement: str) -> int:
        return int(await self.connection.scalar(text(statement)) or 0)


@dataclass(frozen=True, slots=True)
class Bench:
    """What one run gets.

    Attributes:
        broker: A broker without clients.
        url: SQLAlchemy URL of a database with empty tables.
        readings: A look at the table.
    """

    broker: Mosquitto
    url: str
    readings: Readings


class Stand:
    """A database server that lives for all runs.

    Args:
        kind: Which database.
        folder: For files of ours.
    """

    def __init__(self, kind: Kind, folder: Path) -> None:
        self.kind = kind
        self.server = {Kind.POSTGRES: PostgreSQL, Kind.MARIADB: MariaDB}.get(kind, lambda **_: None)(durable=True)
        self._folder = folder
        self._runs = 0

    @contextlib.asynccontextmanager
    async def bench(self) -> AsyncIterator[Bench]:
        """Prepare a run, and clean up after it."""
        self._runs += 1
        name = f"run_{self._runs}"
        url = self._create(name)
        try:
            await _create_tables(url)
            engine = create_async_engine(url, isolation_level="AUTOCOMMIT")
            with Mosquitto(_BROKER) as broker:
                async with engine.connect() as connection:
                    yield Bench(broker, url, Readings(connection))
            await engine.dispose()
        finally:
            self._drop(name)

    async def bare_commit_ms(self, number: int = 300) -> float:
        """Milliseconds of one INSERT with its COMMIT, the median; says how fast the disk is."""
        name = "bare"
        url = self._create(name)
        try:
            await _create_tables(url)
            return statistics.median(await bare_commits(url, number, FIRST_INSTANT)) * 1000
        finally:
            self._drop(name)

    def database_cpu(self) -> float:
        """Seconds of processor time that the database server has used so far; 0 for SQLite, which has none."""
        return cpu_of(self.server.pid) if self.server is not None else 0.0

    def _create(self, name: str) -> str:
        if self.server is None:
            return f"sqlite+aiosqlite:///{self._folder / name}.db"
        url = self.server.create_database(name)
        if self.kind is Kind.POSTGRES:
            self.server.sql("checkpoint")  # what a former run has left to do must not fall into this one
        return url

    def _drop(self, name: str) -> None:
        if self.server is not None:
            self.server.drop_database(name)
        for file in self._folder.glob(f"{name}.db*"):
            file.unlink()


@contextlib.contextmanager
def open_stand(kind: Kind) -> Iterator[Stand]:
    """Start the database server of a stand, and remove everything at the end."""
    folder = Path(tempfile.mkdtemp(prefix="mqueduct-bench-"))
    try:
        stand = Stand(kind, folder)
        with stand.server or contextlib.nullcontext():
            yield stand
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def cpu_of(pid: int) -> float:
    """Seconds of processor time of a process and its children, those that have ended included."""
    main = psutil.Process(pid)
    total = 0.0
    for process in [main, *main.children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            total += sum(process.cpu_times()[:4])
    return total


async def _create_tables(url: str) -> None:
    engine = create_async_engine(url)
    async with engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
    await engine.dispose()
