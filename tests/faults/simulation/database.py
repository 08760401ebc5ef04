"""A database that fails in every way it can, and a writer to it."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from core.database.flush import Batch
from core.database.troubles import tell
from core.database.writers.base import Contention, RowLocked
from core.exceptions import DatabaseError, DatabaseUnavailable, InvalidValue, SchemaError
from tests.faults.simulation.ledger import Ledger
from tests.faults.simulation.loop import Events
from tests.faults.simulation.models import Keyless, Reading, State

__all__ = ["POISON", "Database", "Weather", "Writer"]

#: The part of a reading that no database takes.
POISON = -1


class Weather:
    """How likely what is, from 0 to 1.

    Attributes:
        lost: A connection is lost before COMMIT.
        ambiguous: It is lost after COMMIT was sent.
        frozen: The server does not answer a COMMIT any more, which may come true later.
        contention: Another transaction is in the way.
        odd: The database says something that nobody understands.
    """

    def __init__(self, chance: random.Random) -> None:
        def some() -> float:
            return chance.choice((0.0, 0.0, 0.02, 0.1, 0.3))

        self.lost, self.ambiguous, self.contention, self.odd = some(), some(), some(), some()
        self.frozen = some() / 5

    def clear(self) -> None:
        """Nothing goes wrong any more."""
        self.lost = self.ambiguous = self.contention = self.odd = self.frozen = 0.0


class Database:
    """What is committed, over the lives of all processes.

    Args:
        events: The world's.
        chance: Decides what goes wrong.
        ledger: Told of every row.

    Attributes:
        up: Whether it serves.
        migrated: Whether its tables are there.
        locked: Natural keys of states that somebody else has locked.
        running: Whether a process has begun and not stopped in order.
    """

    def __init__(self, events: Events, chance: random.Random, ledger: Ledger) -> None:
        self.events = events
        self.chance = chance
        self.ledger = ledger
        self.weather = Weather(chance)
        self.up = True
        self.migrated = True
        self.locked: set[tuple[str, str]] = set()
        self.readings: set[tuple[str, int, int]] = set()
        self.fingerprints: set[str] = set()
        self.running = False
        self.begun: Counter[str] = Counter()
        self.filters: dict[str, int] = {"old/#": 1}
        self.sequences: dict[Writer, int] = {}
        #: A COMMIT that the server is still at work with.
        self.late: Callable[[], None] | None = None
        self._ids = 0
        # More of them in a row would, rightly, make dead letters.
        self._oddities = 3

    def __repr__(self) -> str:
        return f"<Database up={self.up} readings={len(self.readings)} locked={self.locked}>"

    def likely(self, probability: float) -> bool:
        """Whether something happens."""
        return self.chance.random() < probability

    async def round_trip(self) -> None:
        """Wait for an answer.

        Raises:
            DatabaseUnavailable: There is none.
        """
        await asyncio.sleep(self.chance.random() * 0.01)
        if not self.up:
            raise DatabaseUnavailable("the database is down")

    async def read(self) -> None:
        """Read over a pooled connection, as a handler does; raises as ``round_trip``."""
        try:
            await self.round_trip()
        except DatabaseUnavailable as error:
            tell(error)
            raise

    def oddity(self) -> bool:
        """Whether an error comes up that nobody has classified."""
        if self._oddities and self.likely(self.weather.odd):
            self._oddities -= 1
            return True
        return False

    def decide_late(self) -> None:
        """Nobody waits any more for a COMMIT that the server is at work with: it comes true, or not."""
        if self.late is not None and self.chance.random() < 0.5:
            self.late()
        self.late = None

    def commit(self, batches: Sequence[Batch]) -> None:
        """Make a transaction come true."""
        for batch in batches:
            for row in batch.rows:
                self._write(batch, row)

    def _write(self, batch: Batch, row: Any) -> None:
        values: Mapping[str, Any] = row.values
        self._ids += 1
        row.generated, row.duplicate = (self._ids,) * len(batch.shape.generated), False
        model = batch.shape.model
        if model is Reading:
            key = (values["route"], values["n"], values["part"])
            row.duplicate = key in self.readings
            if not row.duplicate:
                self.readings.add(key)
                self.ledger.row(*key)
        elif model is State:
            self.ledger.state[values["route"], values["topic"]] = values["n"]
        elif model is Keyless:
            self.ledger.keyless(values["route"], values["n"])
        else:
            self.fingerprints.add(values["fingerprint"])
            self.ledger.letter(values["payload"], values["route"])

    # --- the subscriber's memory ---

    async def remembered_filters(self, _client_id: str) -> dict[str, int]:
        """QoS by topic filter."""
        await self.round_trip()
        return dict(self.filters)

    async def remember_filters(self, _client_id: str, filters: Mapping[str, int]) -> None:
        """Note them."""
        await self.round_trip()
        self.filters = dict(filters)

    # --- what is suspected after a crash ---

    async def attempts(self, fingerprints: Iterable[str]) -> Mapping[str, int]:
        """How often each message was begun since the first crash."""
        await self.round_trip()
        return {name: self.begun[name] for name in fingerprints}

    async def count(self, fingerprints: Iterable[str]) -> None:
        """Note that messages are about to be handled once more."""
        await self.round_trip()
        self.begun.update(fingerprints)

    async def forget(self, fingerprints: Iterable[str]) -> None:
        """Messages were handled."""
        await self.round_trip()
        for name in fingerprints:
            del self.begun[name]


class Writer:
    """A writer of one process; after its death it does nothing.

    Args:
        database: Where it writes.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self.uncertain = False
        self.failing: Batch | None = None
        self.dead = False
        self._open = False

    async def _alive(self) -> None:
        if self.dead:
            await asyncio.Event().wait()

    async def open(self) -> None:
        """Connect; an older connection may be ended, or be at work still."""
        await self._alive()
        await self._database.round_trip()
        await self._alive()
        if self._database.likely(0.5):
            self._database.decide_late()
        self._open = True

    async def flush(self, sequence: int, batches: Sequence[Batch], *, patient: bool = True) -> None:
        """Write batches, or not."""
        database, weather = self._database, self._database.weather
        assert self._open, "open() comes first"
        self.uncertain, self.failing = False, None
        await self._alive()
        await database.round_trip()
        if database.likely(weather.lost):
            raise DatabaseUnavailable("the connection was lost")
        if database.likely(weather.contention):
            raise Contention("a deadlock")
        await self._execute(batches, patient)
        self.failing = None
        await self._alive()
        await self._commit(sequence, batches)

    async def _execute(self, batches: Sequence[Batch], patient: bool) -> None:
        database = self._database
        for batch in batches:
            self.failing = batch
            if not database.migrated:
                raise SchemaError("no such table")
            for row in batch.rows:
                if row.values.get("part") == POISON:
                    raise InvalidValue("a constraint is violated")
                if (row.values["route"], row.values.get("topic")) in database.locked and "n" in row.values:
                    if patient:
                        await asyncio.sleep(0.2)
                    raise RowLocked("a row is locked")
            if database.oddity():
                raise DatabaseError("nobody knows what this means")

    async def _commit(self, sequence: int, batches: Sequence[Batch]) -> None:
        database = self._database

        def come_true() -> None:
            database.sequences[self] = sequence
            database.commit(batches)

        self.uncertain = True
        if database.likely(database.weather.frozen):
            database.late = come_true
            # It is either found out after a new connection is made, or comes true by itself meanwhile.
            database.events.later(database.chance.random() * 20, lambda: self._by_itself(come_true))
            await asyncio.Event().wait()
        if database.likely(database.weather.ambiguous):
            if database.likely(0.5):
                come_true()
            raise DatabaseUnavailable("the connection was lost during COMMIT")
        come_true()
        await asyncio.sleep(database.chance.random() * 0.005)
        await self._alive()
        self.uncertain = False

    def _by_itself(self, come_true: Callable[[], None]) -> None:
        if self._database.late is come_true:
            self._database.late = None
            come_true()

    async def rollback(self) -> None:
        """Give up a transaction."""
        await self._alive()
        if not self._database.up:
            raise DatabaseUnavailable("the database is down")

    async def reached(self, sequence: int) -> bool:
        """Whether a flush was committed."""
        await self._alive()
        await self._database.round_trip()
        self._database.decide_late()
        return self._database.sequences.get(self, 0) >= sequence

    async def close(self) -> None:
        """Give the connection back."""
        self._open = False
