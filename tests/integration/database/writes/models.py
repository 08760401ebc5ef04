"""Models that the tests of writing share: every way of being identified, every type of column."""

import datetime as dt
import enum
import uuid
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    JSON,
    CheckConstraint,
    Date,
    Enum,
    ForeignKey,
    Integer,
    Interval,
    LargeBinary,
    Numeric,
    String,
    Text,
    Time,
    UniqueConstraint,
    Uuid,
    func,
)
from sqlalchemy.dialects.mysql import LONGTEXT
from sqlalchemy.dialects.postgresql import ARRAY

from core.database.metadata import writer_table
from core.model import BigId, Instant, Mapped, Model, mapped_column, now


class Note(Model):
    """Nothing but its id identifies it."""

    __tablename__ = "written_notes"
    __table_args__ = (CheckConstraint("rank > 0", name="rank"),)

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    text: Mapped[str] = mapped_column(Text().with_variant(LONGTEXT(), "mysql", "mariadb"))
    rank: Mapped[int] = mapped_column(default=1)


class Stamped(Model):
    """Nothing but its id identifies it, and the database fills in more than that."""

    __tablename__ = "written_stamped"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    text: Mapped[str]
    source: Mapped[str] = mapped_column(String(20), server_default="nobody")
    stored_at: Mapped[dt.datetime] = mapped_column(Instant, server_default=func.now())


class Meter(Model):
    """A natural key, and beside it another unique column."""

    __tablename__ = "written_meters"
    __natural_key__ = ("serial",)
    __table_args__ = (CheckConstraint("level >= 0", name="level"),)

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    serial: Mapped[str] = mapped_column(String(20), unique=True)
    label: Mapped[str | None] = mapped_column(String(20), unique=True)
    status: Mapped[str] = mapped_column(String(20), default="new")
    level: Mapped[int | None]
    last_seen: Mapped[dt.datetime | None] = mapped_column(Instant)
    updated_at: Mapped[dt.datetime] = mapped_column(Instant, default=now, onupdate=now)


class Entry(Model):
    """Refers to a meter."""

    __tablename__ = "written_entries"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    serial: Mapped[str] = mapped_column(ForeignKey("written_meters.serial"))


class Branch(Model):
    """Refers to another row of its own table."""

    __tablename__ = "written_branches"
    __natural_key__ = ("name",)

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    name: Mapped[str] = mapped_column(String(20), unique=True)
    parent: Mapped[str | None] = mapped_column(ForeignKey("written_branches.name"))


class Ticket(Model):
    """Its key is made by whoever writes it."""

    __tablename__ = "written_tickets"
    __natural_key__ = ("number",)

    number: Mapped[uuid.UUID] = mapped_column(Uuid, primary_key=True, default=uuid.uuid4)
    title: Mapped[str | None] = mapped_column(String(20))


class Seat(Model):
    """Its key is of two columns."""

    __tablename__ = "written_seats"
    __natural_key__ = ("row", "number")

    row: Mapped[str] = mapped_column(String(5), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    guest: Mapped[str | None] = mapped_column(String(20))


class Odd(Model):
    """Columns that must be quoted, and attributes of other names than theirs."""

    __tablename__ = "written odd%s"
    __natural_key__ = ("key",)
    __table_args__ = (UniqueConstraint("select"),)

    number: Mapped[int] = mapped_column("the id", BigId, primary_key=True)
    key: Mapped[str] = mapped_column("select", String(20))
    percent: Mapped[int | None] = mapped_column("100% sure")
    quoted: Mapped[str | None] = mapped_column('a "quoted" `name`', String(20))
    mixed: Mapped[str | None] = mapped_column("MixedCase", String(20))


class Colour(enum.Enum):
    RED = "red"
    GREEN = "green"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 10


class Everything(Model):
    """A column of every type."""

    __tablename__ = "written_everything"
    __natural_key__ = ("name",)

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    name: Mapped[str] = mapped_column(String(20), unique=True)
    flag: Mapped[bool | None]
    document: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    raw: Mapped[bytes | None] = mapped_column(LargeBinary)
    day: Mapped[dt.date | None] = mapped_column(Date)
    hour: Mapped[dt.time | None] = mapped_column(Time)
    price: Mapped[Decimal | None] = mapped_column(Numeric(12, 3))
    number: Mapped[uuid.UUID | None] = mapped_column(Uuid)
    colour: Mapped[Colour | None] = mapped_column(Enum(Colour, name="written_colour"))
    shade: Mapped[Colour | None]
    level: Mapped[Level | None]
    span: Mapped[dt.timedelta | None] = mapped_column(Interval)
    many: Mapped[list[Any] | None] = mapped_column(
        ARRAY(Integer).with_variant(JSON(), "sqlite", "mysql", "mariadb"),
    )
    at: Mapped[dt.datetime | None]


MODELS = (Note, Stamped, Meter, Entry, Branch, Ticket, Seat, Odd, Everything)
TABLES = [*(model.__table__ for model in MODELS), writer_table]
