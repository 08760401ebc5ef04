"""Searching by what strangers send, on each database."""

import datetime as dt
import uuid
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from core.database.database import Database
from core.exceptions import InvalidQuery
from core.model import Model
from core.query import fetch, search
from core.query.filters import OPERATORS
from tests.integration.query.models import Grade, Item, Shelf, Size, Trend

FIRST = uuid.UUID("0190163d-8694-739b-aea5-966c26f8ad91")


EXAMPLES: list[tuple[str, Any, list[int]]] = [
    ("code", "Pump-1", [1]),
    ("code__eq", "PUMP-1", []),
    ("code__ne", "Pump-1", [2, 3]),
    ("label__ne", "a*[b]?", [1, 3]),
    ("label", None, [3]),
    ("label__ne", None, [1, 2]),
    ("rank", "7", [2]),
    ("rank__lt", 0, [1]),
    ("rank__lte", "-3", [1]),
    ("rank__gt", -3, [2]),
    ("rank__gte", "-3", [1, 2]),
    ("rank__in", [7, "-3"], [1, 2]),
    ("rank__in", [], []),
    ("rank__between", ["-5", 0], [1]),
    ("weight", "1.5", [2]),
    ("weight__gt", 1, [2]),
    ("price", "19.99", [2]),
    ("price__lt", 20, [2]),
    ("active", "false", [1]),
    ("active", True, [2, 3]),
    ("grade", "poor", [2]),
    ("grade__in", ["POOR", "GOOD"], [2]),
    ("trend", "down", [2]),
    ("trend__in", ["UP", "DOWN"], [2]),
    ("size", "10", [2]),
    ("size", 10, [2]),
    ("size__ne", "SMALL", [1, 2, 3]),
    ("serial", str(FIRST), [2]),
    ("serial__ne", FIRST, [1, 3]),
    ("day", "2026-01-31", [1]),
    ("day__between", [dt.date(2026, 2, 1), "2026-03-01"], [2]),
    ("at", "1970-01-01T00:33:20.5Z", [2]),
    ("at__gte", 2000.5, [2, 3]),
    ("at__lt", 2000.5, [1]),
    ("seen__isnull", True, [1, 3]),
    ("seen__isnull", "0", [2]),
    ("extra__isnull", False, [2]),
    ("code__like", "p%", [2]),
    ("code__like", "_ump-_", [1]),
    ("code__like", "p%/%", [2]),
    ("code__ilike", "PUMP%", [1, 2]),
    ("code__contains", "ump", [1, 2]),
    ("code__contains", "UMP", []),
    ("code__icontains", "UMP", [1, 2]),
    ("code__startswith", "P", [1]),
    ("code__endswith", "\\", [3]),
    ("code__contains", "/", [2]),
    ("code__startswith", "\u00c4", [3]),
    ("label__contains", "%", [1]),
    ("label__contains", "_", [1]),
    ("label__startswith", "a*[", [2]),
    ("label__endswith", "]?", [2]),
    ("label__startswith", "a?[", []),
    ("label__icontains", "0% O", [1]),
    ("label__like", "a*[_]?", [2]),
]


@pytest.fixture
async def items(database: Database) -> Database:
    """Three items; the second one has all that can be given, the third nothing that can be left out."""
    await Shelf.create(id=1, name="s")
    async with await Model.get_session() as session:
        session.add_all(
            [
                Item(code="Pump-1", at=1000, label="50% off_", rank=-3, active=False, day=dt.date(2026, 1, 31)),
                Item(
                    code="pump/2",
                    at=2000.5,
                    label="a*[b]?",
                    rank=7,
                    weight=1.5,
                    price=Decimal("19.99"),
                    grade=Grade.POOR,
                    trend=Trend.DOWN,
                    size=Size.LARGE,
                    serial=FIRST,
                    day=dt.date(2026, 2, 1),
                    seen=1,
                    extra={"a": "b"},
                ),
                Item(code="\u00c4pfel\\", at=3000),
            ]
        )
        await session.commit()
    return database


async def found(filters: dict[str, Any], **options: Any) -> list[int]:
    return sorted(item.id for item in await fetch(search(Item, filters, **options)))


