"""Finding, counting, changing and deleting, on every database and in both spellings."""

import pytest
from sqlalchemy import event, true

from core.database.database import Database
from core.exceptions import InvalidQuery, InvalidValue, UnknownField
from core.model import Model
from tests.integration.database.models import Gauge, Sample, Site

ROWS = [{"name": name, "value": value, "level": 1} for name, value in (("a", 1.0), ("b", 2.0), ("c", 3.0))]


async def values() -> dict[str, float | None]:
    return {gauge.name: gauge.value for gauge in await Gauge.all()}


async def test_find_by_attributes(database: Database) -> None:
    """Of several rows the first by primary key; ``None`` finds NULL; values are checked as those of a new row are."""
    await Gauge.insert(ROWS)
    assert "b" == (await Gauge.find_by(name="b")).name
    assert "a" == (await Model.find_by(Gauge, level=1, site=None)).name
    assert await Gauge.find_by(name="b", value=1.0) is None
    await Sample.create(source="s", at=1_700_000_000, value=1)
    assert "s" == (await Sample.find_by(at="2023-11-14T22:13:20Z")).source
    with pytest.raises(UnknownField, match="name"):
        await Gauge.find_by(nam="b")
    with pytest.raises(InvalidValue):
        await Gauge.find_by(name=17)
    with pytest.raises(InvalidQuery):
        await Gauge.find_by()


async def test_all_and_count_take_criteria(database: Database) -> None:
    """Any that a select takes; none is every row."""
    await Gauge.insert(ROWS)
    assert ["b", "c"] == [gauge.name for gauge in await Gauge.all(Gauge.value > 1)]
    assert ["b"] == [gauge.name for gauge in await Model.all(Gauge, Gauge.value > 1, Gauge.name != "c")]
    assert (3, 2, 0) == (await Gauge.count(), await Model.count(Gauge, Gauge.value > 1), await Site.count())


async def test_update_by_criteria(database: Database) -> None:
    """Returns how many rows were met, changed or not; expressions may refer to the row."""
    await Gauge.insert(ROWS)
    assert 2 == await Gauge.update(Gauge.value > 1, value=Gauge.value * 10)
    assert {"a": 1.0, "b": 20.0, "c": 30.0} == await values()
    assert 1 == await Model.update(Gauge, Gauge.name == "a", value=1.0)
    assert 0 == await Gauge.update(Gauge.name == "z", value=1.0)
    assert 3 == await Gauge.update(true(), level=2)


@pytest.mark.parametrize(
    ("criteria", "fields", "error"),
    [
        ([], {"value": 1.0}, InvalidQuery),
        ([true()], {}, InvalidQuery),
        ([true()], {"valu": 1.0}, UnknownField),
        ([true()], {"value": float("nan")}, InvalidValue),
        ([true()], {"level": 0}, InvalidValue),
    ],
)
async def test_updates_that_are_refused(database: Database, criteria, fields, error) -> None:
    """No criterion would be every row; names and values are checked; then nothing is changed."""
    await Gauge.insert(ROWS)
    with pytest.raises(error):
        await Gauge.update(*criteria, **fields)
    assert {"a": 1.0, "b": 2.0, "c": 3.0} == await values()


async def test_update_of_many_rows_is_one_statement(database: Database) -> None:
    """Each row to values of its own; what it does not name stays; a later row of a key wins; others are not met."""
    await Gauge.insert(ROWS)
    seen: list[str] = []
    event.listen(
        database.engine.sync_engine, "before_cursor_execute", lambda *arguments: seen.append(arguments[2].split()[0])
    )
    rows = [
        {"name": "a", "value": 10.0},
        {"name": "b", "level": 7},
        {"name": "c", "value": 1.0, "level": 1},
        {"name": "c", "value": None},
        {"name": "z", "value": 1.0},
    ]
    assert 3 == await Gauge.update(rows, key="name")
    assert ["UPDATE"] == seen
    assert {"a": (10.0, 1), "b": (2.0, 7), "c": (None, 1)} == {g.name: (g.value, g.level) for g in await Gauge.all()}


async def test_rows_are_known_by_their_natural_key_or_else_the_primary_key(database: Database) -> None:
    """Of several columns too; two thousand rows are two statements of one transaction."""
    await Sample.insert([{"source": "s", "at": n, "value": 0.0} for n in range(2_000)])
    rows = [{"source": "s", "unit": "C", "at": n, "value": n} for n in range(2_000)]
    assert 2_000 == await Sample.update(rows)
    assert sum(range(2_000)) == sum(sample.value for sample in await Sample.all())
    gauge = await Gauge.create(name="a")
    assert 1 == await Model.update(Gauge, {"id": gauge.id, "value": 5.0})
    assert {"a": 5.0} == await values()


@pytest.mark.parametrize(
    ("rows", "error"),
    [
        ([{"value": 1.0}], InvalidValue),
        ([{"name": "a", "valu": 1.0}], UnknownField),
        ([{"name": "a"}], InvalidQuery),
        ([{"name": "a", "value": 9.0}, {"name": "b", "value": "much"}], InvalidValue),
    ],
)
async def test_rows_that_are_refused(database: Database, rows, error) -> None:
    """None of them is changed then."""
    await Gauge.insert(ROWS)
    with pytest.raises(error):
        await Gauge.update(rows, key="name")
    assert {"a": 1.0, "b": 2.0, "c": 3.0} == await values()


async def test_nothing_to_update(database: Database) -> None:
    """No rows are no statement."""
    assert 0 == await Gauge.update([])


async def test_delete(database: Database) -> None:
    """Returns how many rows are gone; those that others refer to stay, and without a criterion all do."""
    await Gauge.insert(ROWS)
    assert 2 == await Gauge.delete(Gauge.value > 1)
    assert 0 == await Model.delete(Gauge, Gauge.value > 1)
    with pytest.raises(InvalidQuery, match="true"):
        await Gauge.delete()
    await Site.create(code="s")
    await Gauge.create(name="d", site="s")
    with pytest.raises(InvalidValue):
        await Site.delete(Site.code == "s")
    assert (1, 2) == (await Site.count(), await Gauge.count())


async def test_the_state_of_the_pool(database: Database) -> None:
    """What is in use shows while it is, and waits for use afterwards."""
    async with await Model.get_session() as session:
        await session.connection()
        assert 1 == Model.pool_status().checked_out
    assert 0 == Model.pool_status().checked_out
