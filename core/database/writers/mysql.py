"""The writer for MariaDB and MySQL: one multi-row statement per batch over aiomysql directly."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple, cast

import aiomysql
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from core.database.atoms import Row
from core.database.flush import Batch
from core.database.options import EngineOptions
from core.database.shapes import Shape
from core.database.writers.base import Contention, RowLocked, collision, encoding, translated_driver
from core.database.writers.mysql_sql import COLLISION, MySQLStatements
from core.database.writers.read_back import read_back
from core.exceptions import DatabaseError, DatabaseUnavailable, InvalidValue

__all__ = ["MySQLWriter"]

_ERRORS = (aiomysql.MySQLError,)
_CLOSED = (aiomysql.InterfaceError,)

# Seconds. The server's smallest lock timeout; MariaDB takes 0 for "not at all".
_LOCK_TIMEOUT = 1
_FENCE_TIMEOUT = 5

# Statements of more rows are no faster.
_MOST_ROWS = 2000

# What the server's largest packet holds besides the statement.
_PACKET_HEADER = 1024


class _Answer(NamedTuple):
    """What the server says to a statement."""

    records: Sequence[Any]
    changed: int
    first_id: int


class MySQLWriter:
    """Writes flushes over one reserved aiomysql connection.

    Args:
        engine: Whose one connection is reserved for this writer, and counts changed rows.
        name: Names this writer's high-water row and its connection; letters and digits.
    """

    def __init__(self, engine: AsyncEngine, name: str, _options: EngineOptions) -> None:
        self._engine = engine
        self._name = name
        self._sql = MySQLStatements(engine.dialect, name)
        self._connection: AsyncConnection | None = None
        self._driver: aiomysql.Connection | None = None
        self._largest_packet = 2**20
        self._step = 1
        self._ids_count_up = False
        self._opened_before = False
        self.uncertain = False
        self.failing: Batch | None = None

    async def open(self) -> None:
        """Connect and end what an older connection of this writer may still be doing."""
        await self.close()
        with translated_driver(_ERRORS, _CLOSED):
            self._connection = await self._engine.connect()
            # BEGIN and COMMIT are ours to say.
            await self._connection.execution_options(isolation_level="AUTOCOMMIT")
            raw = await self._connection.get_raw_connection()
            self._driver = cast("aiomysql.Connection", raw.driver_connection)
            self._sql.learn(self._driver.get_server_info())
            await self._execute(f"SET SESSION innodb_lock_wait_timeout = {_LOCK_TIMEOUT}, autocommit = 1")
            packet, self._step = (await self._execute(self._sql.settings)).records[0]
            self._largest_packet = packet - _PACKET_HEADER
            cluster = (await self._execute("SHOW VARIABLES LIKE 'wsrep_on'")).records
            # In a cluster the step changes with the number of its members.
            self._ids_count_up = not any(value == "ON" for _, value in cluster)
            await self._take_name()
            if not self._opened_before:
                await self._prune()
            self._opened_before = True

    async def _take_name(self) -> None:
        """Hold a lock that names this writer for as long as the connection lives, and end whoever else holds it."""
        ((taken, holder),) = (await self._execute(self._sql.take_name)).records
        if taken:
            return
        if holder is not None:
            with suppress(aiomysql.OperationalError):  # it has gone by itself
                await self._execute(f"KILL {holder}")
        ((taken, _),) = (await self._execute(self._sql.wait_for_name)).records
        if not taken:
            raise DatabaseUnavailable("an older connection of this writer does not end")

    async def _prune(self) -> None:
        """Remove the rows of writers that ended long ago."""
        for (writer,) in (await self._execute(self._sql.stale)).records:
            with suppress(aiomysql.OperationalError):  # somebody else is removing it
                await self._execute(self._sql.prune, [writer])

    async def flush(self, sequence: int, batches: Sequence[Batch], *, patient: bool = True) -> None:
        """Write batches and commit."""
        self.uncertain, self.failing = False, None
        hurried = not patient and self._sql.mariadb
        try:
            with translated_driver(_ERRORS, _CLOSED):
                await self._begin(sequence, hurried)
                for batch in batches:
                    self.failing = batch
                    with translated_driver(_ERRORS, _CLOSED, batch.shape.table.name):
                        for start in range(0, len(batch.rows), _MOST_ROWS):
                            await self._write(batch, batch.rows[start : start + _MOST_ROWS])
                        if batch.readings:
                            await read_back(self._connection, batch.readings)
                self.uncertain, self.failing = True, None
                await self._execute("COMMIT")
                self.uncertain = False
        finally:
            if hurried and self._driver is not None and not self._driver.closed:
                with suppress(DatabaseError), translated_driver(_ERRORS, _CLOSED):
                    await self._execute(f"SET SESSION innodb_lock_wait_timeout = {_LOCK_TIMEOUT}")

    async def _begin(self, sequence: int, hurried: bool) -> None:
        hurry = "SET SESSION innodb_lock_wait_timeout = 0; " if hurried else ""
        try:
            with translated_driver(_ERRORS, _CLOSED):
                await self._execute(f"{hurry}BEGIN; {self._sql.advance(sequence)}")
        except RowLocked as error:
            # Not a row of any atom.
            raise Contention(str(error)) from error

    async def _write(self, batch: Batch, rows: Sequence[Row]) -> None:
        """Write rows, in as many statements as the server's largest packet demands."""
        try:
            if batch.change is not None:
                await self._send(self._sql.upsert(batch.shape, batch.change, len(rows)), rows)
            else:
                await self._insert(batch, rows)
        except aiomysql.OperationalError as error:
            if error.args[0] != COLLISION:
                raise
            raise collision(batch.shape, error) from error
        except _TooLarge:
            if len(rows) == 1:
                limit = self._largest_packet
                raise InvalidValue(f"a row is larger than the server's max_allowed_packet ({limit} bytes)") from None
            middle = len(rows) // 2
            await self._write(batch, rows[:middle])
            await self._write(batch, rows[middle:])

    async def _insert(self, batch: Batch, rows: Sequence[Row]) -> None:
        shape = batch.shape
        wants_ids = batch.wants_rows and bool(shape.generated)
        if wants_ids and not shape.key and not (self._ids_count_up and len(shape.generated) == 1):
            await self._insert_and_read(shape, rows)
            return
        answer = await self._send(self._sql.insert(shape, len(rows)), rows)
        # The server reserves the ids of one statement in one go, so that nobody else's lie between them.
        ids = range(answer.first_id, answer.first_id + len(rows) * self._step, self._step)
        if answer.changed == len(rows):
            for row, number in zip(rows, ids, strict=True):
                row.generated = (number,) if shape.generated else ()
                row.duplicate = False
            if not wants_ids or (self._ids_count_up and len(shape.generated) == 1):
                return
        await self._find_new_ones(shape, rows, answer, ids)

    async def _find_new_ones(self, shape: Shape, rows: Sequence[Row], answer: _Answer, ids: range) -> None:
        """Tell which rows were written, when some were there already, and read what the server filled in."""
        all_new = answer.changed == len(rows)
        found = await self._look(shape, rows) if answer.changed and shape.generated else {}
        for row in rows:
            row.generated = found.get(shape.key_of(row), ())
            row.duplicate = not row.generated if all_new else not row.generated or row.generated[0] not in ids
        if not all_new and answer.changed != sum(not row.duplicate for row in rows):
            # Should ids ever be given otherwise: what counts as stored before is read back, and that is right too.
            for row in rows:
                row.duplicate = True

    async def _insert_and_read(self, shape: Shape, rows: Sequence[Row]) -> None:
        """Write rows that nothing but their ids tells apart, where ids cannot be counted."""
        if self._sql.mariadb:
            records = (await self._send(self._sql.insert(shape, len(rows), returning=True), rows)).records
        else:
            records = []
            for row in rows:
                await self._send(self._sql.insert(shape, 1), [row])
                records += (await self._execute(self._sql.last(shape))).records
        for row, record in zip(rows, records, strict=True):
            row.generated = record

    async def _look(self, shape: Shape, rows: Sequence[Row]) -> dict[Any, Any]:
        """The generated values of the rows that are there, by natural key."""
        keys = [value for row in rows for value in _as_tuple(shape.key_of(row))]
        found = (await self._execute(self._sql.lookup(shape, len(rows)), keys)).records
        by_position = {record[0]: record[1:] for record in found}
        return {shape.key_of(row): by_position[n] for n, row in enumerate(rows) if n in by_position}

    async def _send(self, statement: str, rows: Sequence[Row]) -> _Answer:
        return await self._execute(statement, [value for row in rows for value in row.bound])

    async def _execute(self, statement: str, values: Sequence[Any] = ()) -> _Answer:
        driver = self._driver
        assert driver is not None, "open() comes first"
        cursor = await driver.cursor()
        try:
            with encoding():
                text = cursor.mogrify(statement, tuple(values))
            self._check_size(text)
            await cursor.execute(text)
            answer = _Answer(await cursor.fetchall(), cursor.rowcount, cursor.lastrowid or 0)
            while await cursor.nextset():
                pass
        except (AttributeError, RuntimeError, TypeError) as error:
            # A connection that was cut leaves the driver with parts missing.
            if not driver.closed:
                raise
            raise DatabaseUnavailable(f"the connection to the database was lost ({error!r})") from error
        finally:
            await cursor.close()
        return answer

    def _check_size(self, text: str) -> None:
        # In UTF-8 a character is four bytes at most.
        if len(text) * 4 > self._largest_packet:
            size = len(text.encode(errors="surrogateescape"))
            if size > self._largest_packet:
                raise _TooLarge

    async def rollback(self) -> None:
        """Give up the transaction."""
        with translated_driver(_ERRORS, _CLOSED):
            await self._execute("ROLLBACK")

    async def reached(self, sequence: int) -> bool:
        """Whether a flush was committed; waits for an older connection that is still committing."""
        try:
            with translated_driver(_ERRORS, _CLOSED):
                await self._execute(f"SET SESSION innodb_lock_wait_timeout = {_FENCE_TIMEOUT}")
                # The first statement waits for a row that is being inserted, the second for one that is being changed.
                await self._execute(self._sql.ensure)
                ((found,),) = (await self._execute(self._sql.fence)).records
                await self._execute(f"SET SESSION innodb_lock_wait_timeout = {_LOCK_TIMEOUT}")
        except RowLocked as error:
            raise Contention(str(error)) from error
        return bool(found >= sequence)

    async def close(self) -> None:
        """Give the connection back, in whatever state it is."""
        connection, self._connection, driver, self._driver = self._connection, None, self._driver, None
        if driver is not None:
            # At once: a farewell would wait for a server that may be frozen.
            driver.close()
        if connection is not None:
            with translated_driver(_ERRORS, _CLOSED):
                await connection.invalidate()
                await connection.close()


class _TooLarge(Exception):
    """A statement that the server would refuse for its length, and close the connection."""


def _as_tuple(key: Any) -> tuple[Any, ...]:
    return key if isinstance(key, tuple) else (key,)
