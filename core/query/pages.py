"""Numbered pages, for lists that people leaf through."""

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import Select, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from core.exceptions import InvalidQuery
from core.query.entities import check_plain
from core.query.execution import items_of, reading
from core.query.ordering import with_ties_broken

__all__ = ["Page", "paginate", "whole_number"]

T = TypeVar("T")

_LAST_OFFSET = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One numbered page.

    Attributes:
        items: Its rows.
        page: Its number, from 1.
        per_page: Rows of a full page.
        total: Rows of all pages.
    """

    items: list[T]
    page: int
    per_page: int
    total: int

    @property
    def pages(self) -> int:
        """How many pages there are; 0 when there are no rows."""
        return -(-self.total // self.per_page)


async def paginate(
    statement: Select[Any],
    page: int = 1,
    per_page: int = 50,
    *,
    max_per_page: int = 1000,
    session: AsyncSession | None = None,
) -> Page[Any]:
    """Read one numbered page of a select, with two statements.

    The database reads all pages before this one and throws them away, and counts all rows: for far pages
    of large tables, and while rows are being added, ``cursor_paginate`` is better.

    Args:
        statement: Any select without limit. Rows that its order leaves equal are ordered by primary key.
        page: From 1; a page behind the last one is empty.
        per_page: Rows per page.
        max_per_page: The largest ``per_page`` that is allowed.
        session: Runs the statements; without one a session of the installed database does.

    Raises:
        InvalidQuery: A number is out of bounds, or the select has a limit of its own.
    """
    check_plain(statement, "paginate", grouped=True, distinct=True)
    per_page = whole_number("per_page", per_page, max_per_page)
    page = whole_number("page", page, _LAST_OFFSET // per_page)
    offset = (page - 1) * per_page
    async with reading(session) as open_session:
        total = await open_session.scalar(_counted(statement)) or 0
        items: list[Any] = []
        if offset < total:
            wanted = with_ties_broken(statement).limit(per_page).offset(offset)
            items = items_of(statement, await open_session.execute(wanted))
    return Page(items, page, per_page, total)


def whole_number(name: str, value: object, most: int) -> int:
    """Check a number that comes from outside.

    Raises:
        InvalidQuery: It is no whole number between 1 and ``most``.
    """
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise InvalidQuery(f"{name} must be a whole number from 1 to {most}")
    return value


def _counted(statement: Select[Any]) -> Select[int]:
    rows = statement.order_by(None).subquery()
    return select(func.count()).select_from(rows).execution_options(**statement.get_execution_options())
