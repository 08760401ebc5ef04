"""Upserts: what a row looks like after one, after many at once, and when devices' clocks disagree."""

import datetime as dt

import pytest
from sqlalchemy import func

from core.database.database import Database
from core.exceptions import InvalidValue, UnknownField
from core.instants import now, to_instant
from core.model import Model
from tests.integration.database.writes.models import Meter, Note
from tests.integration.database.writes.observing import attempts, stored, together


def upsert(serial: str, newer_than: str | None = "last_seen", **fields: object) -> object:
    return Meter.upsert({"serial": serial, **fields}, newer_than=newer_than)


async def meter(database: Database, *names: str) -> tuple[object, ...]:
    (row,) = await stored(database, Meter, *names)
    return row


async def test_a_new_row_gets_defaults_and_an_old_one_keeps_what_is_not_given(database: Database) -> None:
    """Defaults are for new rows only."""
    await Meter.upsert({"serial": "m", "level": 1})
    await Meter.upsert({"serial": "m", "status": "up"})
    assert ("up", 1) == await meter(database, "status", "level")
    await Meter.upsert({"serial": "m"})
    assert ("up", 1) == await meter(database, "status", "level")


async def test_upserted_rows_count_as_rows(database: Database) -> None:
    """Whether they were there or not; duplicates are rows that nobody looked at."""
    for _ in range(2):
        await Meter.upsert([{"serial": serial, "level": 1} for serial in "ab"])
    assert (4, 0) == database.statistics()[:2]


async def test_older_rows_change_nothing(database: Database) -> None:
    """``newer_than`` lets equal and newer times through, and any time where none is stored."""
    await Meter.create(serial="m", level=0)
    await upsert("m", last_seen=100, level=1)
    assert (to_instant(100), 1) == await meter(database, "last_seen", "level")
    await upsert("m", last_seen=99, level=2)
    assert (to_instant(100), 1) == await meter(database, "last_seen", "level")
    await upsert("m", last_seen=100, level=3)
    assert (to_instant(100), 3) == await meter(database, "last_seen", "level")
    await upsert("m", last_seen=101, level=4)
    assert (to_instant(101), 4) == await meter(database, "last_seen", "level")
    await upsert("m", last_seen=None, level=5)
    assert (to_instant(101), 4) == await meter(database, "last_seen", "level")


async def test_many_of_one_key_in_one_flush(database: Database) -> None:
    """Column by column the newest wins, whatever the order of arrival."""
    await together(
        upsert("m", last_seen=30, level=3),
        upsert("m", last_seen=10, level=1, status="old"),
        upsert("m", last_seen=20, label="middle"),
    )
    assert 1 == attempts(database)
    assert (3, "old", "middle", to_instant(30)) == await meter(database, "level", "status", "label", "last_seen")


async def test_what_is_older_than_the_stored_row_is_not_carried_along(database: Database) -> None:
    """A newer row of the same flush does not let an obsolete one through."""
    await Meter.create(serial="m", status="stored", last_seen=20)
    await together(upsert("m", last_seen=10, status="obsolete"), upsert("m", last_seen=30, level=3))
    assert ("stored", 3, to_instant(30)) == await meter(database, "status", "level", "last_seen")


async def test_of_equal_times_the_later_arrival_wins(database: Database) -> None:
    """And columns that it does not set come from the earlier one."""
    await together(upsert("m", last_seen=10, level=1, status="first"), upsert("m", last_seen=10, level=2))
    assert (2, "first") == await meter(database, "level", "status")


async def test_without_times_the_order_of_arrival_counts(database: Database) -> None:
    """Creates, upserts and upserts with a guard of one key in one flush take effect one after the other."""
    created, *_ = await together(
        Meter.create(serial="m", level=1, status="created"),
        upsert("m", None, level=2),
        upsert("m", last_seen=5, level=3),
        upsert("m", None, level=4),
    )
    assert 1 == attempts(database)
    assert ("created", 4, to_instant(5)) == await meter(database, "status", "level", "last_seen")
    assert created.id == (await meter(database, "id"))[0]


