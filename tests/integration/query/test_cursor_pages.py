"""Cursors on each database: every row once, whatever the order, forward and backward."""

import datetime as dt
import random
import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Select, delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import aliased

from benchmarks.database_plans import sent as statements
from core.database.database import Database
from core.exceptions import ConfigurationError, InvalidCursor, InvalidQuery
from core.model import Model
from core.query import cursor_paginate, search, sign_cursors
from tests.integration.query.models import Grade, Item, Part, Shelf

COLUMNS = ("code", "label", "rank", "weight", "price", "active", "grade", "serial", "day", "at", "seen")


def rows(count: int, seed: int) -> list[dict[str, Any]]:
    """Items with many ties and NULLs."""
    chance = random.Random(seed)  # noqa: S311 - no secrets

    def one_of(*values: Any) -> Any:
        return chance.choice(values)

    return [
        {
            "code": one_of("a", "b", "B", "\u00e4", ""),
            "label": one_of(None, None, "x", "y "),
            "rank": one_of(None, -1, 0, 7),
            "weight": one_of(None, 0.1, 1 / 3, -2.5e300),
            "price": one_of(None, "1.10", "1.01"),
            "active": one_of(True, False),
            "grade": one_of(None, Grade.GOOD, Grade.POOR),
            "serial": one_of(None, "0190163d-8694-739b-aea5-966c26f8ad91", "00000000-8694-739b-aea5-966c26f8ad91"),
            "day": one_of(None, "2026-01-31", "2025-02-01"),
            "at": one_of(1000.000001, 1000.000002, 2000),
            "seen": one_of(None, 5, 6),
            "shelf_id": one_of(None, 1, 2),
        }
        for _ in range(count)
    ]


def typed(row: dict[str, Any]) -> dict[str, Any]:
    """The same in the types that sessions want."""
    makers: dict[str, Callable[[Any], Any]] = {"price": Decimal, "serial": uuid.UUID, "day": dt.date.fromisoformat}
    return {name: makers[name](value) if name in makers and value is not None else value for name, value in row.items()}


@pytest.fixture
async def items(database: Database) -> Database:
    await Shelf.insert([{"id": 1, "name": "one"}, {"id": 2, "name": "two"}])
    async with await Model.get_session() as session:
        session.add_all(Item(**typed(row)) for row in rows(60, seed=4))
        await session.commit()
    return database


async def forward(statement: Select[Any], limit: int) -> list[Any]:
    """All items of a list, page by page; checks what each page says about its neighbours."""
    page = await cursor_paginate(statement, limit=limit)
    assert page.has_previous is False
    found = page.items
    while page.has_next:
        page = await cursor_paginate(statement, after=page.next, limit=limit)
        assert page.has_previous is True
        assert page.items
        found += page.items
    return found


async def backward(statement: Select[Any], limit: int) -> list[Any]:
    """All items of a list, from its end."""
    end = (await cursor_paginate(statement, limit=1000)).next
    assert end is not None
    last = await cursor_paginate(statement, after=end, limit=1)
    assert ([], False, True) == (last.items, last.has_next, last.has_previous)
    page = await cursor_paginate(statement, before=last.previous, limit=limit)
    found = page.items
    while page.has_previous:
        page = await cursor_paginate(statement, before=page.previous, limit=limit)
        assert page.has_next is True
        assert page.items
        found = page.items + found
    return found


def clause(name: str, descending: bool, nulls: str) -> Any:
    column = getattr(Item, name)
    ordered = column.desc() if descending else column.asc()
    return {"first": ordered.nulls_first(), "last": ordered.nulls_last(), "": ordered}[nulls]


