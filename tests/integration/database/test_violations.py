"""What is known of a violation, whichever way the row went to the database."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import delete, insert, text
from sqlalchemy.exc import DataError, IntegrityError

from core.database.database import Database
from core.database.errors import translated
from core.exceptions import (
    CheckViolation,
    ForeignKeyViolation,
    InvalidValue,
    NotNullViolation,
    UniqueViolation,
    ValueOutOfRange,
)
from core.model import Model
from tests.conftest import FreshDatabase
from tests.integration.database.models import Checked, Gauge, Sample, Site

SERVERS = pytest.mark.parametrize("fresh_database", ["postgres", "mariadb"], indirect=True)


async def by_create(fields: dict[str, Any]) -> None:
    await Gauge.create(**fields)


async def by_unit_of_work(fields: dict[str, Any]) -> None:
    async with Model.unit_of_work() as work:
        work.create(Site, code="beside")
        work.insert(Gauge, [{"name": "fine"}, fields])


async def by_session(fields: dict[str, Any]) -> None:
    async with await Model.get_session() as session:
        session.add(Gauge(**fields))
        with translated():
            await session.commit()


WAYS = pytest.mark.parametrize("write", [by_create, by_unit_of_work, by_session])

VIOLATIONS = [
    ({"name": "taken"}, UniqueViolation, ("name",), "uq_trial_gauges_name"),
    ({"name": None}, NotNullViolation, ("name",), ""),
    ({"name": "g", "site": "nowhere"}, ForeignKeyViolation, ("site",), "fk_trial_gauges_site_trial_sites"),
    ({"name": "g", "level": 0}, CheckViolation, (), "ck_trial_gauges_level"),
]


@WAYS
@pytest.mark.parametrize(("fields", "expected", "columns", "constraint"), VIOLATIONS, ids=lambda value: "")
async def test_a_violation_says_where(
    fresh_database: FreshDatabase,
    database: Database,
    write: Callable[[dict[str, Any]], Awaitable[None]],
    fields: dict[str, Any],
    expected: type[InvalidValue],
    columns: tuple[str, ...],
    constraint: str,
) -> None:
    """Kind, table and columns; ``except IntegrityError`` of a recipe for SQLAlchemy catches it too."""
    await Gauge.create(name="taken")
    with pytest.raises(expected) as caught:
        await write(fields)
    error = caught.value
    assert isinstance(error, IntegrityError)
    assert error.orig is not None
    assert "trial_gauges" == error.table
    sqlite = fresh_database.kind == "sqlite"
    # SQLite says of a foreign key only that one is broken, and names no key.
    if not (sqlite and expected is ForeignKeyViolation):
        assert columns == error.columns
    if not sqlite or expected is CheckViolation:
        assert constraint == error.constraint
    assert ["taken"] == [gauge.name for gauge in await Gauge.all()]


async def test_a_key_of_several_columns(database: Database) -> None:
    """All of them are named, in their order; so is the key of a model that no bulk statement writes."""
    await Sample.create(source="s", at=1, value=1)
    async with await Model.get_session() as session:
        session.add(Sample(source="s", at=1, value=2))
        with pytest.raises(UniqueViolation) as caught, translated():
            await session.commit()
    assert ("trial_samples", ("source", "unit", "at")) == (caught.value.table, caught.value.columns)
    checked = await Checked.create(name="c")
    async with await Model.get_session() as session:
        session.add(Checked(id=checked.id, name="d"))
        with pytest.raises(UniqueViolation) as caught, translated():
            await session.commit()
    assert ("trial_checked", ("id",)) == (caught.value.table, caught.value.columns)


async def test_a_row_that_others_refer_to_stays(fresh_database: FreshDatabase, database: Database) -> None:
    """The violation is of the table that refers to it, where the database says so."""
    await Site.create(code="s")
    await Gauge.create(name="g", site="s")
    async with await Model.get_session() as session:
        with pytest.raises(ForeignKeyViolation) as caught, translated():
            await session.execute(delete(Site))
    assert ("trial_sites" if fresh_database.kind == "sqlite" else "trial_gauges") == caught.value.table


@pytest.mark.parametrize(
    ("fields", "column"),
    [
        ({"name": "x" * 11}, "name"),
        ({"name": "g", "level": 2**40}, "level"),
        ({"name": "g", "value": float("nan")}, "value"),
        ({"name": "g", "value": 10**400}, "value"),
    ],
    ids=str,
)
async def test_what_does_not_fit_says_where(database: Database, fields: dict[str, Any], column: str) -> None:
    """Before any database sees it; ``except DataError`` catches it too."""
    with pytest.raises(ValueOutOfRange) as caught:
        await Gauge.create(**fields)
    assert isinstance(caught.value, DataError)
    assert ("trial_gauges", (column,)) == (caught.value.table, caught.value.columns)


async def impossible_time_by_session() -> None:
    async with await Model.get_session() as session:
        with translated():
            await session.execute(insert(Sample), [{"source": "s", "at": 1e30, "value": 1}])


@pytest.mark.parametrize(
    "write",
    [
        lambda: Sample.create(source="s", at=1e30, value=1),
        lambda: Sample.insert([{"source": "s", "at": -(10**400), "value": 1}]),
        lambda: Checked.create(name="c", at=float("inf")),
        lambda: Sample.update(Sample.source == "s", at="1e30"),
        impossible_time_by_session,
    ],
)
async def test_an_impossible_time_does_not_fit(database: Database, write: Callable[[], Awaitable[Any]]) -> None:
    """In bulk or alone; ``except DataError`` catches it too."""
    with pytest.raises(DataError) as caught:
        await write()
    assert isinstance(caught.value, ValueOutOfRange)


@SERVERS
@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO trial_gauges (name) VALUES ('12345678901')",
        "INSERT INTO trial_gauges (name, level) VALUES ('g', 99999999999)",
    ],
)
async def test_what_does_not_fit_past_our_own_checks(database: Database, statement: str) -> None:
    """In a session of one's own the server refuses it; SQLite takes both."""
    async with await Model.get_session() as session:
        with pytest.raises(ValueOutOfRange), translated():
            await session.execute(text(statement))
