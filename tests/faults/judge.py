"""The judge: compares what the publisher was promised with what is in the database."""

import asyncio
import hashlib
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple, Self

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from tests.faults.witness import number_in

__all__ = ["Judge", "Verdict"]

_RETRY = 0.05
_NO_TABLE = ("does not exist", "doesn't exist", "no such table")


class Verdict(NamedTuple):
    """What was found; the last four must be zero.

    Attributes:
        acknowledged: Messages that the broker took over.
        rows: Rows of them.
        dead: Dead letters of them.
        lost: Acknowledged messages that are neither.
        duplicates: Rows too many.
        altered: Rows whose payload is not what was published.
        both: Messages that are a row and a dead letter.
    """

    acknowledged: int
    rows: int
    dead: int
    lost: int
    duplicates: int
    altered: int
    both: int

    @property
    def kept(self) -> bool:
        """Whether the promise was kept."""
        return not (self.lost or self.duplicates or self.altered or self.both)


class Judge:
    """A client of the database that shares no code with the service."""

    def __init__(self, url: str, source: str, log: Path) -> None:
        """Describe it.

        Args:
            url: The database.
            source: The publisher's name.
            log: The publisher's log.
        """
        self._source = source
        self._log = log
        self._engine = create_async_engine(url, isolation_level="AUTOCOMMIT", poolclass=NullPool)
        self._connection: AsyncConnection | None = None
        self._asking = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._forget_connection()
        await self._engine.dispose()

    async def verdict(self) -> Verdict:
        """Compare everything."""
        promised = self._promised()
        rows = await self.ask("SELECT number, payload FROM facts WHERE source = :source")
        dead = Counter(await self._dead_letters())
        counts = Counter(number for number, _ in rows)
        altered = [number for number, payload in rows if promised.get(number, "") not in ("", _digest(payload))]
        return Verdict(
            acknowledged=len(promised),
            rows=len(counts),
            dead=len(dead),
            lost=len(promised.keys() - counts.keys() - dead.keys()),
            duplicates=sum(counts.values()) - len(counts) + sum(dead.values()) - len(dead),
            altered=len(altered),
            both=len(counts.keys() & dead.keys()),
        )

    async def seen(self, numbers: Collection[int]) -> set[int]:
        """Which of some messages are rows or dead letters by now; waits while the database is away."""
        listed = ", ".join(map(str, numbers))
        rows = await self.ask(f"SELECT number FROM facts WHERE source = :source AND number IN ({listed})")  # noqa: S608
        found = {number for (number,) in rows}
        return found if found >= set(numbers) else found | set(await self._dead_letters())

    async def rows(self) -> int:
        """How many messages are rows."""
        return int((await self.ask("SELECT count(*) FROM facts WHERE source = :source"))[0][0])

    async def settled(self) -> int:
        """How many messages are rows or dead letters."""
        return await self.rows() + len(set(await self._dead_letters()))

    async def bury(self, client_id: str) -> None:
        """Give back the lease of a process that was killed, for which the next start would wait."""
        statement = "UPDATE mqueduct_leases SET holder = NULL WHERE client_id = :client_id"
        async with self._engine.connect() as connection:
            await connection.execute(sa.text(statement), {"client_id": client_id})

    async def _dead_letters(self) -> list[int]:
        letters = await self.ask("SELECT payload FROM dead_letters", missing=[])
        numbers = [number_in(bytes(payload)) for (payload,) in letters]
        return [number for number in numbers if number is not None]

    def _promised(self) -> dict[int, str]:
        lines = [line.split() for line in self._log.read_text().splitlines()]
        return {int(number): digest for number, _, digest in lines}

    async def ask(self, statement: str, missing: list[sa.Row[Any]] | None = None) -> list[sa.Row[Any]]:
        """Ask as often as it takes; a table that is not there has no rows."""
        while True:
            try:
                async with self._asking:
                    connection = await self._connected()
                    values = {"source": self._source} if ":source" in statement else {}
                    return list(await connection.execute(sa.text(statement), values))
            except (exc.DBAPIError, OSError) as error:
                await self._forget_connection()
                if missing is not None and any(words in str(error) for words in _NO_TABLE):
                    return missing
            await asyncio.sleep(_RETRY)

    async def _connected(self) -> AsyncConnection:
        if self._connection is None:
            self._connection = await self._engine.connect()
        return self._connection

    async def _forget_connection(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                await connection.invalidate()
                await connection.close()
            except (exc.SQLAlchemyError, OSError):
                pass


def _digest(payload: str) -> str:
    return hashlib.sha256(payload.encode()).hexdigest()
