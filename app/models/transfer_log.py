"""The history of who owned a device."""

from datetime import datetime

from sqlalchemy import Index, String

from core.model import BigId, Instant, Mapped, Model, mapped_column, now


class TransferLog(Model):
    """One change of a device's owner."""

    __tablename__ = "transfer_logs"
    __table_args__ = (Index(None, "device_id", "timestamp"),)

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    device_id: Mapped[str] = mapped_column(String(128))
    from_user_id: Mapped[str | None] = mapped_column(String(64))
    to_user_id: Mapped[str | None] = mapped_column(String(64))
    timestamp: Mapped[datetime] = mapped_column(Instant, default=now)
