"""Suspects: which messages a process was handling when it went down, and how often they have been tried since."""

from collections.abc import Iterable, Mapping

from sqlalchemy import ColumnElement, Update, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from core.database.metadata import run_table, suspect_table
from core.database.own_work import own_work

__all__ = ["Suspects"]

_runs = run_table
_suspects = suspect_table


class Suspects:
    """The memory of one client id over crashes.

    Args:
        engine: The database.
        client_id: Names the session whose messages these are.
    """

    def __init__(self, engine: AsyncEngine, client_id: str) -> None:
        self._engine = engine
        self._client_id = client_id

    async def begin(self) -> bool:
        """Note that a process runs.

        Returns:
            Whether the process before this one went down without ``end``.
        """
        async with own_work(self._engine) as connection:
            running = await connection.scalar(select(_runs.c.running).where(_runs.c.client_id == self._client_id))
            if running is None:
                await connection.execute(insert(_runs).values(client_id=self._client_id, running=True))
            elif not running:
                await connection.execute(self._mark(running=True))
        return bool(running)

    async def end(self) -> None:
        """Note that the process stops in order: nothing is suspected any more."""
        async with own_work(self._engine) as connection:
            await connection.execute(delete(_suspects).where(_suspects.c.client_id == self._client_id))
            await connection.execute(self._mark(running=False))

    def _mark(self, *, running: bool) -> Update:
        return update(_runs).where(_runs.c.client_id == self._client_id).values(running=running)

    async def attempts(self, fingerprints: Iterable[str]) -> Mapping[str, int]:
        """How often each message was begun since the first crash; those that never were are left out."""
        statement = select(_suspects.c.fingerprint, _suspects.c.attempts).where(self._these(fingerprints))
        async with own_work(self._engine) as connection:
            return {row.fingerprint: row.attempts for row in await connection.execute(statement)}

    async def count(self, fingerprints: Iterable[str]) -> None:
        """Note that messages are about to be handled once more."""
        names = set(fingerprints)
        async with own_work(self._engine) as connection:
            known = set(await connection.scalars(select(_suspects.c.fingerprint).where(self._these(names))))
            more = update(_suspects).where(self._these(known)).values(attempts=_suspects.c.attempts + 1)
            await connection.execute(more)
            new = [{"client_id": self._client_id, "fingerprint": name, "attempts": 1} for name in sorted(names - known)]
            if new:
                await connection.execute(insert(_suspects), new)

    async def forget(self, fingerprints: Iterable[str]) -> None:
        """Messages were handled, or set aside: they are innocent."""
        async with own_work(self._engine) as connection:
            await connection.execute(delete(_suspects).where(self._these(fingerprints)))

    def _these(self, fingerprints: Iterable[str]) -> ColumnElement[bool]:
        return (_suspects.c.client_id == self._client_id) & _suspects.c.fingerprint.in_(sorted(fingerprints))
