"""Schedules: what happens to the service, made up from a seed."""

import random
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from tests.faults.simulation.handlers import DOINGS

__all__ = ["FLOODED", "TROUBLES", "Step", "schedule"]

#: Where many messages of QoS 0 come at once, to a lane that an outage holds up.
FLOODED = "strict/flooded"

_TOPICS = (
    *("lane/a", "lane/a", "lane/b", "strict/a", "free/a", "batch/a", "batch/b", "retry/a"),
    *("wide/a", "wide/b/c", "part/a/x", "part/y/a", "part/y/x", "old/a"),
)


#: What can go wrong, and how the arguments of it are made up.
TROUBLES: Mapping[str, Callable[[random.Random], tuple[Any, ...]]] = {
    "cut": lambda chance: (),
    "silence": lambda chance: (),
    "lose_session": lambda chance: (),
    "renumber": lambda chance: (),
    "restart_broker": lambda chance: (chance.random() * 5,),
    "outage": lambda chance: (chance.random() * 10,),
    "missing_table": lambda chance: (chance.random() * 10,),
    "lock": lambda chance: (chance.choice(_TOPICS), chance.random() * 3),
    "crash": lambda chance: (),
    "restart": lambda chance: (chance.choice((0.0, 0.01, 0.5, 25.0)),),
    "greed": lambda chance: (chance.choice((1, 3)),),
    "merge": lambda chance: (chance.random() < 0.5,),
}


class Step(NamedTuple):
    """Something that happens.

    Attributes:
        at: When, in seconds since the begin.
        what: A method of ``World``.
        arguments: Its arguments.
    """

    at: float
    what: str
    arguments: tuple[Any, ...] = ()

    def __str__(self) -> str:
        return f"{self.at:8.3f} {self.what} {' '.join(map(str, self.arguments))}"


def schedule(seed: int) -> list[Step]:
    """Make up what happens, in the order of time."""
    chance = random.Random(seed)
    length = chance.choice((0.5, 5.0, 40.0))
    tame = chance.random() < 0.5
    common = ("write", "write", "keyless", "upsert", "twice", "unit", "read", "swallow", "slow")
    steps = [
        Step(
            chance.random() * length,
            "publish",
            (chance.choice(_TOPICS), chance.choice(common if tame or chance.random() < 0.6 else tuple(DOINGS))),
        )
        for _ in range(chance.randint(1, 30))
    ]
    for _ in range(chance.choice((0, 1, 2, 4, 8))):
        what = chance.choice(tuple(TROUBLES))
        steps.append(Step(chance.random() * length, what, TROUBLES[what](chance)))
    # A chance of its own: the rest of the schedule is that of the seed, with a flood or without.
    floods = random.Random(f"floods {seed}")
    if floods.random() < 0.05:
        steps.append(Step(floods.random() * length, "flood", (100,)))
    return sorted(steps)
