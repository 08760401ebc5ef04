"""Models on SQLite in memory; tests/integration/database holds the same against all three databases."""

import asyncio
import base64
import datetime as dt
import uuid
from collections.abc import AsyncIterator
from decimal import Decimal
from enum import Enum
from typing import Any

import pytest
from sqlalchemy import Date, Interval, LargeBinary, Numeric, String, UniqueConstraint, Uuid, func, select, text
from sqlalchemy.orm import deferred, validates

from core.database.database import Database
from core.exceptions import (
    ConfigurationError,
    DatabaseNotConfigured,
    DatabaseUnavailable,
    InvalidQuery,
    InvalidValue,
    SchemaError,
    UniqueViolation,
    UnknownField,
)
from core.model import Instant, Mapped, Model, mapped_column, now


class Colour(Enum):
    RED = "red"


class Stamped:
    """A mixin."""

    created_at: Mapped[dt.datetime] = mapped_column(Instant, default=now)


class Placed(Model):
    """An abstract base."""

    __abstract__ = True
    site: Mapped[str] = mapped_column(String(20), default="main")


class Pump(Stamped, Placed):
    __tablename__ = "model_pumps"
    __natural_key__ = ("name", "site")
    __table_args__ = (UniqueConstraint("name", "site"),)
    __mapper_args__ = {"confirm_deleted_rows": False}  # noqa: RUF012 - SQLAlchemy's own name

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(20))
    serial: Mapped[str | None] = mapped_column(String(20), unique=True)
    pressure: Mapped[float | None] = mapped_column("pressure_bar")
    label: Mapped[str] = mapped_column(String(20), server_default="none")
    checked_at: Mapped[dt.datetime | None] = mapped_column(default=func.now())
    code: Mapped[str] = mapped_column(String(30), default=lambda context: context.get_current_parameters()["name"])
    notes: Mapped[str | None] = deferred(mapped_column(String(50)))

    @validates("pressure")
    def _check_pressure(self, _key: str, value: float | None) -> float | None:
        if value is not None and value < 0:
            raise ValueError("pressure is negative")
        return value


class Celsius(Model):
    """A model with a constructor of its own."""

    __tablename__ = "model_celsius"

    id: Mapped[int] = mapped_column(primary_key=True)
    kelvin: Mapped[float]

    def __init__(self, *, celsius: float) -> None:
        super().__init__(kelvin=celsius + 273.15)


class Everything(Model):
    __tablename__ = "model_everything"

    key: Mapped[uuid.UUID] = mapped_column(Uuid, primary_key=True, default=uuid.uuid4)
    price: Mapped[Decimal] = mapped_column(Numeric(10, 2))
    raw: Mapped[bytes] = mapped_column(LargeBinary)
    colour: Mapped[Colour]
    day: Mapped[dt.date] = mapped_column(Date)
    took: Mapped[dt.timedelta] = mapped_column(Interval)
    tags: Mapped[dict[str, Any]]
    steps: Mapped[list[Any]]
    at: Mapped[dt.datetime]


class Cell(Model):
    __tablename__ = "model_cells"

    row: Mapped[str] = mapped_column("r", String(10), primary_key=True)
    column: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    readings: Mapped[int] = mapped_column(default=0)


class LampColour(Enum):
    RED = "red"
    BLUE = "blue"


class Lamp(Model):
    __tablename__ = "model_lamps"

    colour: Mapped[LampColour] = mapped_column(primary_key=True)
    watts: Mapped[int] = mapped_column(default=0)


class Absent(Model):
    __tablename__ = "model_absent"

    id: Mapped[int] = mapped_column(primary_key=True)


@pytest.fixture
async def database() -> AsyncIterator[Database]:
    database = Model.configure("sqlite://")
    await Model.create_tables()
    yield database
    await Model.cleanup()


# --- configuration ---


