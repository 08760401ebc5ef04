"""Columns that many models want: times of their own, and keys that no database has to count."""

import uuid
from datetime import datetime

from sqlalchemy import Uuid
from sqlalchemy.orm import Mapped, mapped_column

from core.database.types import Instant
from core.database.uuid7 import uuid7
from core.instants import now

__all__ = ["Timestamps", "UUIDv7Key"]


class Timestamps:
    """When a row was created, and when it was changed last; both in UTC.

    Filled in by Python, to the microsecond on every database. A statement that changes rows without
    SQLAlchemy's knowledge does not move ``updated_at``.
    """

    created_at: Mapped[datetime] = mapped_column(Instant, default=now, sort_order=900)
    updated_at: Mapped[datetime] = mapped_column(Instant, default=now, onupdate=now, sort_order=901)


class UUIDv7Key:
    """A primary key ``id`` that is known before the row is written, and grows with time.

    Made by the process and not by the database: a row can name another one before either is stored, and
    rows of many databases can be merged. Growing keys go to the end of the index, where random ones
    would touch all of it.
    """

    id: Mapped[uuid.UUID] = mapped_column(Uuid, primary_key=True, default=uuid7, sort_order=-1)
