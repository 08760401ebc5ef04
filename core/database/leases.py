"""Leases in the database: which process may use a client id."""

from typing import NamedTuple

from sqlalchemy import Update, insert, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from core.database.metadata import lease_table
from core.database.own_work import own_work
from core.exceptions import UniqueViolation

__all__ = ["LeaseRow", "Leases"]

_table = lease_table


class LeaseRow(NamedTuple):
    """A lease as it was read.

    Attributes:
        holder: Who holds it; ``None`` for nobody.
        beat: Rises while the holder lives.
    """

    holder: str | None
    beat: int


class Leases:
    """The table of leases; every change is one statement, so that of two rivals exactly one succeeds.

    Args:
        engine: The database.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def read(self, client_id: str) -> LeaseRow | None:
        """Look at a lease; ``None`` if there never was one."""
        statement = select(_table.c.holder, _table.c.beat).where(_table.c.client_id == client_id)
        async with own_work(self._engine) as connection:
            row = (await connection.execute(statement)).one_or_none()
        return None if row is None else LeaseRow(row.holder, row.beat)

    async def take(self, client_id: str, holder: str, former: LeaseRow | None) -> bool:
        """Take a lease that is still as it was read.

        Args:
            client_id: What it is about.
            holder: Who takes it.
            former: What ``read`` returned.

        Returns:
            Whether it was; else somebody else was quicker, or the former holder lives.
        """
        if former is not None:
            as_read = (_table.c.holder.is_not_distinct_from(former.holder)) & (_table.c.beat == former.beat)
            statement = update(_table).where(_table.c.client_id == client_id, as_read)
            return await self._changed(statement.values(holder=holder, beat=former.beat + 1))
        try:
            async with own_work(self._engine) as connection:
                await connection.execute(insert(_table).values(client_id=client_id, holder=holder, beat=1))
        except UniqueViolation:
            return False
        return True

    async def renew(self, client_id: str, holder: str) -> bool:
        """Show that the holder lives.

        Returns:
            Whether the lease is still the holder's.
        """
        return await self._changed(self._of(client_id, holder).values(beat=_table.c.beat + 1))

    async def release(self, client_id: str, holder: str) -> None:
        """Give a lease back; the row stays and tells that the client id belongs to a service."""
        await self._changed(self._of(client_id, holder).values(holder=None, beat=_table.c.beat + 1))

    async def client_ids(self) -> list[str]:
        """The client ids for which there ever was a lease."""
        async with own_work(self._engine) as connection:
            return list(await connection.scalars(select(_table.c.client_id)))

    @staticmethod
    def _of(client_id: str, holder: str) -> Update:
        return update(_table).where(_table.c.client_id == client_id, _table.c.holder == holder)

    async def _changed(self, statement: Update) -> bool:
        async with own_work(self._engine) as connection:
            return bool((await connection.execute(statement)).rowcount)
