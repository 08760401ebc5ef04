"""What upserts give back: what is stored when they have ended, whoever wrote it."""

import datetime as dt
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import CHAR, delete, event, func
from sqlalchemy.util import await_only

from core.database.database import Database
from core.exceptions import UniqueViolation
from core.instants import to_instant
from core.model import BigId, Mapped, Model, mapped_column
from tests.integration.database.writes.models import Branch, Colour, Everything, Meter, Note, Odd, Seat, Ticket
from tests.integration.database.writes.observing import attempts, stored, together, writer


class Padded(Model):
    """PostgreSQL reads its key back longer than it was."""

    __tablename__ = "written_padded"
    __natural_key__ = ("code",)

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    code: Mapped[str] = mapped_column(CHAR(10), unique=True)
    level: Mapped[int]


@contextmanager
def reads(database: Database) -> Iterator[list[str]]:
    """What the reserved connection is asked by SQLAlchemy, which writes nothing over it."""
    statements: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if "written_" in statement:
            statements.append(statement)

    engine = writer(database)._engine.sync_engine
    event.listen(engine, "before_cursor_execute", note)
    yield statements
    event.remove(engine, "before_cursor_execute", note)


async def test_instances_of_new_rows_and_old_ones(database: Database) -> None:
    """As they are stored, with what was not given; detached, and in the order of the rows."""
    await Meter.create(serial="b", label="B", level=1)
    rows = await Meter.upsert([{"serial": serial, "level": 2} for serial in "cba"], returning=True)
    assert [("c", None, "new", 2), ("b", "B", "new", 2), ("a", None, "new", 2)] == [
        (row.serial, row.label, row.status, row.level) for row in rows
    ]
    assert sorted(await stored(database, Meter, "id", "updated_at")) == sorted((row.id, row.updated_at) for row in rows)
    one = await Model.upsert(Meter, {"serial": "b", "status": "up"}, returning=True)
    assert (rows[1].id, "B", "up", 2) == (one.id, one.label, one.status, one.level)


async def test_some_attributes(database: Database) -> None:
    """A dictionary for each row, by attribute and not by column; one for a single row."""
    assert {"number": 1} == await Odd.upsert({"key": "k", "quoted": "q"}, returning="number")
    rows = await Model.upsert(Odd, [{"key": "l"}, {"key": "k"}], returning=["quoted", "key"])
    assert [{"quoted": None, "key": "l"}, {"quoted": "q", "key": "k"}] == rows
    assert [] == await Odd.upsert([], returning=True)


async def test_a_key_that_is_no_text(database: Database) -> None:
    """What the database takes it as, and gives it back as, is one value here."""
    number = uuid.UUID(int=2**100)
    for title in ("x", "y"):
        row = await Ticket.upsert({"number": number, "title": title}, returning=True)
        assert (number, title) == (row.number, row.title)


async def test_a_row_that_comes_twice(database: Database) -> None:
    """Both get the row, as it is in the end."""
    rows = await Meter.upsert([{"serial": "m", "level": n} for n in (1, 2)], returning="level")
    assert [{"level": 2}] * 2 == rows


async def test_a_newer_row_is_given_back_instead(database: Database) -> None:
    """Whoever is too late sees by what."""
    await Meter.create(serial="m", level=1, last_seen=20)
    late = {"serial": "m", "level": 2, "last_seen": 10}
    assert {"level": 1, "last_seen": to_instant(20)} == await Meter.upsert(
        late, newer_than="last_seen", returning=("level", "last_seen")
    )


async def test_what_is_ignored_and_what_must_be_new(database: Database) -> None:
    """The row that is there, or the new one; its id is told too where nothing else would tell it."""
    first = await Meter.upsert({"serial": "a", "level": 1}, on_conflict="error", returning=True)
    again = await Meter.upsert(
        [{"serial": "b", "level": 2}, {"serial": "a", "level": 2}], on_conflict="ignore", returning=["id", "level"]
    )
    assert [2, {"id": first.id, "level": 1}] == [again[0]["level"], again[1]]
    notes = await Model.upsert(Note, [{"text": "x"}, {"text": "x"}], on_conflict="error", returning=["id", "rank"])
    assert [({"id": number, "rank": 1}) for (number,) in await stored(database, Note, "id")] == notes
    with pytest.raises(UniqueViolation):
        await Meter.upsert({"serial": "a"}, on_conflict="error", returning="id")


async def test_columns_of_every_type(database: Database) -> None:
    """They read back as ``find`` reads them, also those that the upsert did not write."""
    values = {"document": {"a": [1]}, "colour": Colour.GREEN, "raw": b"\0", "many": [1, 2], "at": 1.5}
    times = {"day": dt.date(2026, 1, 2), "hour": dt.time(3, 4, 5), "span": dt.timedelta(hours=6)}
    await Everything.create(name="x", number=uuid.UUID(int=7), **values, **times)
    row = await Everything.upsert({"name": "x", "flag": True}, returning=True)
    names = [attribute.key for attribute in Everything.__mapper__.column_attrs]
    found = await Everything.find(row.id)
    assert [getattr(found, name) for name in names] == [getattr(row, name) for name in names]
    assert (True, {"a": [1]}, Colour.GREEN) == (row.flag, row.document, row.colour)


