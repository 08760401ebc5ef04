"""The disk fills up under each database; there is room again some time later, and nothing is missing."""

import abc
import asyncio
import contextlib
import itertools
import re
import resource
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Never

import pytest
from sqlalchemy import make_url

from tests.conftest import FreshDatabase
from tests.faults.combinations import ON_POSTGRES, ON_SQLITE
from tests.faults.conftest import Begin
from tests.faults.test_databases import HELD, SERVED
from tests.faults.trial import Trial
from tests.servers import MariaDB, ServerFailed

_PAGE = 8192

_OTHERS = "INSERT INTO facts (source, number, lane, payload) SELECT '{}', n, 'lane', repeat('x', 1900) FROM {}"


class Disk(abc.ABC):
    """What a database writes to.

    Attributes:
        complaint: What is said of a full one, as a regular expression.
    """

    complaint: str

    @abc.abstractmethod
    def fill(self, trial: Trial) -> None:
        """Leave hardly any room."""

    @abc.abstractmethod
    def clear(self, trial: Trial) -> None:
        """Make room."""


class SQLiteFile(Disk):
    """A file of SQLite's that must not grow."""

    complaint = "disk I/O error"

    def __init__(self, database: FreshDatabase) -> None:
        self._path = Path(str(make_url(database.url).database))

    def fill(self, trial: Trial) -> None:
        size = max(file.stat().st_size for file in self._path.parent.glob(f"{self._path.name}*"))
        # The soft limit alone, so that it can be raised again.
        self._limit(trial, size + 50_000)

    def clear(self, trial: Trial) -> None:
        self._limit(trial, resource.RLIM_INFINITY)

    def _limit(self, trial: Trial, size: int) -> None:
        resource.prlimit(trial.service.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


class SQLitePages(Disk):
    """A database of SQLite's with all its pages in use; rows that somebody else deletes leave free ones."""

    complaint = "database or disk is full"
    pages = 2000

    def __init__(self, database: FreshDatabase) -> None:
        self._path = str(make_url(database.url).database)

    def fill(self, trial: Trial) -> None:
        with contextlib.closing(sqlite3.connect(self._path, timeout=30, isolation_level=None)) as connection:
            (used,), (bytes_each,) = (connection.execute(f"PRAGMA page_{of}").fetchone() for of in ("count", "size"))
            connection.execute("CREATE TABLE others (content)")
            connection.execute("INSERT INTO others VALUES (zeroblob(?))", [(self.pages - used - 20) * bytes_each])

    def clear(self, trial: Trial) -> None:
        with contextlib.closing(sqlite3.connect(self._path, timeout=30, isolation_level=None)) as connection:
            connection.execute("DELETE FROM others")


class ServerFile(Disk):
    """A table of a server's that must not grow.

    Attributes:
        numbers: A table of so many numbers, called n.
        length: Asks for the length of the table's file.
        room: Bytes that it may grow by.
    """

    numbers: str
    length: str
    room: int

    def __init__(self, database: FreshDatabase) -> None:
        assert database.server is not None
        self._server = database.server
        self._database = str(make_url(database.url).database)

    def fill(self, trial: Trial) -> None:
        # The limit is for all files: this table has to be longer than those that the server needs for itself.
        self._write("many", 12_000)
        ((length,),) = self._server.sql(self.length.format(self._database), self._database)
        self._server.limit_files(int(length) + self.room)
        with pytest.raises(ServerFailed, match=self.complaint):
            self._write_for_ever()

    def clear(self, trial: Trial) -> None:
        self._server.limit_files(None)

    def _write_for_ever(self) -> Never:
        for turn in itertools.count():
            self._write(f"few-{turn}", 20)
        raise AssertionError("never")

    def _write(self, source: str, rows: int) -> None:
        self._server.sql(_OTHERS.format(source, self.numbers.format(rows)), self._database)


class PostgreSQLFile(ServerFile):
    """Its file ends amid a page: half of it can be written, which PostgreSQL calls a full disk (53100)."""

    complaint = "could not extend file"
    numbers = "generate_series(1, {}) n"
    length = "SELECT pg_relation_size('facts')"
    room = _PAGE + _PAGE // 2


class PostgreSQLPages(PostgreSQLFile):
    """Its file ends with a page, and the system says "File too large": an internal error to PostgreSQL (XX000).

    As is every error of the file system that PostgreSQL has no code for, a disk quota that is exceeded among them.
    """

    complaint = "File too large"
    room = _PAGE


class MariaDBFile(ServerFile):
    """InnoDB cannot make the table's file longer (1114)."""

    # InnoDB may try for seconds to undo a flush that did not fit, for which it may need room in its turn.
    complaint = "is full|did not answer"
    numbers = "(SELECT seq AS n FROM seq_1_to_{}) numbers"
    length = "SELECT file_size FROM information_schema.innodb_sys_tablespaces WHERE name = '{}/facts'"
    room = 1


async def fills_up(begin: Begin, database: FreshDatabase, disk: Disk, **options: str) -> None:
    """Messages are held while there is no room, and stored when there is."""
    async with begin(database=database, size=1000, settings=options) as trial:
        with trial.service:
            await trial.service.connected()
            await trial.publisher.publish(50)
            await trial.stored(50)
            await trial.ready(True)
            async with filled(disk, trial):
                trial.publisher.begin(500)
                await trial.service.until_logged(HELD)
                await trial.ready(False)
                (held,) = trial.service.events(HELD)
                assert re.search(disk.complaint, held["reason"])
            await trial.service.until_logged(SERVED)
            await trial.ready(True)
            await trial.conclude()


@contextlib.asynccontextmanager
async def filled(disk: Disk, trial: Trial) -> AsyncIterator[None]:
    """A full disk for a while; the server has to serve other tests as well."""
    try:
        await asyncio.to_thread(disk.fill, trial)
        yield
    finally:
        await asyncio.to_thread(disk.clear, trial)


@ON_SQLITE
async def test_sqlite_file_must_not_grow(begin: Begin, fresh_database: FreshDatabase) -> None:
    """The system refuses to write beyond a size."""
    await fills_up(begin, fresh_database, SQLiteFile(fresh_database))


@ON_SQLITE
async def test_sqlite_has_no_page_left(begin: Begin, fresh_database: FreshDatabase) -> None:
    """SQLite refuses by itself, and goes on with what somebody else has deleted."""
    disk = SQLitePages(fresh_database)
    await fills_up(begin, fresh_database, disk, FAULT_MAX_PAGES=str(disk.pages))


@ON_POSTGRES
@pytest.mark.parametrize("disk", [PostgreSQLFile, PostgreSQLPages])
async def test_postgresql(begin: Begin, fresh_database: FreshDatabase, disk: type[ServerFile]) -> None:
    """A table cannot grow, whichever way PostgreSQL says so."""
    await fills_up(begin, fresh_database, disk(fresh_database))


@ON_SQLITE  # only the fixture's, which is not used here
async def test_mariadb(begin: Begin, mariadb_factory: Callable[..., MariaDB]) -> None:
    """A table cannot grow."""
    server = mariadb_factory(small_files=True)
    database = FreshDatabase("mariadb", server.create_database("faults"), server)
    await fills_up(begin, database, MariaDBFile(database))