async def test_without_a_database_every_verb_says_so() -> None:
    """The error names the call that is missing; nothing returns None instead."""
    assert Model._is_enabled is False
    verbs = (
        lambda: Model.create(Pump, name="a"),
        lambda: Pump.find(1),
        Pump.all,
        Model.get_session,
        Model.create_tables,
    )
    for verb in verbs:
        with pytest.raises(DatabaseNotConfigured, match=r"Model\.configure"):
            await verb()
    await Model.cleanup()


async def test_configuring_a_subclass_configures_all() -> None:
    """The database is installed on Model, whichever class the call names; cleanup takes it away."""
    installed = Pump.configure("sqlite://")
    assert installed is Model.database() is Cell.database()
    assert Model._is_enabled is True
    assert Pump._is_enabled is True
    await Cell.cleanup()
    assert Pump._is_enabled is False


async def test_model_itself_is_no_target(database: Database) -> None:
    """Model.create() without a model is a programming error with its own message."""
    with pytest.raises(TypeError, match="say which model"):
        await Model.all()
    for other in (Placed, str, "Pump"):
        with pytest.raises(TypeError, match="maps no table"):
            await Model.find(other, 1)  # type: ignore[call-overload]


async def test_two_databases_in_memory_are_two(database: Database) -> None:
    """Tests that install another database do not see each other's rows."""
    other = Database("sqlite://")
    await other.create_tables()
    await database.create(Pump, {"name": "a"})
    assert [] == await other.all(Pump)
    await other.close()


async def test_the_same_verbs_run_on_another_database(database: Database) -> None:
    """In both spellings, class methods of the model's own included; the default database does not notice."""
    other = Database("sqlite://")
    Model.install(other, "archive")
    await Model.on("archive").create_tables()
    archive = Pump.on("archive")
    assert 1 == (await archive.create(name="old")).id
    assert ["old"] == [pump.name for pump in await Model.on("archive").all(Pump)]
    assert "old" == (await archive.find(1)).name  # type: ignore[union-attr]
    await archive.upsert({"name": "older", "site": "main"})
    async with await archive.get_session() as session:
        assert 2 == await session.scalar(select(func.count()).select_from(Pump))
    async with archive.unit_of_work() as work:
        work.create(Pump, name="oldest")
    assert 3 == len(await archive.all())
    assert [] == await Pump.all()
    async with await archive.get_session(read=True) as session:
        session.add(Pump(name="new"))
        with pytest.raises(InvalidQuery, match="only reads"):
            await session.flush()
    assert other is archive.database()
    assert "<Pump on sqlite" in repr(archive)
    with pytest.raises(TypeError, match="say which model"):
        await Model.on("archive").all()


@pytest.mark.parametrize("verb", ["cleanup", "configure", "install"])
async def test_what_is_about_all_databases_is_refused_on_one(database: Database, verb: str) -> None:
    """It would close or replace those that nobody has named."""
    Model.install(Database("sqlite://"), "archive")
    with pytest.raises(InvalidQuery, match=rf"fix: Model\.{verb}\(\)"):
        getattr(Model.on("archive"), verb)
    assert database is Model.database()
    assert Model.on("archive").database() is Pump.on("default").on("archive").database()


async def test_rows_may_be_known_by_an_enumeration(database: Database) -> None:
    """Though its members have no order; and rows may come from a generator."""
    await Lamp.insert([{"colour": "red"}, {"colour": "blue"}])
    assert 2 == await Lamp.update({"colour": colour, "watts": watts} for watts, colour in enumerate(LampColour))
    assert {LampColour.RED: 0, LampColour.BLUE: 1} == {lamp.colour: lamp.watts for lamp in await Lamp.all()}


@pytest.mark.parametrize("row", [{"colour": "red", "watts": func.abs(3)}, {"colour": func.lower("RED"), "watts": 3}])
async def test_rows_of_an_update_hold_no_sql(database: Database, row: dict[str, Any]) -> None:
    """The message says what takes it."""
    with pytest.raises(InvalidQuery, match=r"is an SQL expression.*fix: update by criteria"):
        await Lamp.update([row])


