"""Text that tries to be SQL, wherever a stranger may put text."""

import itertools

import pytest
from sqlalchemy import func, select

from core.database.database import Database
from core.exceptions import InvalidCursor, InvalidQuery
from core.model import Model
from core.query import cursor_paginate, fetch, paginate, search
from core.query.filters import OPERATORS
from tests.integration.query.models import Item

TRIES = [
    "'; DROP TABLE query_items; --",
    '"; DROP TABLE query_items; --',
    "`; DROP TABLE query_items; --",
    "1 OR 1=1",
    "' OR ''='",
    "\\' OR 1=1; -- ",
    "%' OR '1'='1",
    "id) UNION SELECT * FROM query_items --",
    "${jndi}",
    "{0.__class__}",
    "%(id)s",
    ":id",
    "?",
    "__class__",
    "metadata",
    "query_items.id",
]


@pytest.fixture
async def items(database: Database) -> None:
    async with await Model.get_session() as session:
        session.add_all([Item(code=f"code-{number}", at=number) for number in range(3)])
        await session.commit()


async def test_values_are_values(items: None) -> None:
    """Whatever a filter is compared with, no row matches that should not, and none is lost."""
    for operator, attempt in itertools.product(OPERATORS, TRIES):
        if operator in {"ne", "isnull", "lt", "lte", "gt", "gte", "between"}:
            continue  # these match rows of right
        try:
            found = await fetch(search(Item, {f"code__{operator}": [attempt] if operator == "in" else attempt}))
        except InvalidQuery:
            continue
        assert (operator, attempt, []) == (operator, attempt, found)
    async with await Model.get_session() as session:
        assert 3 == await session.scalar(select(func.count()).select_from(Item))


async def test_names_are_names(items: None) -> None:
    """Neither the name of a filter, nor its operator, nor an order becomes part of a statement."""
    for attempt in TRIES:
        for filters, order_by, direction in (
            ({attempt: 1}, None, "asc"),
            ({f"code__{attempt}": 1}, None, "asc"),
            ({f"{attempt}__eq": 1}, None, "asc"),
            (None, attempt, "asc"),
            (None, "code", attempt),
        ):
            with pytest.raises(InvalidQuery):
                await fetch(search(Item, filters, order_by, direction))


async def test_pages_are_numbers(items: None) -> None:
    """Neither a page, nor its size, nor a cursor becomes part of a statement."""
    statement = select(Item).order_by(Item.id)
    for attempt in TRIES:
        for wrong in ({"page": attempt}, {"per_page": attempt}):
            with pytest.raises(InvalidQuery):
                await paginate(statement, **wrong)  # type: ignore[arg-type]
        with pytest.raises(InvalidCursor):
            await cursor_paginate(statement, after=attempt)