orders = st.lists(
    st.tuples(st.sampled_from(COLUMNS), st.booleans(), st.sampled_from(["", "", "first", "last"])),
    max_size=4,
    unique_by=lambda part: part[0],
)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(order=orders, limit=st.integers(1, 30))
async def test_every_row_comes_once_forward_and_backward(
    items: Database, order: list[tuple[str, bool, str]], limit: int
) -> None:
    """Any order by columns with ties and NULLs; both directions agree, and with the values that were stored."""
    statement = select(Item).order_by(*(clause(*part) for part in order))
    found = await forward(statement, max(limit, 7))
    assert 60 == len(found)
    ids = [item.id for item in found]
    assert list(range(1, 61)) == sorted(ids)
    assert ids == [item.id for item in await backward(statement, max(limit, 7))]
    if order:
        name, descending, nulls = order[0]
        first = [getattr(item, name) is None for item in found]
        nulls_first = nulls == "first" if nulls else not descending
        assert sorted(first, reverse=nulls_first) == first
        if name not in {"code", "label", "grade", "serial", "active"}:  # databases sort these in ways of their own
            values = [getattr(item, name) for item in found if getattr(item, name) is not None]
            assert sorted(values, reverse=descending) == values


async def test_one_statement_a_page(items: Database) -> None:
    """Also where rows and not instances are selected, and where related rows are joined."""
    statement = select(Item.code, Shelf.name).outerjoin(Item.shelf).order_by(Shelf.name, Item.at.desc())
    with statements(items) as sent:
        page = await cursor_paginate(statement, limit=20)
        page = await cursor_paginate(statement, after=page.next, limit=20)
    assert 2 == len(sent)
    assert ("code", "name") == page.items[0]._fields
    joined = select(Item, Shelf).join(Item.shelf).order_by(Shelf.name.desc(), Item.code)
    pairs = await forward(joined, 10)
    assert len(set(pairs)) == len(pairs)
    assert all(item.shelf_id == shelf.id for item, shelf in pairs)
    assert ["two", "one"] == list(dict.fromkeys(shelf.name for _, shelf in pairs))


async def test_rows_added_and_removed_meanwhile_neither_shift_nor_repeat_others(items: Database) -> None:
    """Those in front of the place do not matter, also when the row at the place itself is gone."""
    statement = select(Item).order_by(Item.at.desc(), Item.code)
    expected = [item.id for item in await forward(statement, 100)]
    page = await cursor_paginate(statement, limit=20)
    found = [item.id for item in page.items]
    await Item.create(code="new", at=9999)
    async with await Model.get_session() as session:
        await session.execute(delete(Item).where(Item.id.in_(found[10:])))
        await session.commit()
    while page.has_next:
        page = await cursor_paginate(statement, after=page.next, limit=20)
        found += [item.id for item in page.items]
    assert expected == found


async def test_at_the_end_one_can_ask_later_for_what_was_added(database: Database) -> None:
    """The last page's `next` is a place, and leads on as soon as there is something."""
    empty = await cursor_paginate(select(Item))
    assert ([], None, None) == (empty.items, empty.next, empty.previous)
    await Item.create(code="a", at=1)
    page = await cursor_paginate(select(Item), limit=5)
    assert page.has_next is False
    page = await cursor_paginate(select(Item), after=page.next)
    assert [] == page.items
    await Item.create(code="b", at=1)
    later = await cursor_paginate(select(Item), after=page.next)
    assert ["b"] == [item.code for item in later.items]
    back = await cursor_paginate(select(Item), before=page.previous)
    assert (["a"], True) == ([item.code for item in back.items], back.has_next)
    front = await cursor_paginate(select(Item), before=back.previous)
    assert ([], False, True) == (front.items, front.has_previous, front.has_next)
    again = await cursor_paginate(select(Item), after=front.next)
    assert ["a", "b"] == [item.code for item in again.items]


async def test_primary_keys_of_several_columns_and_aliases(database: Database) -> None:
    """Ties are broken by the whole key."""
    await Part.insert([{"id": n % 3, "at": n, "maker": "m", "kind": None} for n in range(12)])
    parts = await forward(select(Part).order_by(Part.maker), 5)
    assert sorted((part.id, part.at) for part in parts) == [(part.id, part.at) for part in parts]
    other = aliased(Part)
    assert 12 == len(await backward(select(other).order_by(other.kind.desc()), 5))


