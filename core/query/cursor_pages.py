"""Pages that follow each other by place and not by number, for lists that grow and have no end."""

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import Connection, Engine, Select
from sqlalchemy.ext.asyncio import AsyncSession

from core.database.cursor_key import CursorKey
from core.exceptions import ConfigurationError, InvalidCursor, InvalidQuery
from core.model import Model
from core.query.entities import check_plain, returns_instances
from core.query.execution import reading
from core.query.ordering import Key, beyond, keys_of
from core.query.pages import whole_number
from core.query.signatures import Place, Seal

__all__ = ["CursorPage", "cursor_paginate", "sign_cursors"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class CursorPage(Generic[T]):
    """One page of a list.

    Attributes:
        items: Its rows, in the order of the list.
        next: The cursor to give as ``after`` for the rows behind them. There is one also at the end, to
            ask later for what has been added; ``None`` only for an empty list.
        previous: The cursor to give as ``before`` for the rows in front of them.
        has_next: Whether there are rows behind them.
        has_previous: Whether there are rows in front of them.
    """

    items: list[T]
    next: str | None
    previous: str | None
    has_next: bool
    has_previous: bool


def sign_cursors(key: str | bytes) -> None:
    """Let the installed database's cursors be signed with a key that all processes of the service share.

    In a service ``CURSOR_KEY`` does this. Without either, cursors work in the process that made them, and no longer.

    Args:
        key: A secret of 16 bytes or more. With another one all cursors that are out become invalid.

    Raises:
        ConfigurationError: The key is too short.
        DatabaseNotConfigured: No database is installed.
    """
    Model.database().sign_cursors(CursorKey(key))


async def cursor_paginate(
    statement: Select[Any],
    *,
    after: str | None = None,
    before: str | None = None,
    limit: int = 50,
    max_limit: int = 1000,
    key: str | bytes | None = None,
    session: AsyncSession | None = None,
) -> CursorPage[Any]:
    """Read one page of a select, with one statement that starts at the place where another page ended.

    Rows that are added or removed meanwhile neither shift nor repeat others. With an index on the columns of
    the order, every page costs the same. NULL comes before all values where the order ascends and after them
    where it descends, unless it says ``nulls_first()`` or ``nulls_last()``.

    Args:
        statement: A select with any order by mapped columns, without limit; its rows must differ in the
            primary keys of the models that it selects. Equal rows are ordered by primary key.
        after: The ``next`` of another page; neither this nor ``before`` for the first page.
        before: The ``previous`` of another page.
        limit: Rows per page.
        max_limit: The largest ``limit`` that is allowed.
        key: Signs the cursors instead of the one given to ``sign_cursors``.
        session: Runs the statement; without one a session of the installed database does.

    Raises:
        InvalidCursor: A cursor was changed, or belongs to another order or key.
        InvalidQuery: The select or the limit is none that can be paged so.
        ConfigurationError: ``session`` has an engine of your own, and there is no ``key``.
    """
    check_plain(statement, "cursor_paginate", distinct=returns_instances(statement))
    limit = whole_number("limit", limit, max_limit)
    keys = keys_of(statement)
    async with reading(session) as open_session:
        bind = open_session.get_bind()
        seal = _seal(keys, _key_of(bind) if key is None else CursorKey(key))
        place = _place(seal, after, before)
        wanted = _page(statement, keys, place, limit, bind.dialect.name)
        result = (await open_session.execute(wanted)).freeze()
    width = len(statement.column_descriptions)
    rows = result()
    items = list(rows.columns(*range(width)) if width > 1 else rows.scalars())
    values = [tuple(row) for row in result().columns(*range(width, width + len(keys)))]
    return _described(seal, place, items, values, limit)


def _key_of(bind: Engine | Connection) -> CursorKey:
    key = bind.get_execution_options().get(CursorKey.OPTION)
    if not isinstance(key, CursorKey):
        raise ConfigurationError("the session belongs to an engine of your own; fix: pass key=")
    return key


def _seal(keys: list[Key], key: CursorKey) -> Seal:
    order = ", ".join(f"{one.name} {one.descending:d}{one.nulls_first:d}" for one in keys)
    return Seal(bytes(key), order, [getattr(one.column.type, "enum_class", None) for one in keys])


def _place(seal: Seal, after: str | None, before: str | None) -> Place | None:
    if after is not None and before is not None:
        raise InvalidQuery("a page is either after or before a cursor; fix: give one of them")
    cursor = after if before is None else before
    if cursor is None:
        return None
    place = seal.read(cursor)
    if place.forward != (before is None):
        raise InvalidCursor("this cursor leads the other way; fix: give `next` as after=, and `previous` as before=")
    return place


def _page(statement: Select[Any], keys: list[Key], place: Place | None, limit: int, dialect: str) -> Select[Any]:
    if place is not None:
        if not place.forward:
            keys = [key.reversed() for key in keys]
        statement = statement.where(beyond(keys, place.values, dialect, inclusive=place.inclusive))
    order = [clause for key in keys for clause in key.clauses(dialect)]
    values = [key.column.label(f"cursor_{number}") for number, key in enumerate(keys)]
    # One more than wanted tells whether there are more.
    return statement.add_columns(*values).order_by(None).order_by(*order).limit(limit + 1)


def _described(
    seal: Seal, place: Place | None, items: list[Any], values: list[tuple[Any, ...]], limit: int
) -> CursorPage[Any]:
    more = len(items) > limit
    items, values = items[:limit], values[:limit]
    forward = place is None or place.forward
    if not forward:
        items.reverse()
        values.reverse()
    if values:
        behind, in_front = Place(True, False, values[-1]), Place(False, False, values[0])
    elif place is not None:
        # Nothing on this side of the place: what is on the other side begins with the row on it.
        turned = Place(not forward, not place.inclusive, place.values)
        behind, in_front = (place, turned) if forward else (turned, place)
    else:
        return CursorPage([], None, None, has_next=False, has_previous=False)
    return CursorPage(
        items,
        seal.write(behind),
        seal.write(in_front),
        has_next=more if forward else True,
        has_previous=more if not forward else place is not None,
    )
