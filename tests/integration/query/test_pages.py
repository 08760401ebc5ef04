"""Numbered pages on each database."""

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import joinedload, selectinload

from benchmarks.database_plans import sent as statements
from core.database.database import Database
from core.exceptions import DatabaseNotConfigured, InvalidQuery, SchemaError
from core.model import Model
from core.query import Page, fetch, paginate
from tests.integration.query.models import Item, Shelf, Ticket


async def fill(count: int = 7) -> None:
    """Items in three shelves; every other one has the same code."""
    await Shelf.insert([{"id": number, "name": f"shelf {number}"} for number in (1, 2, 3)])
    await Item.insert(
        [{"code": f"c{number % 2}", "at": 1000 + number, "shelf_id": number % 3 + 1} for number in range(count)]
    )


async def test_pages_split_the_rows_in_order(database: Database) -> None:
    """Each row is on one page, rows of equal order included; two statements a page, however many rows."""
    await fill()
    seen = []
    for number in (1, 2, 3):
        with statements(database) as sent:
            page = await paginate(select(Item).order_by(Item.code.desc()), number, 3)
        assert 2 == len(sent)
        assert (number, 3, 7, 3) == (page.page, page.per_page, page.total, page.pages)
        seen += [(item.code, item.id) for item in page.items]
    assert sorted(seen, reverse=True) == seen
    assert 7 == len(set(seen))


async def test_pages_behind_the_last_are_empty(database: Database) -> None:
    """They say how many there are, and need no second statement."""
    await fill(2)
    with statements(database) as sent:
        assert Page([], 2, 2, 2) == await paginate(select(Item), 2, 2)
    assert 1 == len(sent)
    assert 0 == (await paginate(select(Item).where(Item.code == "none"), 1, 10)).pages
    assert [] == (await paginate(select(Item), 2**63 - 1, 1)).items


async def test_related_rows_cost_no_statement_per_row(database: Database) -> None:
    """Eager loading works with pages: of collections by a join, too, where each item is still one item."""
    await fill(9)
    for option, count in ((joinedload(Shelf.items), 2), (selectinload(Shelf.items), 3)):
        with statements(database) as sent:
            page = await paginate(select(Shelf).options(option).order_by(Shelf.id), 1, 2)
            assert [3, 3] == [len(shelf.items) for shelf in page.items]
        assert (count, 3) == (len(sent), page.total)


async def test_columns_groups_and_distinct_rows_can_be_paged(database: Database) -> None:
    """Items are values of a single column, else rows; groups and distinct rows are counted as such."""
    await fill()
    assert ["c0", "c1"] == (await paginate(select(Item.code).distinct().order_by(Item.code), 1, 5)).items
    grouped = select(Item.code, func.count().label("items")).group_by(Item.code).order_by(Item.code)
    page = await paginate(grouped, 1, 1)
    assert (2, [("c0", 4)]) == (page.total, [tuple(row) for row in page.items])
    joined = select(Item, Shelf).join(Item.shelf).order_by(Shelf.id.desc())
    (row,) = (await paginate(joined, 7, 1)).items
    assert (1, 1) == (row.Shelf.id, row.Item.id)
    assert 7 == (await paginate(select(func.max(Item.id)), 1, 5)).items[0]


async def test_hidden_rows_are_not_counted(database: Database) -> None:
    """Soft deletes hold for the total as for the items."""
    await Ticket.insert([{"owner": "a", "at": number, "is_deleted": number > 2} for number in range(1, 6)])
    page = await paginate(select(Ticket), 1, 10)
    assert (2, 2) == (page.total, len(page.items))


async def test_a_session_passed_in_is_used_and_left_open(database: Database) -> None:
    """What it has not committed is seen, and what is read belongs to it."""
    async with await Model.get_session() as session:
        session.add(Item(code="mine", at=1))
        await session.flush()
        page = await paginate(select(Item), 1, 10, session=session)
        assert ["mine"] == [item.code for item in page.items]
        assert page.items[0] in session
        assert ["mine"] == await fetch(select(Item.code), session=session)
        await session.rollback()
    assert [] == await fetch(select(Item))


@pytest.mark.parametrize(("page", "per_page"), [(0, 10), (1, 0), (1, 1001), (-1, 5), (2**63, 1), ("1", 5), (True, 5)])
async def test_numbers_out_of_bounds_are_refused(database: Database, page: int, per_page: int) -> None:
    """Nothing is sent to the database."""
    with statements(database) as sent, pytest.raises(InvalidQuery, match="must be a whole number from 1 to"):
        await paginate(select(Item), page, per_page)
    assert [] == sent


async def test_errors_are_ours(database: Database) -> None:
    """A select with a limit, a missing table, no database."""
    with pytest.raises(InvalidQuery, match=r"limit\(\) or offset\(\)"):
        await paginate(select(Item).limit(5), 1, 5)
    async with database.engine.begin() as connection:
        await connection.run_sync(Item.__table__.drop)
    with pytest.raises(SchemaError):
        await paginate(select(Item), 1, 5)
    await Model.cleanup()
    with pytest.raises(DatabaseNotConfigured):
        await paginate(select(Item), 1, 5)