async def test_keys_of_several_columns_and_rows_of_one_table(database: Database) -> None:
    """A thousand rows are one statement more."""
    rows = [{"row": f"r{n % 7}", "number": n, "guest": f"g{n}"} for n in range(1_001)]
    with reads(database) as statements:
        assert rows == await Seat.upsert(rows, returning=("row", "number", "guest"))
    assert 2 == len(statements)


async def test_only_who_asks_pays(database: Database) -> None:
    """All who ask in one flush are answered by one statement; without any there is none."""
    with reads(database) as statements:
        await together(*[Meter.upsert({"serial": f"m{n}", "level": n}) for n in range(50)])
        assert [] == statements
        asked = await together(
            *[Meter.upsert({"serial": f"m{n}", "level": -n if n == 20 else n}, returning="level") for n in range(50)],
            Meter.upsert({"serial": "other"}),
        )
    assert [{"level": n} for n in range(50) if n != 20] == [row for row in asked[:-1] if isinstance(row, dict)]
    assert None is asked[-1]
    assert attempts(database) >= len(statements) > 0


async def test_rows_are_read_before_others_write_them_by_another_key(database: Database) -> None:
    """Who came later in the same flush may change the key by which a row was known."""
    first, second = await together(
        Meter.upsert({"serial": "m", "label": "L", "level": 1}, returning=("serial", "level")),
        Meter.upsert({"label": "L", "serial": "n", "level": 2}, key="label", returning=("serial", "level")),
    )
    assert 1 == attempts(database)
    assert [{"serial": "m", "level": 1}, {"serial": "n", "level": 2}] == [first, second]


async def test_a_key_that_reads_back_differently(database: Database) -> None:
    """Where the database takes for the same what is not, it is asked row by row."""
    async with database.engine.begin() as connection:
        await connection.run_sync(Padded.__table__.create)
    for level in (1, 2):
        rows = await Padded.upsert([{"code": code, "level": level} for code in ("ab", "b")], returning="level")
        assert [{"level": level}] * 2 == rows


async def test_rows_that_refer_to_each_other(database: Database) -> None:
    """Parents come first, as they were given."""
    rows = [{"name": "root", "parent": None}, {"name": "leaf", "parent": "root"}]
    assert rows == await Branch.upsert(rows, returning=["name", "parent"])


@pytest.mark.parametrize("way", ["transaction", "replay"])
async def test_outside_of_the_flush(database: Database, way: str) -> None:
    """One by one, and computed by the database."""
    around = Model.transaction if way == "transaction" else database.one_transaction
    row = {"serial": "m", "level": func.abs(-5)}
    for status in ("new", "up"):
        async with around():
            assert {"level": 5, "status": status} == await Meter.upsert(row, returning=("level", "status"))
            instance = await Meter.upsert({"serial": "m", "status": "up"}, returning=True)
        assert ("m", 5, "up") == (instance.serial, instance.level, instance.status)
    computed = await Meter.upsert({"serial": "m", "level": func.abs(-6)}, returning=True)
    assert (instance.id, 6) == (computed.id, computed.level)


@pytest.mark.parametrize("fresh_database", ["postgres"], indirect=True)
async def test_a_row_that_goes_before_it_is_read(database: Database) -> None:
    """It was left alone, so that nothing keeps others from removing it: then it is written."""
    await Meter.create(serial="m", level=1)

    async def remove() -> None:
        async with database.session() as session:
            await session.execute(delete(Meter))
            await session.commit()

    def interfere(*_: Any) -> None:
        await_only(remove())

    event.listen(writer(database)._engine.sync_engine, "before_cursor_execute", interfere, once=True)
    assert {"level": 2} == await Meter.upsert({"serial": "m", "level": 2}, on_conflict="ignore", returning="level")
    assert [("m", 2)] == await stored(database, Meter, "serial", "level")


@pytest.mark.parametrize("fresh_database", ["postgres", "mariadb"], indirect=True)
async def test_a_connection_that_is_lost_while_rows_are_read(database: Database) -> None:
    """Everything is done again, and nothing twice."""
    await Meter.create(serial="m", level=1)
    driver = writer(database)._driver

    def cut(*_: Any) -> None:
        driver.terminate() if hasattr(driver, "terminate") else driver.close()

    event.listen(writer(database)._engine.sync_engine, "before_cursor_execute", cut, once=True)
    asked, other = await together(
        Meter.upsert({"serial": "m", "level": 2}, returning="level"), Meter.upsert({"serial": "n"})
    )
    assert ({"level": 2}, None) == (asked, other)
    assert driver is not writer(database)._driver
    assert [("m", 2), ("n", None)] == await stored(database, Meter, "serial", "level")
