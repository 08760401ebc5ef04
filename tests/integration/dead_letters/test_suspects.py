"""The memory of crashes: what one process leaves to the next one of its client id."""

from collections.abc import AsyncIterator

import pytest

from core.database.database import Database
from core.database.suspects import Suspects
from tests.conftest import FreshDatabase


@pytest.fixture
async def database(fresh_database: FreshDatabase) -> AsyncIterator[Database]:
    database = Database(fresh_database.url)
    await database.create_tables()
    yield database
    await database.close()


async def test_only_an_orderly_stop_is_remembered_as_one(database: Database) -> None:
    """The first start of all is no start after a crash; each client id has a memory of its own."""
    crashed = []
    for orderly in (True, False, False, True, True):
        suspects = Suspects(database.engine, "a")
        crashed.append(await suspects.begin())
        if orderly:
            await suspects.end()
    assert [False, False, True, True, False] == crashed
    assert not await Suspects(database.engine, "b").begin()


async def test_attempts_are_counted_until_they_are_forgotten(database: Database) -> None:
    """Over any number of crashes; the orderly stop forgets all of them."""
    suspects = Suspects(database.engine, "a")
    await suspects.begin()
    await suspects.count(["x", "y"])
    await Suspects(database.engine, "a").count(["y", "z"])
    await Suspects(database.engine, "b").count(["x"])
    names = ["x", "y", "z", "never"]
    assert {"x": 1, "y": 2, "z": 1} == await suspects.attempts(names)
    await suspects.forget(["y"])
    assert {"x": 1, "z": 1} == await suspects.attempts(names)
    await suspects.end()
    assert {} == await suspects.attempts(names)
    assert {"x": 1} == await Suspects(database.engine, "b").attempts(names)
