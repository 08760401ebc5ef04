"""A database with the tables of the models of this folder, on each kind of server."""

from collections.abc import AsyncIterator

import pytest

from core.database.database import Database
from core.database.metadata import metadata
from core.model import Model
from tests.integration.database.writes.models import TABLES


async def create_tables(database: Database) -> None:
    async with database.engine.begin() as connection:
        await connection.run_sync(metadata.create_all, tables=TABLES)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """Installed on Model."""
    database = Model.configure(database_url, statement_timeout=10)
    await create_tables(database)
    yield database
    await Model.cleanup()
