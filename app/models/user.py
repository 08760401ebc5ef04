"""The people who own devices."""

from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import String

from core.model import BigId, Instant, Mapped, Model, mapped_column, now, relationship

if TYPE_CHECKING:
    from app.models.device import Device


class User(Model):
    """A person or organisation that owns devices."""

    __tablename__ = "users"
    __natural_key__ = ("user_id",)

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    user_id: Mapped[str] = mapped_column(String(64), unique=True)
    name: Mapped[str] = mapped_column(String(255), default="")
    email: Mapped[str | None] = mapped_column(String(255), unique=True)
    created_at: Mapped[datetime] = mapped_column(Instant, default=now)
    updated_at: Mapped[datetime] = mapped_column(Instant, default=now, onupdate=now)

    devices: Mapped[list["Device"]] = relationship(
        back_populates="user", primaryjoin="foreign(Device.user_id) == User.user_id"
    )
