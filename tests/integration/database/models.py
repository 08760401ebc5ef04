"""Models that the database tests share."""

import datetime as dt

from sqlalchemy import CheckConstraint, Double, ForeignKey, Integer, String, UniqueConstraint, func
from sqlalchemy.orm import validates

from core.model import BigId, Instant, Mapped, Model, mapped_column, now


class Site(Model):
    __tablename__ = "trial_sites"

    code: Mapped[str] = mapped_column(String(10), primary_key=True)


class Gauge(Model):
    """Constraints of every kind, so that each can be broken."""

    __tablename__ = "trial_gauges"
    __table_args__ = (CheckConstraint("level > 0", name="level"),)

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    name: Mapped[str] = mapped_column(String(10), unique=True)
    site: Mapped[str | None] = mapped_column(ForeignKey("trial_sites.code"))
    level: Mapped[int | None] = mapped_column(Integer)
    value: Mapped[float | None] = mapped_column(Double)


class Sample(Model):
    """A natural key over several columns, one of them with a default."""

    __tablename__ = "trial_samples"
    __natural_key__ = ("source", "unit", "at")
    __table_args__ = (UniqueConstraint("source", "unit", "at"),)

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    source: Mapped[str] = mapped_column(String(20))
    unit: Mapped[str] = mapped_column(String(20), default="C")
    at: Mapped[dt.datetime] = mapped_column(Instant, default=now)
    value: Mapped[float]
    note: Mapped[str] = mapped_column(String(20), server_default="none")
    stored_at: Mapped[dt.datetime] = mapped_column(Instant, server_default=func.now())


class Checked(Model):
    """Validated by code, so that no bulk statement can write it."""

    __tablename__ = "trial_checked"
    __natural_key__ = ("name",)

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    name: Mapped[str] = mapped_column(String(20), unique=True)
    value: Mapped[float | None]
    at: Mapped[dt.datetime | None]

    @validates("name")
    def _check_name(self, _key: str, name: str) -> str:
        return name


class Untabled(Model):
    """Its table is never created."""

    __tablename__ = "trial_untabled"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    name: Mapped[str] = mapped_column(String(10))


TABLES = [model.__table__ for model in (Site, Gauge, Sample, Checked)]
