"""What a write returns, on each database: ids, stored values, values of every type."""

import datetime as dt
import uuid
from decimal import Decimal

import pytest
from sqlalchemy import text

from core.database.database import Database
from core.exceptions import InvalidValue, ValueOutOfRange
from core.model import Model, now
from tests.conftest import FreshDatabase
from tests.integration.database.writes.models import (
    Branch,
    Colour,
    Entry,
    Everything,
    Level,
    Meter,
    Note,
    Odd,
    Seat,
    Stamped,
    Ticket,
)
from tests.integration.database.writes.observing import attempts, ids, stored, together


async def test_each_of_many_rows_of_one_flush_gets_its_own_id(database: Database) -> None:
    """Rows are sorted by key on their way; each handler still gets the id of its own row."""
    serials = [f"m{number * 7 % 100:03}" for number in range(100)]
    rows = await together(*[Meter.create(serial=serial) for serial in serials])
    assert 1 == database.statistics().flushes
    assert dict(await stored(database, Meter, "serial", "id")) == {row.serial: row.id for row in rows}
    assert serials == [row.serial for row in rows]


async def test_rows_without_natural_key_get_their_ids_in_order_of_arrival(database: Database) -> None:
    """Nothing but the order tells them apart."""
    rows = await together(*[Note.create(text="same") for _ in range(50)])
    assert sorted(set(ids(rows))) == ids(rows)
    assert ids(rows) == [number for (number,) in await stored(database, Note, "id")]


async def test_new_known_and_twin_rows_of_one_flush(database: Database) -> None:
    """A known row comes back as stored; of two new ones of one key the first is written and both get it."""
    known = await Meter.create(serial="known", level=1)
    again, first, second, other = await together(
        Meter.create(serial="known", level=2),
        Meter.create(serial="new", level=3),
        Meter.create(serial="new", level=4),
        Meter.create(serial="other", level=5),
    )
    assert (known.id, 1) == (again.id, again.level)
    assert (first.id, 3) == (second.id, second.level)
    assert [("known", 1), ("new", 3), ("other", 5)] == await stored(database, Meter, "serial", "level")
    assert dict(await stored(database, Meter, "serial", "id"))["other"] == other.id
    statistics = database.statistics()
    assert (3, 2, 2) == (statistics.rows, statistics.duplicates, statistics.flushes)
    assert 2.5 == statistics.mean_batch
    assert statistics.commit_latency > 0


async def test_a_twin_of_another_shape_gets_the_first_row(database: Database) -> None:
    """Whatever fields each of them names: the first one that came is stored."""
    second_shape, first_shape = await together(
        Meter.create(serial="m", status="up", level=1), Meter.create(serial="m", level=2)
    )
    assert (second_shape.id, "up", 1) == (first_shape.id, first_shape.status, first_shape.level)


async def test_a_row_that_somebody_else_wrote_meanwhile_comes_back_as_stored(
    database: Database, fresh_database: FreshDatabase
) -> None:
    """Also when its id is higher than any that this process has seen."""
    await Meter.create(serial="a")
    theirs = Database(fresh_database.url)
    for number in range(3):
        await theirs.create(Meter, {"serial": f"theirs{number}", "level": number})
    await theirs.close()
    known, new = await together(Meter.create(serial="theirs1", level=77), Meter.create(serial="zz", level=9))
    assert (1, 9) == (known.level, new.level)
    assert dict(await stored(database, Meter, "serial", "id"))["zz"] == new.id


async def test_values_that_the_server_fills_in(database: Database) -> None:
    """Several generated columns, on a model that nothing but its id identifies."""
    rows = await together(*[Stamped.create(text=f"t{number}") for number in range(5)])
    assert [(f"t{number}", "nobody") for number in range(5)] == [(row.text, row.source) for row in rows]
    assert ids(rows) == [number for (number,) in await stored(database, Stamped, "id")]
    assert all(abs(row.stored_at - now()) < dt.timedelta(minutes=5) for row in rows)


