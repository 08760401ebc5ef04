"""The options of upserts: by which key, what is taken over, what becomes of rows that are there; in bulk and not."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from math import ceil, log2
from typing import Any

import pytest
from sqlalchemy import func

from core.database.database import Database
from core.exceptions import UniqueViolation
from core.instants import to_instant
from core.model import Model
from tests.integration.database.writes.conftest import create_tables
from tests.integration.database.writes.models import Meter, Note, Odd, Seat
from tests.integration.database.writes.observing import attempts, stored, together

Upsert = Callable[..., Any]


WAYS: dict[str, Callable[[], AbstractAsyncContextManager[Any]]] = {
    "flush": nullcontext,
    "one by one": Model.transaction,
}


@pytest.fixture(params=WAYS)
async def upsert(request: pytest.FixtureRequest, database: Database) -> Upsert:
    """``Model.upsert`` in bulk and not, where two rows are there already."""
    await Meter.insert(
        [{"serial": "a", "label": "A", "status": "old", "level": 1, "last_seen": 10}, {"serial": "b", "label": "B"}]
    )

    async def write(*arguments: Any, **options: Any) -> None:
        async with WAYS[request.param]():
            await Model.upsert(*arguments, **options)

    return write


async def meters(database: Database, *names: str) -> list[tuple[Any, ...]]:
    return sorted(await stored(database, Meter, *(names or ("serial", "label", "status", "level"))))


@pytest.mark.parametrize("options", [{"key": "label"}, {"key": ["label"]}])
async def test_another_key(upsert: Upsert, database: Database, options: dict[str, Any]) -> None:
    """A row is known by what is unique beside the natural key, which it takes over like the rest."""
    for _ in range(2):
        rows = [{"label": "A", "serial": "a2", "level": 2}, {"label": "C", "serial": "c", "level": 3}]
        await upsert(Meter, rows, **options)
    assert [("a2", "A", "old", 2), ("b", "B", "new", None), ("c", "C", "new", 3)] == await meters(database)


async def test_the_primary_key(upsert: Upsert, database: Database) -> None:
    """A row that is known by its id; nothing else of it changes."""
    ((first, _), *_) = await stored(database, Meter, "id", "serial")
    await upsert(Meter, {"id": first, "serial": "a", "level": 9}, key="id")
    assert [("a", "A", "old", 9), ("b", "B", "new", None)] == await meters(database)


async def test_a_constraint_by_its_name(upsert: Upsert, database: Database) -> None:
    """Its columns are the key, whatever their attributes are called."""
    (name,) = (constraint.name for constraint in Odd.__table__.constraints if "select" in constraint.columns)
    for number in (1, 2):
        await upsert(Odd, {"key": "k", "percent": number}, constraint=name)
    assert [("k", 2)] == await stored(database, Odd, "key", "percent")


async def test_a_key_of_several_columns(upsert: Upsert, database: Database) -> None:
    """In whatever order it is named."""
    for guest in ("x", "y"):
        await upsert(Seat, {"row": "r", "number": 1, "guest": guest}, key=("number", "row"))
    assert [("r", 1, "y")] == await stored(database, Seat, "row", "number", "guest")


async def test_only_what_is_chosen_is_taken_over(upsert: Upsert, database: Database) -> None:
    """A new row gets all that is given."""
    rows = [{"serial": "a", "status": "new", "level": 2}, {"serial": "c", "status": "up", "level": 3}]
    await upsert(Meter, rows, update="level")
    assert [("a", "A", "old", 2), ("b", "B", "new", None), ("c", None, "up", 3)] == await meters(database)


async def test_what_is_chosen_but_not_given_changes_nothing(upsert: Upsert, database: Database) -> None:
    """Not even what follows every change."""
    before = await meters(database, "serial", "level", "updated_at")
    await upsert(Meter, {"serial": "a", "level": 2}, update="status")
    assert before == await meters(database, "serial", "level", "updated_at")


async def test_the_guard_moves_with_what_is_chosen(upsert: Upsert, database: Database) -> None:
    """Or an older row would get through after a newer one."""
    for time, level in ((9, 2), (30, 3), (20, 4)):
        await upsert(
            Meter, {"serial": "a", "level": level, "last_seen": time}, update=["level"], newer_than="last_seen"
        )
    assert [("a", 3, to_instant(30)), ("b", None, None)] == await meters(database, "serial", "level", "last_seen")


@pytest.mark.parametrize("key", ["serial", "label"])
async def test_ignored(upsert: Upsert, database: Database, key: str) -> None:
    """What is there stays as it is, and the others come in: again and again, as after a redelivery."""
    rows = [{"serial": "a", "label": "A", "level": 2}, {"serial": "c", "label": "C", "level": 3}]
    for _ in range(2):
        await upsert(Meter, rows, key=key, on_conflict="ignore")
    assert [("a", "A", "old", 1), ("b", "B", "new", None), ("c", "C", "new", 3)] == await meters(database)


@pytest.mark.parametrize("options", [{"key": "label"}, {"key": "serial", "on_conflict": "ignore"}])
async def test_a_conflict_beside_the_key(upsert: Upsert, database: Database, options: dict[str, Any]) -> None:
    """It is an error, also where conflicts of the key are none; MySQL by itself would change or ignore any row."""
    row = {"serial": "b", "label": "C"} if options["key"] == "label" else {"serial": "c", "label": "B"}
    with pytest.raises(UniqueViolation):
        await upsert(Meter, row | {"level": 7}, **options)
    assert [("a", "A", "old", 1), ("b", "B", "new", None)] == await meters(database)


async def test_a_row_that_is_there_can_be_an_error(upsert: Upsert, database: Database) -> None:
    """Then no row of the call is written, and the error says what was violated."""
    with pytest.raises(UniqueViolation) as caught:
        await upsert(Meter, [{"serial": "c"}, {"serial": "a", "level": 2}], on_conflict="error")
    assert ("written_meters", ("serial",)) == (caught.value.table, caught.value.columns)
    assert [("a", "A", "old", 1), ("b", "B", "new", None)] == await meters(database)
    await upsert(Meter, {"serial": "c"}, key="serial", on_conflict="error")
    assert ["a", "b", "c"] == [serial for (serial,) in await meters(database, "serial")]


async def test_a_model_without_natural_key(upsert: Upsert, database: Database) -> None:
    """Its primary key does as well as any."""
    await Note.create(text="x")
    ((number,),) = await stored(database, Note, "id")
    await upsert(Note, {"id": number, "text": "y"}, key="id")
    await upsert(Note, {"text": "z"}, on_conflict="error")
    assert ["y", "z"] == [text for (text,) in await stored(database, Note, "text")]


async def test_values_that_only_the_database_computes(upsert: Upsert, database: Database) -> None:
    """They go one by one, by the same rules."""
    await upsert(
        Meter, {"label": "A", "serial": "a", "level": func.abs(-5), "status": "up"}, key="label", update="level"
    )
    await upsert(Meter, {"serial": "b", "level": func.abs(-5)}, on_conflict="ignore")
    assert [("a", "A", "old", 5), ("b", "B", "new", None)] == await meters(database)
    with pytest.raises(UniqueViolation):
        await upsert(Meter, {"serial": "b", "level": func.abs(-5)}, on_conflict="error")


@pytest.mark.parametrize("around", ["nothing", "a transaction", "a replay"])
async def test_in_a_unit_of_work(database: Database, around: str) -> None:
    """Together or not at all, with all options, wherever the unit is."""
    ways = {"nothing": nullcontext, "a transaction": Model.transaction, "a replay": database.one_transaction}
    await Meter.create(serial="a", label="A", status="old", level=1)

    async def write(serial: str) -> None:
        async with ways[around](), Model.unit_of_work() as work:
            work.upsert(Meter, {"serial": "a2", "label": "A", "level": 2, "status": "x"}, key="label", update="level")
            work.upsert(Meter, [{"serial": "a", "level": 3}, {"serial": "b", "level": 4}], on_conflict="ignore")
            work.upsert(Meter, {"serial": serial}, on_conflict="error")

    with pytest.raises(UniqueViolation):
        await write("b")
    assert [("a", "A", "old", 1)] == await meters(database)
    await write("c")
    assert [("a", "A", "old", 2), ("b", None, "new", 4), ("c", None, "new", None)] == await meters(database)


# --- many in one flush ---


async def test_one_conflict_of_five_hundred(database: Database) -> None:
    """The others are committed, in as few transactions as for any bad row; the row that is there stays."""
    await Meter.create(serial="m321", level=0)
    before = attempts(database)
    writes = [Meter.upsert({"serial": f"m{n}", "level": 1}, on_conflict="error") for n in range(500)]
    results = await together(*writes)
    assert [321] == [n for n, result in enumerate(results) if isinstance(result, UniqueViolation)]
    assert [None] * 499 == [result for result in results if not isinstance(result, UniqueViolation)]
    assert attempts(database) - before <= 1 + 2 * ceil(log2(500))
    assert {("m321", 0)} == {row for row in await stored(database, Meter, "serial", "level") if row[1] != 1}
    assert 500 == await Meter.count()


async def test_of_two_that_must_be_new_the_first_one_wins(database: Database) -> None:
    """Whether they come in one flush or one after the other."""
    first, second = await together(
        *[Meter.upsert({"serial": "m", "level": level}, on_conflict="error") for level in (1, 2)]
    )
    assert (None, True) == (first, isinstance(second, UniqueViolation))
    assert [(1,)] == await stored(database, Meter, "level")


async def test_writes_by_different_keys_take_effect_in_their_order(database: Database) -> None:
    """Though they mean one row, which their keys do not show: a flush does what one after the other would do."""
    results = await together(
        Meter.upsert({"serial": "m", "label": "L", "level": 1}),
        Meter.upsert({"label": "L", "serial": "n", "level": 2}, key="label"),
        Meter.upsert({"serial": "m", "level": 3}, on_conflict="error"),
        Meter.upsert({"serial": "n", "status": "seen"}),
        Meter.create(serial="n", level=4),
        Meter.upsert({"label": "L", "serial": "o", "level": 5}, key="label", on_conflict="ignore"),
    )
    assert 1 == attempts(database)
    assert [None] * 4 == results[:4]
    assert ("n", 2) == (results[4].serial, results[4].level)
    assert [("m", None, "new", 3), ("n", "L", "seen", 2)] == await meters(database)


async def test_different_kinds_of_upserts_of_one_key(database: Database) -> None:
    """Each takes over what it is told to, in the order of arrival."""
    await Meter.create(serial="m", level=0, status="created", label="old")
    await together(
        Meter.upsert({"serial": "m", "level": 1, "status": "x"}, update="level"),
        Meter.upsert({"serial": "m", "level": 2, "label": "new"}, update="label"),
        Meter.upsert({"serial": "m", "level": 3}, on_conflict="ignore"),
        Meter.upsert({"serial": "m", "status": "last"}),
    )
    assert [("m", "new", "last", 1)] == await meters(database)


async def test_statistics_tell_ignored_rows_from_others(database: Database) -> None:
    """What was there and stays is a duplicate; by whatever way it is written."""
    await Meter.upsert({"serial": "a"}, on_conflict="error")
    await Meter.upsert([{"serial": serial} for serial in "abc"], on_conflict="ignore")
    await Meter.upsert([{"serial": serial} for serial in "bc"], update="level")
    assert (5, 1) == database.statistics()[:2]
    computed = {"serial": "a", "level": func.abs(-1)}
    await Meter.upsert(computed)
    await Meter.upsert(computed, on_conflict="ignore")
    async with Model.transaction():
        await Meter.upsert({"serial": "a", "level": 1})
    assert (7, 2) == database.statistics()[:2]


async def test_two_databases_upsert_by_a_second_key_at_once(database: Database, database_url: str) -> None:
    """Whoever comes second finds the row of the first; no handler sees that they met."""
    other = Database(database_url)
    try:
        for turn in range(5):
            rows = [{"serial": f"m{n}", "label": f"l{n}", "level": turn} for n in range(40)]
            results = await together(
                Meter.upsert(rows, key="label"),
                other.upsert(Meter, rows[::-1], key="label"),
                Meter.upsert(rows[::2]),
                other.upsert(Meter, rows[1::2]),
            )
            assert [None] * 4 == results
    finally:
        await other.close()
    assert [(4,)] * 40 == await stored(database, Meter, "level")


async def test_on_another_database(database: Database, database_url: str) -> None:
    """``Model.on`` takes the options in both spellings."""
    other = Database(database_url)
    await create_tables(other)
    Model.install(other, "other")
    for number in (1, 2):
        await Meter.on("other").upsert({"serial": f"m{number}", "label": "L", "level": number}, key="label")
        await Model.on("other").upsert(Meter, {"serial": "x", "level": number}, on_conflict="ignore")
    assert {("m2", "L", 2), ("x", None, 1)} == set(await stored(other, Meter, "serial", "label", "level"))
