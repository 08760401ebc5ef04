"""Leases and remembered client ids on each database."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from core.database.database import Database
from core.database.filter_memory import FilterMemory
from core.database.leases import LeaseRow, Leases


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    database = Database(database_url)
    await database.create_tables()
    yield database
    await database.close()


async def test_life_of_a_lease(database: Database) -> None:
    """Taken, renewed, given back; a beat more each time, and nobody else can do it."""
    leases = Leases(database.engine)
    assert await leases.read("me") is None
    assert await leases.take("me", "one", None)
    assert LeaseRow("one", 1) == await leases.read("me")
    assert await leases.renew("me", "one")
    assert not await leases.renew("me", "other")
    assert LeaseRow("one", 2) == await leases.read("me")
    await leases.release("me", "other")
    assert LeaseRow("one", 2) == await leases.read("me")
    await leases.release("me", "one")
    assert LeaseRow(None, 3) == await leases.read("me")
    assert await leases.take("me", "other", LeaseRow(None, 3))
    assert LeaseRow("other", 4) == await leases.read("me")
    assert ["me"] == await leases.client_ids()


async def test_lease_that_changed_cannot_be_taken(database: Database) -> None:
    """Its holder has shown life since it was read."""
    leases = Leases(database.engine)
    await leases.take("me", "one", None)
    read = await leases.read("me")
    await leases.renew("me", "one")
    assert not await leases.take("me", "other", read)
    assert not await leases.take("me", "other", None)


@pytest.mark.parametrize("first", [None, LeaseRow(None, 1)], ids=["new", "free"])
async def test_rivals(database: Database, first: LeaseRow | None) -> None:
    """Of those that take one lease at the same moment exactly one succeeds."""
    leases = Leases(database.engine)
    if first is not None:
        await leases.take("me", "former", None)
        await leases.release("me", "former")
        first = await leases.read("me")
    taken = await asyncio.gather(*[leases.take("me", f"rival {number}", first) for number in range(5)])
    assert 1 == sum(taken)


async def test_client_ids_by_prefix(database: Database) -> None:
    """Texts, not patterns; forgotten ones are gone."""
    for name in ("a_b", "a_b-1", "axb-2", "b"):
        await FilterMemory(database.engine).remember_filters(name, {"x": 1})
    assert ["a_b", "a_b-1"] == sorted(await FilterMemory(database.engine).remembered_client_ids("a_b"))
    await FilterMemory(database.engine).forget_filters("a_b")
    assert ["a_b-1"] == await FilterMemory(database.engine).remembered_client_ids("a_b")
    assert {} == await FilterMemory(database.engine).remembered_filters("a_b")
