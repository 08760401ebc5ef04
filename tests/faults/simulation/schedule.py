"""One schedule: steps drawn from a seed, one after the other, then a happy end."""

import random
from collections import Counter
from collections.abc import Callable

from tests.faults.simulation.database import End
from tests.faults.simulation.loop import VirtualLoop
from tests.faults.simulation.world import KINDS, LANES, World

__all__ = ["Simulation"]

_STEPS = {
    "publish": 30,
    "deliver": 40,
    "commit": 22,
    "fail": 6,
    "advance": 8,
    "disconnect": 4,
    "forget": 1,
    "deafen": 1,
    "crash": 3,
    "broker goes or comes": 1,
    "database goes or comes": 2,
}
_FAILURES = [end for end in End if end is not End.COMMITTED]


class Simulation:
    """Runs schedules on one loop.

    Attributes:
        steps: How often each kind of step was taken.
        ends: How often each end of a flush came.
        schedules: How many were run.
        redelivered: Messages that the simulated brokers sent again.
    """

    def __init__(self) -> None:
        self.steps: Counter[str] = Counter()
        self.ends: Counter[End] = Counter()
        self.redelivered = 0
        self.schedules = 0
        self._loop = VirtualLoop()

    def run(self, seed: int, length: int = 60) -> None:
        """Run the schedule of a seed; raises AssertionError when a promise is broken."""
        chance = random.Random(seed)  # noqa: S311 - the schedule
        world = World(self._loop, seed)
        steps = chance.choices(list(_STEPS), list(_STEPS.values()), k=length)
        try:
            for step in steps:
                self.steps[step] += 1
                _ACTIONS[step](world, chance)
            world.finish()
        except AssertionError as error:
            error.add_note(f"seed {seed}")
            raise
        finally:
            world.close()
        self.schedules += 1
        self.redelivered += world.broker.redelivered
        self.ends.update(world.ends)

    def close(self) -> None:
        """Close the loop."""
        self._loop.close()


def _publish(world: World, chance: random.Random) -> None:
    kind = chance.choices(KINDS, (20, 1, 1, 3))[0]
    world.publish(chance.randrange(LANES), chance.choice((1, 1, 2)), kind)


def _turn_broker(world: World, chance: random.Random) -> None:
    world.broker_down = not world.broker_down
    world.disconnect(kept=True)


def _turn_database(world: World, chance: random.Random) -> None:
    world.database.down = not world.database.down


_ACTIONS: dict[str, Callable[[World, random.Random], object]] = {
    "publish": _publish,
    "deliver": lambda world, chance: world.deliver(),
    "commit": lambda world, chance: world.end_flush(End.COMMITTED),
    "fail": lambda world, chance: world.end_flush(chance.choice(_FAILURES)),
    "advance": lambda world, chance: world.advance(),
    "disconnect": lambda world, chance: world.disconnect(kept=True),
    "forget": lambda world, chance: world.disconnect(kept=False),
    "deafen": lambda world, chance: world.deafen(),
    "crash": lambda world, chance: world.crash(chance.choice((None, End.COMMITTED))),
    "broker goes or comes": _turn_broker,
    "database goes or comes": _turn_database,
}
