"""The topic filters that brokers hold for our client ids, remembered over restarts."""

import json
from collections.abc import Mapping

from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncEngine

from core.database.metadata import subscription_table
from core.database.own_work import own_work

__all__ = ["FilterMemory"]


class FilterMemory:
    """Notes in the database which filters were subscribed by whom.

    Args:
        engine: Of the database.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def remember_filters(self, client_id: str, filters: Mapping[str, int]) -> None:
        """Note which topic filters the broker holds for a client id.

        Args:
            client_id: Names the session.
            filters: QoS by topic filter.
        """
        table = subscription_table
        async with own_work(self._engine) as connection:
            await connection.execute(delete(table).where(table.c.client_id == client_id))
            await connection.execute(
                insert(table).values(client_id=client_id, filters=json.dumps(dict(filters), sort_keys=True))
            )

    async def remembered_filters(self, client_id: str) -> dict[str, int]:
        """The topic filters noted for a client id, QoS by filter; empty for a new one."""
        table = subscription_table
        async with own_work(self._engine) as connection:
            found = await connection.scalar(select(table.c.filters).where(table.c.client_id == client_id))
        return json.loads(found) if found else {}

    async def forget_filters(self, client_id: str) -> None:
        """The session of a client id is no more."""
        table = subscription_table
        async with own_work(self._engine) as connection:
            await connection.execute(delete(table).where(table.c.client_id == client_id))

    async def remembered_client_ids(self, prefix: str) -> list[str]:
        """The client ids that begin with some text and for which filters are noted."""
        table = subscription_table
        statement = select(table.c.client_id).where(table.c.client_id.startswith(prefix, autoescape=True))
        async with own_work(self._engine) as connection:
            return list(await connection.scalars(statement))
