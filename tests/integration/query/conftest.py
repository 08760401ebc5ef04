"""A database with the tables of the models of this folder, and the shipped ones, on each kind of server."""

from collections.abc import AsyncIterator

import pytest

from app.models import Device, SensorReading, User
from core.database.database import Database
from core.database.metadata import metadata, writer_table
from core.model import Model
from core.query import sign_cursors
from tests.integration.query.models import MODELS, Note

TABLES = [writer_table, *(model.__table__ for model in (*MODELS, Device, SensorReading, User))]


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """Installed on Model, its cursors signed."""
    database = Model.configure(database_url, statement_timeout=30)
    sign_cursors("k" * 32)
    async with database.engine.begin() as connection:
        await connection.run_sync(metadata.create_all, tables=TABLES)
    yield database
    await Model.cleanup()


@pytest.fixture
async def with_notes(database: Database) -> Database:
    """With the table of the notes, too."""
    async with database.engine.begin() as connection:
        await connection.run_sync(metadata.create_all, tables=[Note.__table__])
    return database
