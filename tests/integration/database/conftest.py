"""A database with the tables of the trial models, on each kind of server."""

from collections.abc import AsyncIterator

import pytest

from core.database.database import Database
from core.database.metadata import metadata, subscription_table, writer_table
from core.model import Model
from tests.integration.database.models import TABLES


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """Installed on Model; its pool is small and its timeouts are short, so that both can be reached."""
    database = Model.configure(database_url, pool_size=3, max_overflow=0, pool_timeout=0.5, statement_timeout=1)
    async with database.engine.begin() as connection:
        tables = [*TABLES, subscription_table, writer_table]
        await connection.run_sync(metadata.create_all, tables=tables)
    yield database
    await Model.cleanup()
