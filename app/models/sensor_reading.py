"""What the sensors measured."""

from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import CheckConstraint, Double, Index, String, UniqueConstraint

from core.model import BigId, Instant, Mapped, Model, mapped_column, now, relationship

if TYPE_CHECKING:
    from app.models.device import Device


class SensorReading(Model):
    """One measured value.

    A reading is known by its device, sensor, type and time: the same reading delivered twice is
    stored once. A reading that carries no time gets the time of receipt; delivered twice, it is two.
    """

    __tablename__ = "sensor_readings"
    __natural_key__ = ("device_id", "sensor_id", "sensor_type", "timestamp")
    __table_args__ = (
        UniqueConstraint("device_id", "sensor_id", "sensor_type", "timestamp"),
        # "The last hours of a device", whatever its sensors.
        Index(None, "device_id", "timestamp"),
        CheckConstraint("device_id <> '' OR sensor_id <> ''", name="has_origin"),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    # Empty and not NULL where it is not given: NULL in a unique key would let duplicates in.
    device_id: Mapped[str] = mapped_column(String(128), default="")
    sensor_id: Mapped[str] = mapped_column(String(128), default="")
    sensor_type: Mapped[str] = mapped_column(String(64), default="")
    value: Mapped[float] = mapped_column(Double)
    unit: Mapped[str] = mapped_column(String(32), default="")
    timestamp: Mapped[datetime] = mapped_column(Instant, default=now)

    device: Mapped["Device | None"] = relationship(
        back_populates="sensor_readings",
        primaryjoin="foreign(SensorReading.device_id) == Device.device_id",
        viewonly=True,
    )
