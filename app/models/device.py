"""The devices and their present state."""

from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import String

from core.model import BigId, Instant, Mapped, Model, mapped_column, now, relationship, to_instant

if TYPE_CHECKING:
    from app.models.sensor_reading import SensorReading
    from app.models.user import User


class Device(Model):
    """A device as it was last heard of."""

    __tablename__ = "devices"
    __natural_key__ = ("device_id",)

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    device_id: Mapped[str] = mapped_column(String(128), unique=True)
    name: Mapped[str] = mapped_column(String(255), default="")
    device_type: Mapped[str] = mapped_column(String(64), default="")
    status: Mapped[str] = mapped_column(String(32), default="unknown")
    last_seen: Mapped[datetime | None] = mapped_column(Instant)
    user_id: Mapped[str | None] = mapped_column(String(64), index=True)
    created_at: Mapped[datetime] = mapped_column(Instant, default=now)
    updated_at: Mapped[datetime] = mapped_column(Instant, default=now, onupdate=now)

    # Joined by the outside ids, without foreign keys: a reading must not be refused because its
    # device has not registered yet.
    user: Mapped["User | None"] = relationship(
        back_populates="devices", primaryjoin="foreign(Device.user_id) == User.user_id"
    )
    sensor_readings: Mapped[list["SensorReading"]] = relationship(
        back_populates="device", primaryjoin="foreign(SensorReading.device_id) == Device.device_id", viewonly=True
    )

    @classmethod
    async def heard_of(cls, device_id: str, status: str, at: datetime | float | None) -> None:
        """Note the status of a device, and the device itself when it is new; older news change nothing.

        Args:
            device_id: The device.
            status: ``online`` or ``offline``.
            at: When it was heard of; ``None`` when only the state is known and not since when, as from
                a retained message.
        """
        news = {"device_id": device_id, "status": status}
        if at is None:
            await cls.upsert(news)
        else:
            await cls.upsert(news | {"last_seen": to_instant(at)}, newer_than="last_seen")
