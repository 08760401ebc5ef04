"""The table of dead letters: what goes in, what is found there, what is removed."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import registry

from core.database import retention
from core.database.database import Database
from core.database.dead_letter_rows import letter_of, row_of
from core.database.errors import translated
from core.database.metadata import dead_letter_table, metadata
from core.database.own_work import own_work
from core.dead_letter import DeadLetter, fingerprint
from core.exceptions import InvalidValue

__all__ = ["DeadLetters", "Selection", "Summary"]

_table = dead_letter_table


class _Row:
    """What the shared flush needs of a model."""


registry(metadata=metadata).map_imperatively(_Row, _table)

_BATCH = 1000

# For so long a letter may stand for a redelivery. Packet identifiers are used again, and a device may say the same
# again: a second letter is better than none.
_RECENT = timedelta(minutes=15)


class Selection(NamedTuple):
    """Which letters are meant; what is ``None`` selects nothing out.

    Attributes:
        id: The number of one letter.
        route: Letters of this route.
        reason: Letters of this category.
        since: Letters set aside at this time or later.
        before: Letters set aside before this time.
    """

    id: int | None = None
    route: str | None = None
    reason: str | None = None
    since: datetime | None = None
    before: datetime | None = None

    @property
    def conditions(self) -> list[ColumnElement[bool]]:
        """The same in SQL."""
        equal = {_table.c.id: self.id, _table.c.route: self.route, _table.c.reason: self.reason}
        conditions = [column == value for column, value in equal.items() if value is not None]
        if self.since is not None:
            conditions.append(_table.c.failed_at >= self.since)
        if self.before is not None:
            conditions.append(_table.c.failed_at < self.before)
        return conditions


class Summary(NamedTuple):
    """A letter without its payload and traceback; ``size`` is that of the whole payload in bytes."""

    id: int
    failed_at: datetime
    reason: str
    route: str | None
    topic: str
    qos: int
    size: int
    attempts: int
    error: str


class DeadLetters:
    """The dead letters of a service.

    Args:
        database: Where they are.
        max_payload: Bytes of a payload that are kept; of a larger one only the beginning is.
    """

    def __init__(self, database: Database, max_payload: int = 8 * 2**20) -> None:
        self._database = database
        self._max_payload = max_payload

    async def add(self, letter: DeadLetter) -> bool:
        """Store a letter in the shared flush, and return after its COMMIT.

        A message that was set aside, and comes once more because its acknowledgement was lost, gets no second letter
        if it comes within minutes; a retained one never does.

        Returns:
            Whether it is a new one.

        Raises:
            DatabaseUnavailable: The database cannot serve now.
            SchemaError: The table is missing.
        """
        message = letter.message
        if (message.dup or message.retain) and await self._knows(letter):
            return False
        try:
            await self._database.insert_own(_Row, row_of(letter, self._max_payload))
        except InvalidValue:
            # Larger than the server's largest packet, for example: the beginning of it always fits.
            await self._database.insert_own(_Row, row_of(letter, 0))
        return True

    async def _knows(self, letter: DeadLetter) -> bool:
        message = letter.message
        statement = select(_table.c.id).where(_table.c.fingerprint == fingerprint(message, letter.route)).limit(1)
        if not message.retain:
            statement = statement.where(_table.c.failed_at >= letter.failed_at - _RECENT)
        async with own_work(self._database.engine) as connection:
            return await connection.scalar(statement) is not None

    async def count(self, selection: Selection = Selection()) -> int:  # noqa: B008 - immutable
        """How many letters there are."""
        statement = select(func.count()).select_from(_table).where(*selection.conditions)
        with translated():
            async with self._database.engine.connect() as connection:
                return await connection.scalar(statement) or 0

    async def list(self, selection: Selection, limit: int) -> Sequence[Summary]:
        """The newest letters, without payloads."""
        columns = [_table.c[name] for name in Summary._fields]
        statement = select(*columns).where(*selection.conditions).order_by(_table.c.id.desc()).limit(limit)
        with translated():
            async with self._database.engine.connect() as connection:
                return [Summary(*row) for row in await connection.execute(statement)]

    async def ids(self, selection: Selection) -> Sequence[int]:
        """The numbers of letters, the oldest first."""
        statement = select(_table.c.id).where(*selection.conditions).order_by(_table.c.id)
        with translated():
            async with self._database.engine.connect() as connection:
                return list(await connection.scalars(statement))

    async def get(self, number: int) -> DeadLetter | None:
        """Read a letter."""
        statement = select(_table).where(_table.c.id == number)
        with translated():
            async with self._database.engine.connect() as connection:
                row = (await connection.execute(statement)).mappings().one_or_none()
        return None if row is None else letter_of(row)

    async def take(self, session: AsyncSession, number: int) -> DeadLetter | None:
        """Read and remove a letter in a transaction; whoever else wants it waits for the end of that.

        Args:
            session: Committed or rolled back by the caller.
            number: The letter's.

        Returns:
            The letter, or ``None`` if there is none of this number.
        """
        with translated():
            row = (await session.execute(select(_table).where(_table.c.id == number).with_for_update())).mappings()
            found = row.one_or_none()
            await session.execute(delete(_table).where(_table.c.id == number))
        return None if found is None else letter_of(found)

    async def failed_again(self, number: int, letter: DeadLetter) -> None:
        """Note another attempt, and how it ended.

        Args:
            number: The letter's.
            letter: With the new reason, error, traceback and time of failure.
        """
        row: Mapping[str, Any] = row_of(letter, 0)
        new = {name: row[name] for name in ("reason", "error", "traceback", "failed_at")}
        statement = update(_table).where(_table.c.id == number)
        with translated():
            async with self._database.engine.begin() as connection:
                await connection.execute(statement.values(attempts=_table.c.attempts + 1, **new))

    async def purge(self, selection: Selection) -> int:
        """Remove letters for good, in transactions so small that a busy service does not notice.

        Returns:
            How many there were.
        """
        numbers = await self.ids(selection)
        with translated():
            for start in range(0, len(numbers), _BATCH):
                some = numbers[start : start + _BATCH]
                async with self._database.engine.begin() as connection:
                    await connection.execute(delete(_table).where(_table.c.id.in_(some)))
        return len(numbers)

    async def prune(self, before: datetime) -> int:
        """Remove the letters that were set aside before a time, in small transactions; returns how many there were."""
        return await retention.prune(self._database, _Row, _table.c.failed_at, before, _BATCH)
