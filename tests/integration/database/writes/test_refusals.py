"""Writes that are refused: only whoever brought them is told, and all others are committed."""

from math import ceil, log2

import pytest
from sqlalchemy import text

from core.database.database import Database
from core.exceptions import InvalidValue, SchemaError, UniqueViolation
from core.model import Model
from tests.integration.database.writes.models import Entry, Meter, Note, Ticket
from tests.integration.database.writes.observing import attempts, stored, together


async def test_one_bad_row_of_five_hundred(database: Database) -> None:
    """Found in O(log n) transactions; 499 rows are committed and one handler gets its error."""
    results = await together(*[Meter.create(serial=f"m{n}", level=-1 if n == 321 else n) for n in range(500)])
    assert [321] == [n for n, result in enumerate(results) if isinstance(result, Exception)]
    assert isinstance(results[321], InvalidValue)
    assert 499 == len(await stored(database, Meter, "id"))
    assert attempts(database) <= 1 + 2 * ceil(log2(500))


async def test_several_bad_rows(database: Database) -> None:
    """Each handler gets its own error, on models with and without a key."""
    bad = {3, 50, 51, 99}
    meters = await together(*[Meter.create(serial=f"m{n}", level=-1 if n in bad else n) for n in range(100)])
    notes = await together(*[Note.create(text=f"n{n}", rank=0 if n in bad else 1) for n in range(100)])
    for results in (meters, notes):
        assert bad == {n for n, result in enumerate(results) if isinstance(result, InvalidValue)}
    assert [(f"n{n}",) for n in range(100) if n not in bad] == await stored(database, Note, "text")
    assert [row.id for row in notes if isinstance(row, Note)] == [i for (i,) in await stored(database, Note, "id")]


async def test_nothing_but_bad_rows(database: Database) -> None:
    """All are told; the buffer goes on."""
    results = await together(*[Meter.create(serial=f"m{n}", level=-1) for n in range(20)])
    assert [True] * 20 == [isinstance(result, InvalidValue) for result in results]
    assert len(set(map(id, results))) == 20
    assert (await Meter.create(serial="good")).id


async def test_a_unit_of_work_is_refused_whole(database: Database) -> None:
    """One of its two writes is bad: neither is stored, and others of the flush are."""

    async def pair(serial: str, level: int) -> None:
        async with Model.unit_of_work() as work:
            work.create(Note, text=serial)
            work.upsert(Meter, {"serial": serial, "level": level})

    good, bad, other = await together(pair("a", 1), pair("b", -1), pair("c", 3))
    assert (None, None) == (good, other)
    assert isinstance(bad, InvalidValue)
    assert [("a",), ("c",)] == await stored(database, Note, "text")
    assert [("a",), ("c",)] == await stored(database, Meter, "serial")


async def test_an_exception_in_a_unit_of_work_drops_it(database: Database) -> None:
    """Nothing of it is written."""

    async def break_off() -> None:
        async with Model.unit_of_work() as work:
            work.create(Note, text="never")
            raise LookupError

    with pytest.raises(LookupError):
        await break_off()
    assert [] == await stored(database, Note, "text")


async def test_a_bad_row_of_an_insert_refuses_all_its_rows(database: Database) -> None:
    """``insert`` is one atom; other writes of the flush are committed."""
    bad, good = await together(
        Model.insert(Note, [{"text": "a"}, {"text": "b", "rank": 0}]), Model.insert(Note, [{"text": "c"}])
    )
    assert isinstance(bad, InvalidValue)
    assert good is None
    assert [("c",)] == await stored(database, Note, "text")


async def test_a_value_that_no_driver_can_write(database: Database) -> None:
    """Also where rows are copied and not inserted."""
    bad, good = await together(Model.insert(Note, [{"text": "a", "rank": 2**70}]), Model.insert(Note, [{"text": "b"}]))
    assert isinstance(bad, InvalidValue)
    assert good is None
    assert [("b",)] == await stored(database, Note, "text")


async def test_a_conflict_on_another_unique_key(database: Database) -> None:
    """Created or upserted: it is an error of that handler, and the row that is in the way stays as it is."""
    await Meter.create(serial="a", label="taken", level=1)
    created, upserted, good = await together(
        Meter.create(serial="b", label="taken", level=2),
        Meter.upsert({"serial": "c", "label": "taken", "level": 3}),
        Meter.upsert({"serial": "d", "label": "free", "level": 4}),
    )
    assert (True, True) == (isinstance(created, UniqueViolation), isinstance(upserted, UniqueViolation))
    assert good is None
    assert [("a", "taken", 1), ("d", "free", 4)] == await stored(database, Meter, "serial", "label", "level")


async def test_an_upsert_guarded_by_time_does_not_touch_a_row_of_another_key(database: Database) -> None:
    """MySQL would change the row that has the same label."""
    await Meter.create(serial="a", label="taken", level=1)
    with pytest.raises(UniqueViolation):
        await Meter.upsert({"serial": "b", "label": "taken", "level": 2, "last_seen": 5}, newer_than="last_seen")
    assert [("a", "taken", 1)] == await stored(database, Meter, "serial", "label", "level")


async def test_a_missing_parent(database: Database) -> None:
    """A foreign key that leads nowhere is the fault of its row."""
    bad, good = await together(Entry.create(serial="nowhere"), Note.create(text="good"))
    assert isinstance(bad, InvalidValue)
    assert "good" == good.text


@pytest.mark.parametrize("fresh_database", ["postgres"], indirect=True)
async def test_an_error_that_comes_only_at_commit(database: Database) -> None:
    """A deferred constraint speaks up at COMMIT; the guilty row is found all the same."""
    async with database.engine.begin() as connection:
        await connection.execute(
            text(
                "ALTER TABLE written_entries ALTER CONSTRAINT fk_written_entries_serial_written_meters "
                "DEFERRABLE INITIALLY DEFERRED"
            )
        )
    await Meter.create(serial="there")
    results = await together(*[Entry.create(serial="nowhere" if n == 7 else "there") for n in range(20)])
    assert [7] == [n for n, result in enumerate(results) if isinstance(result, InvalidValue)]
    assert 19 == len(await stored(database, Entry, "id"))


async def test_a_missing_table(database: Database) -> None:
    """All who need it are told after one attempt; the others are committed."""
    async with database.engine.begin() as connection:
        await connection.execute(text("DROP TABLE written_tickets"))
    results = await together(*[Ticket.create(title="t") for _ in range(50)], Note.create(text="good"))
    assert [SchemaError] * 50 == [type(result) for result in results[:50]]
    assert "good" == results[50].text
    assert 2 == attempts(database)


async def test_the_writers_own_table_is_missing(database: Database) -> None:
    """Nobody's row is guilty, so nothing is halved; once the table is there, writing goes on."""
    async with database.engine.begin() as connection:
        await connection.execute(text("DROP TABLE mqueduct_writers"))
    results = await together(*[Note.create(text="t") for _ in range(20)])
    assert [SchemaError] * 20 == [type(result) for result in results]
    assert attempts(database) <= 1
    await database.create_tables()
    assert (await Note.create(text="good")).id