async def test_a_database_of_no_name_is_named(database: Database) -> None:
    """With the setting that is missing; taken away, a database is none."""
    with pytest.raises(DatabaseNotConfigured, match=r"'archive'.*default.*DB_URLS"):
        Pump.on("archive")
    Model.install(Database("sqlite://"), "archive")
    Pump.on("archive")
    Model.install(None, "archive")
    with pytest.raises(DatabaseNotConfigured, match="'archive'"):
        Pump.on("archive")


async def test_cleanup_closes_every_database(database: Database) -> None:
    """Whatever they are called."""
    other = Database("sqlite://")
    Model.install(other, "archive")
    await Model.cleanup()
    for closed in (database, other):
        with pytest.raises(DatabaseUnavailable):
            await closed.create(Cell, {"row": "a", "column": 1})


# --- create ---


async def test_create_returns_the_row_with_every_generated_column(database: Database) -> None:
    """Ids, defaults of Python, of the database, of SQL and of SQLAlchemy's context are all filled in."""
    pump = await Model.create(Pump, name="a", pressure=2)
    assert (1, "a", "main", 2.0, "none", "a") == (pump.id, pump.name, pump.site, pump.pressure, pump.label, pump.code)
    assert isinstance(pump.pressure, float)
    assert dt.UTC is pump.created_at.tzinfo
    assert pump.checked_at is not None
    assert dt.UTC is pump.checked_at.tzinfo
    assert pump.to_dict() | {"notes": None} == (await Pump.find(1)).to_dict() | {"notes": None}  # type: ignore[union-attr]


async def test_both_spellings_are_one(database: Database) -> None:
    """The verb on the subclass is the verb on Model."""
    assert "b" == (await Pump.create(name="b")).name
    assert ["b"] == [pump.name for pump in await Model.all(Pump)]
    assert "b" == (await Model.find(Pump, 1)).name  # type: ignore[union-attr]


async def test_a_natural_key_makes_create_idempotent(database: Database) -> None:
    """The second call returns the row that is there, unchanged, also where the key has a default."""
    first = await Pump.create(name="a", pressure=1)
    again = await Pump.create(name="a", site="main", pressure=9)
    assert (first.id, 1.0, "none") == (again.id, again.pressure, again.label)
    assert first.id != (await Pump.create(name="a", site="other")).id
    assert (2, 1) == (database.statistics().rows, database.statistics().duplicates)


async def test_another_unique_key_is_still_a_violation(database: Database) -> None:
    """Only the natural key makes two rows one."""
    await Pump.create(name="a", serial="s")
    with pytest.raises(UniqueViolation):
        await Pump.create(name="b", serial="s")
    assert 1 == len(await Pump.all())


async def test_concurrent_creates_and_reads_do_not_disturb_each_other(database: Database) -> None:
    """In memory too, each task has a transaction of its own."""

    async def work(number: int) -> int:
        pump = await Pump.create(name=f"p{number % 10}")
        await Pump.all()
        return pump.id

    ids = await asyncio.gather(*(work(number) for number in range(50)))
    assert {pump.id for pump in await Pump.all()} == set(ids)
    assert 10 == len(set(ids))


async def test_an_unknown_field_is_named_with_a_suggestion(database: Database) -> None:
    """A typing error costs no search; other names are listed."""
    with pytest.raises(UnknownField, match=r"Pump has no field 'presure'; did you mean 'pressure'\?"):
        await Pump.create(name="a", presure=1)
    with pytest.raises(UnknownField, match=r"it has: .*pressure"):
        await Pump.create(name="a", xyzzy=1)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": 17}, r"Pump\.name: must be text, not int"),
        ({"name": "x" * 21}, r"Pump\.name: is 21 characters long; at most 20 fit"),
        ({"name": "a", "pressure": float("nan")}, r"Pump\.pressure: must be a finite number"),
        ({"name": "a", "pressure": -1}, "Pump: pressure is negative"),
        ({"name": "a", "created_at": "soon"}, "Pump: 'soon' is no time"),
        ({"name": "a", "id": 2**64}, r"Pump\.id: does not fit in 64 bits"),
        ({}, "NOT NULL"),
    ],
)
async def test_a_value_that_does_not_fit_is_refused(database: Database, fields: dict[str, Any], message: str) -> None:
    """The error names the attribute; nothing is stored."""
    with pytest.raises(InvalidValue, match=message):
        await Pump.create(**fields)
    assert [] == await Pump.all()


