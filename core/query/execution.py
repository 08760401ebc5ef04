"""Running selects: on the installed database, or in a session that the caller already has."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import Result, Select
from sqlalchemy.ext.asyncio import AsyncSession

from core.database.errors import translated
from core.model import Model
from core.query.entities import returns_instances

__all__ = ["dialect_name", "fetch", "items_of", "reading"]


@asynccontextmanager
async def reading(session: AsyncSession | None) -> AsyncIterator[AsyncSession]:
    """The session passed in, which stays open, or one of the installed database's own; errors are ours in both.

    Its own is that of an open transaction, or may read from a replica.
    """
    with translated():
        if session is not None:
            yield session
            return
        async with Model.database().reading() as own:
            yield own


def dialect_name(session: AsyncSession | None = None) -> str:
    """``postgresql``, ``mysql`` (MariaDB too), ``mariadb`` or ``sqlite``: where a select is going to run."""
    if session is not None:
        return session.get_bind().dialect.name
    return Model.database().engine.dialect.name


def items_of(statement: Select[Any], result: Result[Any]) -> list[Any]:
    """The rows of a result: instances where one model is selected, values for one column, else rows."""
    if returns_instances(statement):
        # Also where an eagerly joined collection repeats an instance.
        return list(result.scalars().unique())
    if len(statement.column_descriptions) == 1:
        return list(result.scalars())
    return list(result)


async def fetch(statement: Select[Any], *, session: AsyncSession | None = None) -> Sequence[Any]:
    """Run a select.

    Args:
        statement: Any select.
        session: Runs it; without one a session of the installed database does.

    Returns:
        Instances where one model is selected, values where one column is, else rows.

    Raises:
        DatabaseError: As the verbs of ``Model`` do.
    """
    async with reading(session) as open_session:
        return items_of(statement, await open_session.execute(statement))
