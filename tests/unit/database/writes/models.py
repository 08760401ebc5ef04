"""Models of which only the shapes are needed, and a way to make atoms of them."""

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, String
from sqlalchemy.dialects import mysql, postgresql, sqlite

from core.database.atoms import Atom, Change, Insert, Operation, Upsert
from core.database.shapes import Shapes
from core.model import BigId, Instant, Mapped, Model, mapped_column


class Thing(Model):
    __tablename__ = "planned_things"
    __natural_key__ = ("name",)

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    name: Mapped[str] = mapped_column(String(20), unique=True)
    a: Mapped[int | None]
    b: Mapped[int | None]
    label: Mapped[str | None] = mapped_column(String(20), unique=True)
    at: Mapped[datetime | None] = mapped_column(Instant)


class Part(Model):
    __tablename__ = "planned_a_parts"  # by name it would come before what it refers to

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    thing: Mapped[str] = mapped_column(ForeignKey("planned_things.name"))


POSTGRESQL = postgresql.dialect()
MYSQL = mysql.dialect()
SQLITE = sqlite.dialect()

#: An upsert that takes over all that is given, whatever is stored.
ALL = Change()


def shapes() -> Shapes:
    return Shapes(POSTGRESQL)


def insert(known: Shapes, model: type[Any], **fields: Any) -> Insert:
    shape = known.of(model, fields)
    return Insert(shape, [shape.row(fields)])


def upsert(
    known: Shapes, fields: Mapping[str, Any], change: Change = ALL, key: tuple[str, ...] | None = None
) -> Upsert:
    shape = known.of(Thing, fields, key)
    return Upsert(shape, [shape.row(dict(fields))], change)


def atom(*operations: Operation) -> Atom:
    """An atom for which nobody waits."""
    return Atom(list(operations), asyncio.Future(loop=_NO_LOOP))


class _NoLoop(asyncio.AbstractEventLoop):
    def get_debug(self) -> bool:
        return False


_NO_LOOP = _NoLoop()