async def test_a_constructor_of_ones_own_runs(database: Database) -> None:
    """Its arguments are the fields; what it sets is stored."""
    created = await Celsius.create(celsius=26.85)
    assert 300.0 == pytest.approx(created.kelvin)
    with pytest.raises(InvalidValue, match="fahrenheit"):
        await Celsius.create(fahrenheit=1)


async def test_values_may_be_sql(database: Database) -> None:
    """The database computes them, and what it computed is read back."""
    pump = await Pump.create(name="a", site=func.upper("north"), checked_at=func.now())
    assert "NORTH" == pump.site
    assert pump.checked_at is not None


async def test_a_missing_table_names_the_fix(database: Database) -> None:
    """The message says which table, and how to get it."""
    async with database.engine.begin() as connection:
        await connection.execute(text("DROP TABLE model_absent"))
    with pytest.raises(SchemaError, match=r"create_tables.*model_absent"):
        await Absent.create()


# --- find and all ---


async def test_find_takes_composite_and_text_keys(database: Database) -> None:
    """A tuple in the order of the key, or a mapping by attribute; None where there is no such row."""
    await Cell.create(row="a", column=2, readings=7)
    for key in (("a", 2), ["a", 2], {"column": 2, "row": "a"}):
        found = await Cell.find(key)
        assert found is not None
        assert 7 == found.readings
    assert await Cell.find(("a", 3)) is None
    assert "<Cell a, 2>" == repr(found)


@pytest.mark.parametrize("key", [1, ("a",), ("a", "2"), (1, 2), {"row": "a"}, None])
async def test_find_refuses_a_key_of_another_form(database: Database, key: Any) -> None:
    """No database gets to guess what it may mean: MariaDB would take the text '1abc' for 1."""
    with pytest.raises(InvalidValue, match="Cell"):
        await Cell.find(key)


async def test_all_is_in_the_order_of_the_key(database: Database) -> None:
    """Not in the order of writing."""
    for row, column in (("b", 1), ("a", 2), ("a", 1)):
        await Cell.create(row=row, column=column)
    assert [("a", 1), ("a", 2), ("b", 1)] == [(cell.row, cell.column) for cell in await Cell.all()]


# --- instances ---


async def test_to_dict_is_json(database: Database) -> None:
    """Every type that JSON lacks becomes text."""
    key = uuid.uuid4()
    fields = {"price": Decimal("1.50"), "raw": b"\0\xff", "colour": Colour.RED, "day": dt.date(2026, 1, 31)}
    more = {"took": dt.timedelta(minutes=1), "tags": {"a": [1, None]}, "steps": [1, "b"], "at": 1700000000.5}
    expected = {
        "key": str(key),
        "price": "1.50",
        "raw": base64.b64encode(b"\0\xff").decode(),
        "colour": "red",
        "day": "2026-01-31",
        "took": "PT60S",
        "tags": {"a": [1, None]},
        "steps": [1, "b"],
        "at": "2023-11-14T22:13:20.500000Z",
    }
    created = await Everything.create(key=key, **fields, **more)
    assert expected == created.to_dict()
    assert expected == (await Everything.find(key)).to_dict()  # type: ignore[union-attr]


async def test_to_dict_names_attributes_and_leaves_out_what_is_not_loaded(database: Database) -> None:
    """The attribute is pressure, whatever its column is called; a deferred column is not loaded."""
    await Pump.create(name="a", pressure=1, notes="long")
    found = await Pump.find(1)
    assert found is not None
    shown = found.to_dict()
    assert 1.0 == shown["pressure"]
    assert {"pressure_bar", "notes"}.isdisjoint(shown)


