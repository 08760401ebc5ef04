"""What the simulated service writes."""

from sqlalchemy import String, UniqueConstraint

from core.model import BigId, Mapped, Model, mapped_column

__all__ = ["Keyless", "Reading", "State"]


class Reading(Model):
    """A row with a natural key: of one message on one route."""

    __tablename__ = "simulated_readings"
    __natural_key__ = ("route", "n", "part")
    __table_args__ = (UniqueConstraint("route", "n", "part"),)

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    route: Mapped[str] = mapped_column(String(20))
    n: Mapped[int]
    part: Mapped[int]


class Keyless(Model):
    """A row that nothing identifies."""

    __tablename__ = "simulated_keyless"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    route: Mapped[str] = mapped_column(String(20))
    n: Mapped[int]


class State(Model):
    """The last message of a lane."""

    __tablename__ = "simulated_states"
    __natural_key__ = ("route", "topic")
    __table_args__ = (UniqueConstraint("route", "topic"),)

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    route: Mapped[str] = mapped_column(String(20))
    topic: Mapped[str] = mapped_column(String(40))
    n: Mapped[int]