async def test_operators(items: Database) -> None:
    """Each finds the same rows on every database, also with values as the query of a URL has them."""
    for name, value, expected in EXAMPLES:
        assert (name, value, expected) == (name, value, await found({name: value}))


async def test_filters_narrow_down_and_order_replaces(items: Database) -> None:
    """Rows pass all filters and the select's own conditions; the order is the one that is asked for."""
    assert [2] == await found({"code__ilike": "pump%", "rank__gt": 0})
    statement = search(select(Item).where(Item.id > 1).order_by(Item.id), {}, "at", "desc")
    assert [3, 2] == [item.id for item in await fetch(statement)]
    assert [1, 2, 3] == [item.id for item in await fetch(search(Item, None, ["active", "at"]))]
    joined = search(select(Item).join(Item.shelf, isouter=True), {"code": "Pump-1"})
    assert [1] == [item.id for item in await fetch(joined)]


async def test_columns_can_be_withheld(items: Database) -> None:
    """A filter on a column that is not shown would tell its value letter by letter."""
    assert [1] == await found({"code": "Pump-1"}, columns={"code", "at"})
    for options in ({"filters": {"label__startswith": "5"}}, {"order_by": "label"}):
        with pytest.raises(InvalidQuery, match="there is no column 'label"):
            search(Item, columns=["code", "at"], **options)  # type: ignore[arg-type]


columns = st.sampled_from(Item.__mapper__.column_attrs.keys())
strange = st.one_of(st.text(max_size=20), st.sampled_from(["shelf", "shelf__name", "code__x", "__", "id__"]))
asked = st.builds("{}__{}".format, columns, st.sampled_from(list(OPERATORS)))
names = st.one_of(columns, asked, asked, strange)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=50),
    st.text(alphabet="%_*?[]\\/'\"a", max_size=12),
    st.sampled_from(
        ["true", "GOOD", "good", "1", "-1.5", "1e400", "2026-02-30", "2026-02-28", str(FIRST), "0001-01-01"]
    ),
    st.dates(),
    st.datetimes(),
    st.decimals(),
    st.binary(max_size=5),
    st.uuids(),
)
wild = st.one_of(scalars, st.lists(scalars, max_size=4), st.dictionaries(st.text(max_size=3), scalars, max_size=2))
words = st.one_of(st.text(max_size=20), st.text(alphabet="%_*?[]\\/'\"a^-", max_size=12))
times = st.one_of(st.datetimes(), st.floats(-1e10, 1e10), st.datetimes().map(str))
fitting: dict[str, st.SearchStrategy[Any]] = {
    "code": words,
    "label": words,
    "rank": st.integers(-(2**31), 2**31 - 1),
    "weight": st.floats(allow_nan=False, allow_infinity=False),
    "price": st.decimals(-(10**7), 10**7, allow_nan=False),
    "active": st.booleans(),
    "grade": st.sampled_from(["GOOD", "poor"]),
    "serial": st.uuids(),
    "day": st.dates(),
    "at": times,
    "seen": times,
}


@st.composite
def fitting_filters(draw: st.DrawFn) -> tuple[str, Any]:
    """A column, an operator and a value such as they want."""
    column = draw(st.sampled_from(list(fitting)))
    operator = draw(st.sampled_from(list(OPERATORS)))
    one = words if operator in {"like", "ilike", "contains", "icontains", "startswith", "endswith"} else fitting[column]
    several = {"in": st.lists(one, max_size=4), "between": st.tuples(one, one), "isnull": st.booleans()}
    return f"{column}__{operator}", draw(several.get(operator, one))


some_filters = st.lists(st.one_of(fitting_filters(), fitting_filters(), st.tuples(names, wild)), max_size=2).map(dict)


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    filters=some_filters,
    order_by=st.one_of(st.none(), columns, strange),
)
async def test_whatever_comes_is_answered_or_refused(items: Database, filters: dict[str, Any], order_by: Any) -> None:
    """Nothing that a stranger can send reaches a database that does not understand it."""
    try:
        statement = search(Item, filters, order_by)
    except InvalidQuery:
        return
    assert set(await fetch(statement.with_only_columns(Item.id))) <= {1, 2, 3}