async def test_a_detached_instance_loads_what_is_missing(database: Database) -> None:
    """awaitable_attrs works after the session is gone, and remembers."""
    await Pump.create(name="a", notes="long")
    found = await Pump.find(1)
    assert found is not None
    assert "long" == await found.awaitable_attrs.notes
    assert "long" == found.notes == found.to_dict()["notes"]
    assert "a" == await found.awaitable_attrs.name
    with pytest.raises(AttributeError, match="xyzzy"):
        await found.awaitable_attrs.xyzzy


async def test_awaitable_attributes_use_the_session_that_holds_the_instance(database: Database) -> None:
    """They see what its transaction has written."""
    await Pump.create(name="a", notes="old")
    async with await Model.get_session() as session:
        pump = (await session.scalars(select(Pump))).one()
        await session.execute(text("UPDATE model_pumps SET notes = 'new'"))
        assert "new" == await pump.awaitable_attrs.notes


async def test_a_time_reads_back_as_it_will_be_stored() -> None:
    """Assigned as a number or a text, it is an aware datetime at once; SQL and None stay."""
    pump = Pump(name="a", created_at=1700000000)
    assert dt.datetime(2023, 11, 14, 22, 13, 20, tzinfo=dt.UTC) == pump.created_at
    pump.checked_at = "2026-01-31T12:00:00+02:00"  # type: ignore[assignment]
    assert dt.datetime(2026, 1, 31, 10, tzinfo=dt.UTC) == pump.checked_at
    pump.checked_at = None
    assert pump.checked_at is None
    with pytest.raises(ValueError, match="no time"):
        pump.checked_at = "soon"  # type: ignore[assignment]


# --- sessions ---


async def test_a_session_neither_expires_nor_flushes_by_itself(database: Database) -> None:
    """Attributes stay readable after commit, and a query sends nothing that was only added."""
    async with await Model.get_session() as session:
        pump = Pump(name="a")
        session.add(pump)
        assert 0 == await session.scalar(select(func.count()).select_from(Pump))
        await session.commit()
        assert "a" == pump.name
    assert session is not await Model.get_session()


async def test_closing_the_database_ends_open_sessions(tmp_path: Any) -> None:
    """Neither the forgotten session nor its connection leaves a warning behind."""
    database = Database(f"sqlite:///{tmp_path}/app.db")
    idle, busy = database.session(), database.session()
    await busy.execute(text("SELECT 1"))
    await database.close()
    await busy.close()
    await idle.close()


# --- definitions ---


@pytest.mark.parametrize("name", ["create", "find", "all", "to_dict", "database", "awaitable_attrs"])
def test_an_attribute_may_not_hide_a_verb(name: str) -> None:
    """Refused when the class is defined, with the spelling that keeps the column's name."""
    body = {"__tablename__": "model_hiding", "id": mapped_column(primary_key=True)}
    annotations = {"id": Mapped[int], name: Mapped[str]}
    with pytest.raises(ConfigurationError, match=rf"Hiding\.{name} .*{name}_ = mapped_column\('{name}'\)"):
        type("Hiding", (Model,), {**body, "__annotations__": annotations})


def test_a_mixin_may_not_hide_a_verb_either() -> None:
    """Whose body the attribute is in plays no part."""

    class Mixin:
        find: Mapped[str]

    with pytest.raises(ConfigurationError, match=r"Hiding\.find"):
        type("Hiding", (Mixin, Model), {"__tablename__": "model_hiding"})


def test_a_bare_annotation_gets_a_type_that_all_databases_keep_alike() -> None:
    """64-bit numbers, double precision, times with microseconds, texts with a length, JSON."""
    types = {column.key: str(column.type) for column in Everything.__table__.columns}
    assert "DATETIME" == types["at"]
    assert "Json()" == types["tags"] == types["steps"]
    assert "BIGINT" == str(Cell.__table__.c.readings.type)
    assert "DOUBLE" == str(Celsius.__table__.c.kelvin.type)
    assert "VARCHAR(20)" == str(Pump.__table__.c.site.type)
