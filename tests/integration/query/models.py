"""Models that the tests of queries share."""

import datetime as dt
import enum
import uuid
from decimal import Decimal

from sqlalchemy import Date, Enum, ForeignKey, Index, Integer, Numeric, String, Text, Uuid
from sqlalchemy.dialects import mysql

from core.model import BigId, Instant, Json, Mapped, Model, SoftDeletes, mapped_column, relationship
from core.query import text_document


class Grade(enum.Enum):
    GOOD = "good"
    POOR = "poor"


class Trend(enum.StrEnum):
    UP = "up"
    DOWN = "down"


class Size(enum.IntEnum):
    SMALL = 1
    LARGE = 10


class Shelf(Model):
    __tablename__ = "query_shelves"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    name: Mapped[str] = mapped_column(String(40))
    items: Mapped[list["Item"]] = relationship(back_populates="shelf", order_by="Item.id")


class Item(Model):
    """A column of every kind that can be searched, half of them with NULL."""

    __tablename__ = "query_items"
    __table_args__ = (Index(None, "code", "at"),)

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    code: Mapped[str] = mapped_column(String(40))
    label: Mapped[str | None] = mapped_column("label_text", String(40))
    rank: Mapped[int | None] = mapped_column(Integer)
    weight: Mapped[float | None]
    price: Mapped[Decimal | None] = mapped_column(Numeric(10, 2))
    active: Mapped[bool] = mapped_column(default=True)
    grade: Mapped[Grade | None] = mapped_column(Enum(Grade, native_enum=False, length=10))
    trend: Mapped[Trend | None]
    size: Mapped[Size | None]
    serial: Mapped[uuid.UUID | None] = mapped_column(Uuid)
    day: Mapped[dt.date | None] = mapped_column(Date)
    at: Mapped[dt.datetime] = mapped_column(Instant)
    seen: Mapped[dt.datetime | None] = mapped_column(Instant)
    extra: Mapped[dict[str, str] | None] = mapped_column(Json)
    shelf_id: Mapped[int | None] = mapped_column(ForeignKey("query_shelves.id"))
    shelf: Mapped["Shelf | None"] = relationship(back_populates="items")


class Part(Model):
    """Known by two columns, as in a partitioned table."""

    __tablename__ = "query_parts"
    __table_args__ = (Index(None, "maker", "kind", "at"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    at: Mapped[dt.datetime] = mapped_column(Instant, primary_key=True)
    maker: Mapped[str] = mapped_column(String(20))
    kind: Mapped[str | None] = mapped_column(String(20))


class Ticket(SoftDeletes, Model):
    __tablename__ = "query_tickets"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    owner: Mapped[str] = mapped_column(String(20))
    at: Mapped[dt.datetime] = mapped_column(Instant)


class Note(Model):
    """Searched by words; MariaDB compares them without case only in such a collation."""

    __tablename__ = "query_notes"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    title: Mapped[str] = mapped_column(
        String(200).with_variant(mysql.VARCHAR(200, collation="utf8mb4_general_ci"), "mysql", "mariadb")
    )
    body: Mapped[str | None] = mapped_column(
        Text().with_variant(mysql.TEXT(collation="utf8mb4_general_ci"), "mysql", "mariadb")
    )


Index("ix_query_notes_words", text_document([Note.title, Note.body]), postgresql_using="gin").ddl_if(
    dialect="postgresql"
)
Index("ix_query_notes_text", Note.title, Note.body, mysql_prefix="FULLTEXT", mariadb_prefix="FULLTEXT").ddl_if(
    dialect=("mysql", "mariadb")
)

#: Without notes, whose index of words takes MariaDB longer than all the rest.
MODELS = (Shelf, Item, Part, Ticket)
