"""What search refuses, and the patterns it makes; tests/integration/query holds what it finds on each database."""

from collections.abc import Iterator
from typing import Any

import pytest

from benchmarks.database_plans import sent
from core.database.database import Database
from core.exceptions import InvalidQuery
from core.model import Model
from core.query import search
from core.query.filters import OPERATORS
from tests.integration.query.models import Item


@pytest.fixture
def database() -> Iterator[Database]:
    """Installed on Model; nobody connects to it."""
    yield Model.configure("sqlite://")
    Model.install(None)


@pytest.mark.parametrize(
    ("filters", "problem"),
    [
        ({"colour": 1}, "Item has no column 'colour'"),
        ({"cod": 1}, "did you mean 'code'"),
        ({"label_text": "x"}, "no column 'label_text'; did you mean 'label'"),
        ({"shelf": 1}, "no column 'shelf'"),
        ({"shelf__name": "x"}, "no column 'shelf__name'"),
        ({"__class__": 1}, "no column '__class__'"),
        ({"metadata": 1}, "no column 'metadata'"),
        ({"code; DROP TABLE query_items": 1}, "no column 'code; DROP"),
        ({17: 1}, "no column 17"),
        ({"code__regex": "x"}, "regex is no operator; there are: eq, ne"),
        ({"code": 17}, "code: must be text"),
        ({"code": "x" * 41}, "code: is 41 characters long"),
        ({"code": "a\0"}, "NUL"),
        ({"code__contains": "a\0"}, "NUL"),
        ({"code__like": "\ud800"}, "surrogate"),
        ({"code__contains": "x" * 300}, "256 characters"),
        ({"code__like": "%a" * 9}, "8 wildcards"),
        ({"rank": "seven"}, "rank: must be a whole number"),
        ({"rank": 2**40}, "32 bits"),
        ({"rank": "9" * 39}, "32 bits"),
        ({"rank": True}, "whole number"),
        ({"rank": None, "rank__lt": None}, "use isnull"),
        ({"rank__in": "123"}, "must be a list of 0 to 100 values"),
        ({"rank__in": list(range(101))}, "must be a list of 0 to 100 values"),
        ({"rank__in": [[1]]}, "whole number"),
        ({"rank__in": [None]}, "use isnull"),
        ({"rank__between": [1]}, "must be 2 values"),
        ({"rank__contains": "1"}, "is no column of text"),
        ({"grade__like": "p%"}, "is no column of text"),
        ({"grade": "bad"}, "must be one of 'good', 'poor'"),
        ({"grade__lt": "good"}, "has no order"),
        ({"size__between": [1, 10]}, "has no order"),
        ({"trend": "level"}, "must be one of 'up', 'down'"),
        ({"size": 3}, "must be one of 1, 10"),
        ({"size": True}, "must be one of 1, 10"),
        ({"weight": "nan"}, "must be a number"),
        ({"weight": float("nan")}, "finite"),
        ({"price": "1e9"}, "smaller"),
        ({"price": [1]}, "number"),
        ({"active": "perhaps"}, "true or false"),
        ({"serial": "x"}, "serial: "),
        ({"day": "yesterday"}, "day: "),
        ({"at": "soon"}, "is no time"),
        ({"at": 1e300}, "outside the years"),
        ({"extra": "{}"}, "extra can only be tested by isnull"),
        ({"seen__isnull": 2}, "true or false"),
        ({f"rank__{name}": 1 for name in OPERATORS} | {f"x{n}": 1 for n in range(9)}, "at most 20"),
        (["code"], "values by name"),
    ],
)
async def test_what_is_not_allowed_is_refused(database: Database, filters: Any, problem: str) -> None:
    """With the name of the filter and the reason; the database is not asked."""
    with sent(database) as statements, pytest.raises(InvalidQuery, match=problem):
        search(Item, filters)
    assert [] == statements


@pytest.mark.parametrize(
    ("order_by", "direction", "problem"),
    [
        ("colour", "asc", "no column 'colour'"),
        ("code", "up", "must be 'asc' or 'desc'"),
        ("code", "desc; --", "must be 'asc' or 'desc'"),
        ([], "asc", "a list of 1 to 5"),
        (["code"] * 6, "asc", "a list of 1 to 5"),
        (17, "asc", "must be a name"),
        ("extra", "asc", "only be tested by isnull"),
        ("shelf", "asc", "no column 'shelf'"),
    ],
)
async def test_orders_that_are_not_allowed_are_refused(
    database: Database, order_by: Any, direction: str, problem: str
) -> None:
    """Only columns and two directions."""
    with pytest.raises(InvalidQuery, match=problem):
        search(Item, {}, order_by, direction)