async def test_a_create_after_an_upsert_finds_its_row(database: Database) -> None:
    """It came later, so the row was there already."""
    _, row = await together(upsert("m", None, level=1), Meter.create(serial="m", level=2, label="dropped"))
    assert (1, None) == (row.level, row.label)
    assert (1, None) == await meter(database, "level", "label")


async def test_columns_that_follow_every_change(database: Database) -> None:
    """``onupdate`` works as it does for SQLAlchemy; ``created``-like defaults stay."""
    await Meter.create(serial="m", updated_at=0)
    await Meter.upsert({"serial": "m", "level": 1})
    (moved,) = await meter(database, "updated_at")
    assert abs(moved - now()) < dt.timedelta(minutes=5)


@pytest.mark.parametrize("form", [float, str, dt.datetime, "milliseconds"])
async def test_a_clock_from_the_far_future_is_brought_back(database: Database, form: object) -> None:
    """In whatever form the time comes; later rows can still change the row."""
    future = now() + dt.timedelta(days=3650)
    forms = {float: future.timestamp(), str: future.isoformat(), "milliseconds": int(future.timestamp() * 1000)}
    await upsert("m", last_seen=forms.get(form, future), level=1)
    (seen,) = await meter(database, "last_seen")
    assert dt.timedelta(seconds=200) < seen - now() < dt.timedelta(seconds=301)


async def test_a_value_computed_by_sql(database: Database) -> None:
    """No bulk statement carries it; the clock is brought back there too."""
    await Meter.create(serial="m", level=4)
    future = now() + dt.timedelta(days=3650)
    await upsert("m", last_seen=future, level=func.abs(-7))
    level, seen = await meter(database, "level", "last_seen")
    assert 7 == level
    assert seen - now() < dt.timedelta(seconds=301)
    await upsert("m", last_seen=1, level=func.abs(-8))
    assert (7,) == await meter(database, "level")


async def test_what_an_upsert_needs(database: Database) -> None:
    """A natural key, all of it in every row, the guard too, and names that the model has."""
    with pytest.raises(InvalidValue, match="no natural key"):
        await Model.upsert(Note, {"text": "x"})
    with pytest.raises(InvalidValue, match="needs serial"):
        await Meter.upsert({"level": 1})
    with pytest.raises(InvalidValue, match="needs last_seen"):
        await Meter.upsert({"serial": "m"}, newer_than="last_seen")
    with pytest.raises(UnknownField):
        await Meter.upsert({"serial": "m", "lable": "x"})
    with pytest.raises(UnknownField):
        await Meter.upsert({"serial": "m", "seen": 1}, newer_than="seen")


async def test_many_rows_in_one_upsert(database: Database) -> None:
    """Also several of one key: the last one wins."""
    await Meter.upsert([{"serial": "b", "level": 1}, {"serial": "a", "status": "x"}, {"serial": "b", "level": 2}])
    await Meter.upsert([])
    assert [("b", 2), ("a", None)] == sorted(await stored(database, Meter, "serial", "level"), reverse=True)


async def test_two_databases_upsert_the_same_rows_at_once(database: Database, database_url: str) -> None:
    """Sorted by key they do not wait for each other in circles; whatever happens, no handler sees it."""
    other = Database(database_url)
    try:
        for turn in range(10):
            rows = [{"serial": f"m{n}", "level": turn} for n in range(60)]
            results = await together(
                *[Meter.upsert(rows[n::3]) for n in range(3)],
                *[other.upsert(Meter, list(reversed(rows))[n::3]) for n in range(3)],
            )
            assert [None] * 6 == results
    finally:
        await other.close()
    assert [(9,)] * 60 == await stored(database, Meter, "level")
