"""Models of the tests around models."""

import datetime as dt
from typing import Any

from sqlalchemy import Index, String, UniqueConstraint
from sqlalchemy.orm import deferred, validates

from core.model import Instant, Json, Mapped, Model, SoftDeletes, Timestamps, UUIDv7Key, mapped_column, relationship


class Hall(Model):
    __tablename__ = "around_halls"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(20))
    notes: Mapped[str | None] = deferred(mapped_column(String(50)))
    machines: Mapped[list["Machine"]] = relationship(
        back_populates="hall", primaryjoin="foreign(Machine.hall_id) == Hall.id", order_by="Machine.serial"
    )


class Machine(SoftDeletes, Timestamps, UUIDv7Key, Model):
    """All mixins on one model."""

    __tablename__ = "around_machines"
    __natural_key__ = ("serial",)

    serial: Mapped[str] = mapped_column(String(20), unique=True)
    level: Mapped[int] = mapped_column(default=0)
    hall_id: Mapped[int | None]
    hall: Mapped["Hall | None"] = relationship(
        back_populates="machines", primaryjoin="foreign(Machine.hall_id) == Hall.id"
    )


class Valve(SoftDeletes, Model):
    """Validated by code, so that no bulk statement can write it."""

    __tablename__ = "around_valves"
    __natural_key__ = ("serial",)

    id: Mapped[int] = mapped_column(primary_key=True)
    serial: Mapped[str] = mapped_column(String(20), unique=True)
    level: Mapped[int] = mapped_column(default=0)

    @validates("serial")
    def _check_serial(self, _key: str, serial: str) -> str:
        return serial


class Settings(Model):
    __tablename__ = "around_settings"

    id: Mapped[int] = mapped_column(primary_key=True)
    tags: Mapped[dict[str, Any] | None]
    steps: Mapped[list[Any] | None]
    anything: Mapped[Any] = mapped_column(Json, nullable=True)


class Indexed(Model):
    """An index begins with its time."""

    __tablename__ = "around_indexed"
    __table_args__ = (Index(None, "at"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[dt.datetime] = mapped_column(Instant)


class Unindexed(Model):
    """Only its key leads to old rows."""

    __tablename__ = "around_unindexed"

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[dt.datetime] = mapped_column(Instant)


class Pair(Model):
    """A key of two columns, and an index that begins with the time."""

    __tablename__ = "around_pairs"
    __table_args__ = (UniqueConstraint("at", "left", "right"),)

    left: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    right: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    at: Mapped[dt.datetime] = mapped_column(Instant)


class Unreachable(Model):
    """Nothing leads to its old rows."""

    __tablename__ = "around_unreachable"

    left: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    right: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    at: Mapped[dt.datetime] = mapped_column(Instant)


MODELS = (Hall, Machine, Valve, Settings, Indexed, Unindexed, Pair, Unreachable)