async def test_keys_made_by_the_caller(database: Database) -> None:
    """UUIDs and keys of two columns: new, known and twin."""
    number = uuid.uuid4()
    first = await Ticket.create(number=number, title="a")
    again, other = await together(Ticket.create(number=number, title="b"), Ticket.create(title="c"))
    assert (number, "a") == (first.number, first.title) == (again.number, again.title)
    assert "c" == (await Ticket.find(other.number)).title
    seats = await together(
        Seat.create(row="b", number=1, guest="x"), Seat.create(row="a", number=2), Seat.create(row="b", number=1)
    )
    assert [("b", 1, "x"), ("a", 2, None), ("b", 1, "x")] == [(seat.row, seat.number, seat.guest) for seat in seats]
    await Seat.upsert({"row": "a", "number": 2, "guest": "y"})
    assert [("a", 2, "y"), ("b", 1, "x")] == await stored(database, Seat, "row", "number", "guest")


async def test_names_that_need_quoting(database: Database) -> None:
    """Reserved words, percent signs, quotes, mixed case; attributes have names of their own."""
    row = await Odd.create(key="k", percent=100, quoted="q", mixed="m%s")
    twin, new = await together(Odd.create(key="k", percent=1), Odd.create(key="l", percent=2))
    await Odd.upsert([{"key": "k", "quoted": "Q%"}, {"key": "n", "mixed": "N"}], newer_than=None)
    assert (row.number, 100) == (twin.number, twin.percent)
    assert new.number not in {None, row.number}
    assert [("k", 100, "Q%", "m%s"), ("l", 2, None, None), ("n", None, None, "N")] == await stored(
        database, Odd, "key", "percent", "quoted", "mixed"
    )


EVERYTHING = {
    "flag": True,
    "document": {"a": [1, None, "ü"], "%s": "%"},
    "raw": bytes(range(256)),
    "day": dt.date(2026, 1, 31),
    "hour": dt.time(12, 30, 1),
    "price": Decimal("123.456"),
    "number": uuid.UUID(int=7),
    "colour": Colour.GREEN,
    "shade": Colour.GREEN,
    "level": Level.HIGH,
    "span": dt.timedelta(hours=30),
    "many": [3, 1, 2],
    "at": dt.datetime(2026, 1, 31, 12, 0, 0, 123456, dt.UTC),
}


@pytest.mark.parametrize("name", [*EVERYTHING, "all", "none", "absent"])
async def test_a_value_of_every_type_is_stored_as_it_is(database: Database, name: str) -> None:
    """What ``create`` returns is what reads back; in bulk or alone, and through an upsert."""
    values = {"all": EVERYTHING, "absent": {}, "none": dict.fromkeys(EVERYTHING)}.get(
        name, {name: EVERYTHING.get(name)}
    )
    row = await Everything.create(name="x", **values)
    read = await Everything.find(row.id)
    expected = dict.fromkeys(EVERYTHING) | values
    assert expected == {key: getattr(row, key) for key in EVERYTHING}
    assert expected == {key: getattr(read, key) for key in EVERYTHING}
    await Everything.upsert([{"name": "x", **values}, {"name": "y", **values}])
    assert expected == {key: getattr((await Everything.all())[1], key) for key in EVERYTHING}
    again = await Everything.create(name="y")
    assert expected == {key: getattr(again, key) for key in EVERYTHING}


async def test_enumerations(database: Database) -> None:
    """Values and texts become members, which read back as members; a value that is none is refused, with advice."""
    row = await Everything.create(name="x", shade="green", level="10")
    assert (Colour.GREEN, Level.HIGH) == (row.shade, row.level)
    async with database.session() as session:
        kept = (await session.execute(text("SELECT shade, level FROM written_everything"))).one()
    assert ("green", "10") == tuple(kept)
    await Everything.upsert({"name": "x", "level": 1})
    (read,) = await Everything.all(Everything.shade == Colour.GREEN, Everything.level == Level.LOW)
    assert (Colour.GREEN, Level.LOW, Level) == (read.shade, read.level, type(read.level))
    with pytest.raises(InvalidValue, match=r"Everything\.level: must be one of 1, 10$"):
        await Everything.create(name="y", level=2)


