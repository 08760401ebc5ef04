"""A database with the time series of this folder, on each kind of server."""

from collections.abc import AsyncIterator

import pytest

from core.database.database import Database
from core.database.metadata import metadata, writer_table
from core.model import Model
from tests.integration.database.timeseries.models import MODELS

TABLES = [writer_table, *(model.__table__ for model in MODELS)]


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """Installed on Model."""
    database = Model.configure(database_url, statement_timeout=30)
    async with database.engine.begin() as connection:
        await connection.run_sync(metadata.create_all, tables=TABLES)
    yield database
    await Model.cleanup()
