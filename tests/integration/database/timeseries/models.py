"""Time series of the tests."""

import datetime as dt

from sqlalchemy import CheckConstraint, Index, String, UniqueConstraint

from core.model import BigId, Instant, Mapped, Model, TimeSeries, mapped_column, now


class Reading(Model):
    """Known by its sensor and time, with an id that is counted up."""

    __tablename__ = "series_readings"
    __natural_key__ = ("sensor", "at")
    __timeseries__ = TimeSeries(time="at", chunk="1 day", compress_after="7 days", retain="90 days")
    __table_args__ = (
        UniqueConstraint("sensor", "at"),
        Index(None, "sensor", "value"),
        CheckConstraint("value > -300", name="possible"),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    sensor: Mapped[str] = mapped_column(String(40))
    at: Mapped[dt.datetime] = mapped_column(Instant, default=now)
    value: Mapped[float]
    note: Mapped[str | None] = mapped_column(String(40), comment="anything")


class Event(Model):
    """Nothing identifies it but its id; kept for ever."""

    __tablename__ = "series_events"
    __timeseries__ = TimeSeries(time="at", chunk="7 days")

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    at: Mapped[dt.datetime] = mapped_column(Instant, default=now)


MODELS = (Reading, Event)
