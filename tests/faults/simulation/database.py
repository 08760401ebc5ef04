"""The simulated database: its rows, and a writer whose every flush ends as the simulation decides."""

import asyncio
from collections.abc import Sequence
from enum import Enum

from sqlalchemy import UniqueConstraint

from core.database.flush import Batch
from core.database.shapes import Row
from core.database.writers.base import Contention, RowLocked
from core.exceptions import DatabaseUnavailable, InvalidValue
from core.model import BigId, Mapped, Model, mapped_column

__all__ = ["End", "Simulated", "SimulatedDatabase", "SimulatedWriter"]


class Simulated(Model):
    """What the simulated handlers write."""

    __tablename__ = "simulated"
    __natural_key__ = ("number",)
    __table_args__ = (UniqueConstraint("number"),)

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    number: Mapped[int] = mapped_column(BigId)
    lane: Mapped[int] = mapped_column(BigId)


class End(Enum):
    """How a flush ends."""

    COMMITTED = "committed"
    LOST = "the connection was lost before COMMIT"
    COMMITTED_UNSEEN = "the connection was lost after COMMIT"
    LOST_UNSEEN = "the connection was lost at COMMIT, which did not happen"
    CONTENTION = "another transaction was in the way"
    LOCKED = "a row is locked"


class SimulatedDatabase:
    """Rows by number, and the high-water rows of the writers.

    Attributes:
        down: Whether nobody can connect.
        poison: Numbers that it refuses.
        rows: Lanes by number, in the order of their commits.
        excused: Lanes in which a locked row was passed by others.
        refused: Numbers that it has refused.
        violations: What must not happen, for the world to raise: the core would take an error here for one of a row.
    """

    def __init__(self) -> None:
        self.down = False
        self.poison: set[int] = set()
        self.rows: dict[int, int] = {}
        self.excused: set[int] = set()
        self.refused: set[int] = set()
        self.sequences: dict[object, int] = {}
        self.violations: list[str] = []
        self._committed: set[Row] = set()

    def commit(self, writer: object, sequence: int, batches: Sequence[Batch]) -> None:
        """Store rows; one that is there already stays as it is."""
        if self.sequences.get(writer, 0) >= sequence:
            self.violations.append("the high-water row went back")
        self.sequences[writer] = sequence
        for row in in_order(batches):
            # A redelivery is another row of the same key; the very same one must never be written again.
            if row in self._committed:
                self.violations.append(f"{row.values['number']} was committed twice by one write")
            self._committed.add(row)
            self.rows.setdefault(row.values["number"], row.values["lane"])


class SimulatedWriter:
    """One reserved connection of one process.

    Attributes:
        at_work: The flush that waits for its end, or ``None``.
    """

    def __init__(self, database: SimulatedDatabase) -> None:
        self.uncertain = False
        self.failing: Batch | None = None
        self.at_work: asyncio.Future[End] | None = None
        self._database = database
        self._open = False

    async def open(self) -> None:
        if self._database.down:
            raise DatabaseUnavailable("down")
        self._open = True

    async def flush(self, sequence: int, batches: Sequence[Batch], *, patient: bool = True) -> None:
        assert self._open, "nobody has connected"
        self.uncertain, self.failing = False, None
        self.at_work = asyncio.get_running_loop().create_future()
        try:
            end = await self.at_work
        finally:
            self.at_work = None
        for batch in batches:
            self._refuse(batch)
        if end is End.CONTENTION:
            raise Contention("deadlock")
        if end is End.LOCKED:
            self.failing = batches[0]
            self._database.excused |= {row.values["lane"] for row in in_order(batches)}
            raise RowLocked("locked")
        if end in (End.COMMITTED, End.COMMITTED_UNSEEN):
            self._database.commit(self, sequence, batches)
        if end is not End.COMMITTED:
            self._open = False
            self.uncertain = end is not End.LOST
            raise DatabaseUnavailable("lost")
        for row in in_order(batches):
            row.generated = (row.values["number"],)

    def _refuse(self, batch: Batch) -> None:
        guilty = {row.values["number"] for row in batch.rows} & self._database.poison
        if guilty:
            if len(batch.rows) == 1:
                self._database.refused |= guilty
            self.failing = batch
            raise InvalidValue("poison")

    async def rollback(self) -> None:
        assert self._open, "nothing to roll back"

    async def reached(self, sequence: int) -> bool:
        return self._database.sequences.get(self, 0) >= sequence

    async def close(self) -> None:
        self._open = False


def in_order(batches: Sequence[Batch]) -> list[Row]:
    """The rows of a flush, in the order of their numbers."""
    return sorted((row for batch in batches for row in batch.rows), key=lambda row: row.values["number"])
