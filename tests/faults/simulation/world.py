"""The world: what happens to the service, and what becomes of it."""

import logging
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import structlog

from tests.faults.simulation.broker import Broker
from tests.faults.simulation.database import Database
from tests.faults.simulation.handlers import owed_by
from tests.faults.simulation.ledger import Ledger
from tests.faults.simulation.loop import Events, VirtualLoop, virtual_time
from tests.faults.simulation.process import Process
from tests.faults.simulation.steps import FLOODED, Step, schedule

__all__ = ["World", "run"]

# Seconds after which everything must have come right, once nothing goes wrong any more.
_HEALING = 600.0


class World:
    """Broker, database and the service, which may die and begin again.

    Args:
        seed: Of every chance.
    """

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(f"world {seed}")
        self.events = Events()
        self.ledger = Ledger()
        self.broker = Broker(self.events, self.chance, self.ledger)
        self.database = Database(self.events, self.chance, self.ledger)
        self.errors: list[str] = []
        self._loop: VirtualLoop | None = None
        self._process: Process | None = None
        self._over = False
        self._windows = 2

    # --- what happens ---

    def publish(self, topic: str, do: str) -> None:
        # One QoS for one topic: what is acknowledged in different orders is redelivered in different orders.
        qos = {"lane/b": 2, "retry/a": 2, "wide/b/c": 2, "part/y/x": 2, "free/a": 0, FLOODED: 0}.get(topic, 1)
        self.broker.publish(self.ledger.publish(topic, do, qos, owed_by(topic, do)))

    def flood(self, messages: int) -> None:
        for _ in range(messages):
            self.publish(FLOODED, "write")

    def cut(self) -> None:
        self.broker.cut()

    def silence(self) -> None:
        self.broker.silence()

    def lose_session(self) -> None:
        # What is in work is sent once more as if it were new: as much as the broker sends at once.
        self._windows += self.broker.greed
        self.broker.lose_session()

    def renumber(self) -> None:
        self._windows += self.broker.greed
        self.broker.renumber()

    def restart_broker(self, seconds: float) -> None:
        self.broker.up = False
        self.broker.cut()
        self.events.later(seconds, self._broker_is_up)

    def _broker_is_up(self) -> None:
        self.broker.up = True

    def outage(self, seconds: float) -> None:
        self.database.up = False
        self.events.later(seconds, self._database_is_up)

    def _database_is_up(self) -> None:
        self.database.up = True

    def missing_table(self, seconds: float) -> None:
        self.database.migrated = False
        self.events.later(seconds, self._database_is_migrated)

    def _database_is_migrated(self) -> None:
        self.database.migrated = True

    def lock(self, topic: str, seconds: float) -> None:
        keys = {(route, topic) for route in owed_by(topic, "upsert")}
        self.database.locked |= keys
        self.ledger.locked |= keys
        self.events.later(seconds, lambda: self.database.locked.difference_update(keys))

    def greed(self, factor: int) -> None:
        self.broker.greed = factor
        self._windows += factor - 1

    def merge(self, merges: bool) -> None:
        self.broker.merges = merges

    def crash(self) -> None:
        """The process is gone from one moment to the next; another one begins."""
        if self._loop is not None:
            self._loop.stop()

    def restart(self, patience: float) -> None:
        """The process is told to end, and another one begins."""
        if self._process is not None and self._loop is not None:
            self._stopping = self._loop.create_task(self._process.stop(patience, self.crash))
            self._process = None

    # --- the run ---

    def live(self, steps: Sequence[Step]) -> None:
        """Let everything happen, and judge it."""
        for step in steps:
            self.events.later(step.at, lambda step=step: getattr(self, step.what)(*step.arguments))  # type: ignore[misc]
        last = max((step.at for step in steps), default=0.0)
        self.events.later(last + self.chance.random() * 20, self._heal)
        while not self._over and not self.ledger.violations:
            self._live_once()
        if not self.ledger.violations:
            self.ledger.close(self._final_states())

    def _live_once(self) -> None:
        self._loop = loop = VirtualLoop(self.events, self.broker.connect, self._watch)
        loop.set_exception_handler(lambda _loop, context: self.ledger.accuse(f"nobody caught: {context}"))
        process: Process | None = None

        async def begin() -> None:
            nonlocal process
            process = self._process = Process(self.database, self.chance)

        try:
            loop.run_until_complete(begin())
            loop.run_forever()
        except _Broken:
            pass
        except Exception as error:
            self.ledger.accuse(f"the process ended by {error!r}")
        self._process = None
        if process is not None:
            process.die()
            self.broker.cut()
            self.database.decide_late()
            loop.kill()

    def _watch(self) -> None:
        """Between two rounds of the event loop."""
        if self._process is not None:
            self._process.check(self._windows)
            if self._process.running.done():
                self.ledger.accuse(f"the subscriber has ended: {self._process.running}")
        if self.ledger.violations:
            raise _Broken

    def _heal(self) -> None:
        """Nothing goes wrong any more."""
        self.broker.up = self.database.up = self.database.migrated = True
        self.database.locked.clear()
        self.database.weather.clear()
        self._deadline = self.events.now + _HEALING
        self._look()

    def _look(self) -> None:
        """Wait until everything has come right."""
        process = self._process
        if process is not None and self.broker.idle and process.consumer.statistics().in_flight == 0:
            self._over = True
            if len(process.window):
                self.ledger.accuse(f"the window is not empty: {process.window!r}")
            self.restart(30.0)
        elif self.events.now > self._deadline:
            waiting = "; ".join(map(str, self.broker.waiting))
            self.ledger.accuse(f"it does not come right: {self.broker} {process and process.consumer}: {waiting}")
        else:
            self.events.later(0.5, self._look)

    def _final_states(self) -> dict[tuple[str, str], int]:
        """The last message of each lane; a message that was tried again may have come after those behind it."""
        last: dict[tuple[str, str], int] = {}
        upserts = [fact for fact in self.ledger.facts.values() if b'"upsert"' in fact.payload]
        again = {(route, fact.topic) for fact in upserts for route in fact.again}
        for fact in upserts:
            for lane in [(route, fact.topic) for route in fact.owed if fact.rows[route, 1]]:
                if lane not in again and lane[0] not in ("free", "batch"):
                    last[lane] = fact.n
        return last


class _Broken(Exception):
    """A rule was broken: there is no going on."""


@contextmanager
def _silent_and_seeded(seed: int) -> Iterator[None]:
    """No logs, and the chance of the code under test is that of the seed."""
    configuration, state = structlog.get_config(), random.getstate()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    random.seed(seed)
    try:
        yield
    finally:
        structlog.configure(**configuration)
        random.setstate(state)


def run(seed: int, steps: Sequence[Step] | None = None) -> World:
    """Let a schedule happen; ``world.ledger.violations`` tells what went wrong.

    Args:
        seed: Of every chance, and of the schedule.
        steps: Another schedule than that of the seed.
    """
    world = World(seed)
    with virtual_time(world.events), _silent_and_seeded(seed):
        world.live(schedule(seed) if steps is None else steps)
    return world
