"""Databases as settings make them, with the tables of the tests of writing."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from core.database.database import Database
from tests.integration.database.writes.conftest import create_tables

Open = Callable[..., Any]


@pytest.fixture
async def open_database() -> AsyncIterator[Open]:
    """Builds databases, each with the tables of the tests of writing; takes the arguments of ``Database``."""
    async with AsyncExitStack() as opened:

        async def build(url: str, **options: Any) -> Database:
            database = Database(url, **options)
            opened.push_async_callback(database.close)
            await create_tables(database)
            return database

        yield build