@pytest.mark.parametrize(
    "values", [{"day": 5}, {"hour": "noon"}, {"colour": "blue"}, {"number": "x"}, {"price": "dear"}, {"raw": "text"}]
)
async def test_a_value_of_another_type_is_refused_for_its_handler_only(
    database: Database, values: dict[str, object]
) -> None:
    """As InvalidValue, or as the database understands it; never as an outage, and never for others."""
    bad, good = await together(Everything.create(name="bad", **values), Everything.create(name="good"))
    assert isinstance(bad, InvalidValue | Everything)
    assert "good" == good.name


@pytest.mark.parametrize(
    ("price", "expected"),
    [
        (Decimal("1.0005"), "1.001"),
        (-1.0005, "-1.001"),
        (7, "7"),
        (0.1 + 0.2, "0.3"),
        (Decimal("999999999.999"), "999999999.999"),
    ],
)
async def test_decimals_have_the_places_of_their_column(
    database: Database, price: Decimal | float, expected: str
) -> None:
    """Rounded alike on every database, and so is what ``create`` returns."""
    row = await Everything.create(name="x", price=price)
    await Everything.insert([{"name": "y", "price": price}])
    prices = [each.price for each in await Everything.all()]
    assert [Decimal(expected)] * 3 == [row.price, *prices]


@pytest.mark.parametrize("price", [Decimal(10**9), Decimal("999999999.9995"), 1e300, Decimal("NaN")])
async def test_decimals_of_too_many_digits_do_not_fit(database: Database, price: Decimal | float) -> None:
    """SQLite would take them."""
    for write in (
        lambda: Everything.create(name="x", price=price),
        lambda: Everything.insert([{"name": "x", "price": price}]),
        lambda: Everything.update(Everything.name == "x", price=price),
    ):
        with pytest.raises(ValueOutOfRange):
            await write()
    assert [] == await Everything.all()


async def test_large_texts(database: Database) -> None:
    """A megabyte each, in one flush that is larger than MariaDB's largest packet."""
    long = "ü" * 500_000
    rows = await together(*[Note.create(text=f"{number}{long}") for number in range(20)])
    assert 20 == len(set(ids(rows)))
    assert 1 == attempts(database)
    async with database.session() as session:
        size = await session.scalar(
            text("SELECT MIN(CHAR_LENGTH(text)) FROM written_notes".replace(*_length(database)))
        )
    assert 500_001 == size


def _length(database: Database) -> tuple[str, str]:
    return ("CHAR_LENGTH", "LENGTH" if "sqlite" in database.address else "CHAR_LENGTH")


@pytest.mark.parametrize("fresh_database", ["mariadb"], indirect=True)
async def test_a_row_larger_than_a_packet_is_refused(database: Database) -> None:
    """It would make the server close the connection; the others are written."""
    bad, good = await together(Note.create(text="x" * 17_000_000), Note.create(text="small"))
    assert isinstance(bad, InvalidValue)
    assert "small" == good.text


async def test_ten_thousand_rows_at_once(database: Database) -> None:
    """With and without a key; written again, those with a key are known."""
    meters = [{"serial": f"m{number}", "level": number} for number in range(10_000)]
    await Model.insert(Meter, meters)
    await Model.insert(Meter, meters)
    await Model.insert(Note, [{"text": f"n{number}"} for number in range(10_000)])
    statistics = database.statistics()
    assert (20_000, 10_000, 3) == (statistics.rows, statistics.duplicates, statistics.flushes)
    assert [f"n{number}" for number in range(10_000)] == [t for (t,) in await stored(database, Note, "text")]
    await Model.upsert(Meter, [{"serial": f"m{number}", "level": 1} for number in range(10_000)])
    assert {(1,)} == set(await stored(database, Meter, "level"))