async def test_searches_are_paged_by_cursor(items: Database) -> None:
    """Filters and order from outside, one page after the other."""
    statement = search(Item, {"code__ne": "a"}, ["rank", "seen"], "desc")
    expected = await forward(statement, 1000)
    assert [item.id for item in expected] == [item.id for item in await forward(statement, 3)]
    assert all(item.code != "a" for item in expected)


async def test_cursors_of_others_are_refused(items: Database) -> None:
    """Changed, cut, of another order, of another key, for the other direction: one clear error, no statement."""
    statement = select(Item).order_by(Item.at)
    page = await cursor_paginate(statement, limit=5)
    good = page.next
    assert good is not None
    flipped = good[:30] + ("A" if good[30] != "A" else "B") + good[31:]
    others = (flipped, good[:-4], good + "AAAA", "", "x", "\u00e4", "A" * 5000, 17, "=" * 40, good + "\n")
    with statements(items) as sent:
        for cursor in others:
            with pytest.raises(InvalidCursor):
                await cursor_paginate(statement, after=cursor)
        for foreign in (select(Item).order_by(Item.at.desc()), select(Item), select(Part).order_by(Part.at)):
            with pytest.raises(InvalidCursor, match="another order"):
                await cursor_paginate(foreign, after=good)
        with pytest.raises(InvalidCursor, match="with another key"):
            await cursor_paginate(statement, after=good, key="another key, just as long")
        with pytest.raises(InvalidCursor, match="the other way"):
            await cursor_paginate(statement, before=good)
        with pytest.raises(InvalidQuery, match="give one of them"):
            await cursor_paginate(statement, before=page.previous, after=good)
    assert [] == sent


async def test_selects_that_cannot_be_paged_are_refused(database: Database) -> None:
    """Each with what to do instead."""
    for statement, problem in (
        (select(Item).order_by(func.lower(Item.code)), "needs an order by mapped columns"),
        (select(Item).order_by("code"), "needs an order by mapped columns"),
        (select(Item).limit(3), "limit"),
        (select(Item.code, func.count()).group_by(Item.code), "group_by"),
        (select(func.now()), "takes nothing from a model"),
    ):
        with pytest.raises(InvalidQuery, match=problem):
            await cursor_paginate(statement)
    with pytest.raises(InvalidQuery, match="limit must be a whole number from 1 to 1000"):
        await cursor_paginate(select(Item), limit=0)


async def test_keys(database: Database, database_url: str) -> None:
    """A key of one's own is not too short; without one, cursors work in this process only, which is told once."""
    with pytest.raises(ConfigurationError, match="16 bytes"):
        sign_cursors("short")
    await Item.create(code="a", at=0)
    page = await cursor_paginate(select(Item))
    pages = []
    with structlog.testing.capture_logs() as logs:
        for _ in range(2):
            alone = Model.configure(database_url)
            pages.append(await cursor_paginate(select(Item)))
            assert [] == (await cursor_paginate(select(Item), after=pages[-1].next)).items
            await alone.close()
    Model.install(database)
    assert ["set CURSOR_KEY to a secret that all of them share"] * 2 == [log["fix"] for log in logs]
    for other in pages:
        with pytest.raises(InvalidCursor):
            await cursor_paginate(select(Item), after=other.next)
    assert [] == (await cursor_paginate(select(Item), after=page.next, key="k" * 32)).items


async def test_a_session_of_another_engine(database: Database, database_url: str) -> None:
    """It has no key, so that one has to be given."""
    engine = create_async_engine(database_url)
    async with AsyncSession(engine) as session:
        with pytest.raises(ConfigurationError, match="pass key="):
            await cursor_paginate(select(Item), session=session)
        assert [] == (await cursor_paginate(select(Item), session=session, key=b"k" * 16)).items
    await engine.dispose()
