"""A database for one test."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from core.database.database import Database
from core.database.isolation import isolated
from core.model import Model

__all__ = ["database"]


@asynccontextmanager
async def database(url: str | None = None, **options: Any) -> AsyncIterator[Database]:
    """Give one test a database of its own, with the tables of all models that are imported.

    ``async with testing.database(): ...`` in a fixture or a test. It is installed on ``Model`` until the end of the
    block, when everything in it is gone.

    Args:
        url: Of a database that may be used for tests, where each gets a schema (PostgreSQL), a database (MariaDB,
            MySQL) or a file (SQLite) of its own; nothing else in it is touched. Without one: SQLite in memory.
        options: Of ``Model.configure``.

    Yields:
        The database.

    Raises:
        SchemaError: The user may not create schemas or databases.
        DatabaseUnavailable: The database cannot be reached.
    """
    async with AsyncExitStack() as stack:
        place: dict[str, Any] = {}
        if url is not None:
            url, place = await stack.enter_async_context(isolated(url))
        own = Database(url or "sqlite://", **place, **options)
        stack.push_async_callback(own.close)
        await own.create_tables()
        former = Model.database() if Model._is_enabled else None
        Model.install(own)
        stack.callback(Model.install, former)
        yield own