async def test_parents_come_before_children(database: Database) -> None:
    """In one unit of work, whatever the order; within a table, in the order given."""
    async with Model.unit_of_work() as work:
        work.create(Entry, serial="m")
        work.create(Meter, serial="m")
    await Branch.insert([{"name": "z", "parent": None}, {"name": "a", "parent": "z"}])
    assert [("m",)] == await stored(database, Entry, "serial")
    assert [("z", None), ("a", "z")] == await stored(database, Branch, "name", "parent")


@pytest.mark.parametrize("fresh_database", ["mariadb"], indirect=True)
@pytest.mark.parametrize("step", [1, 3])
async def test_ids_that_count_in_steps(fresh_database: FreshDatabase, database: Database, step: int) -> None:
    """As replicated servers do, so that none gives an id that another one gives."""
    await database.create(Note, {"text": "connect"})
    await writer_execute(database, f"SET SESSION auto_increment_increment = {step}")
    database._writes.buffer._writer._step = step
    await Meter.create(serial="b")
    meters = await together(*[Meter.create(serial=serial) for serial in "abcde"])
    notes = await together(*[Note.create(text=str(number)) for number in range(5)])
    stamped = await together(*[Stamped.create(text=str(number)) for number in range(5)])
    assert dict(await stored(database, Meter, "serial", "id")) == {row.serial: row.id for row in meters}
    assert ids(notes) == [number for (number,) in await stored(database, Note, "id")][1:]
    assert ids(stamped) == [number for (number,) in await stored(database, Stamped, "id")]


@pytest.mark.parametrize("fresh_database", ["mariadb"], indirect=True)
async def test_ids_in_a_cluster_are_read_and_not_counted(fresh_database: FreshDatabase, database: Database) -> None:
    """There the step changes with the number of members."""
    await database.create(Note, {"text": "connect"})
    database._writes.buffer._writer._ids_count_up = False
    meters = await together(*[Meter.create(serial=serial) for serial in "dabc"])
    notes = await together(*[Note.create(text=str(number)) for number in range(5)])
    assert dict(await stored(database, Meter, "serial", "id")) == {row.serial: row.id for row in meters}
    assert ids(notes) == [number for (number,) in await stored(database, Note, "id")][1:]


async def writer_execute(database: Database, statement: str) -> None:
    await database._writes.buffer._writer._execute(statement)


@pytest.mark.parametrize("fresh_database", ["postgres"], indirect=True)
async def test_a_table_in_another_schema(database: Database) -> None:
    """Inserted, copied and upserted where it is."""
    from sqlalchemy import String

    from core.database.metadata import metadata
    from core.model import BigId, Mapped, mapped_column

    async with database.engine.begin() as connection:
        await connection.execute(text('CREATE SCHEMA "far away"'))

    class Distant(Model):
        __tablename__ = "written_distant"
        __table_args__ = ({"schema": "far away"},)
        __natural_key__ = ("name",)
        id: Mapped[int] = mapped_column(BigId, primary_key=True)
        name: Mapped[str] = mapped_column(String(20), unique=True)

    try:
        async with database.engine.begin() as connection:
            await connection.run_sync(metadata.create_all, tables=[Distant.__table__])
        first = await Distant.create(name="a")
        await Distant.upsert({"name": "a"})
        await Distant.insert([{"name": "a"}, {"name": "b"}])
        assert [(first.id, "a"), ("b",)[0:0] or (4, "b")][0] == (await stored(database, Distant, "id", "name"))[0]
        assert ["a", "b"] == [name for (name,) in await stored(database, Distant, "name")]
    finally:
        metadata.remove(Distant.__table__)
