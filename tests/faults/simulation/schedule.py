"""Runs of many schedules, and what they came to."""

from collections import Counter

from tests.faults.simulation.shrinking import shrink
from tests.faults.simulation.steps import schedule
from tests.faults.simulation.world import run

__all__ = ["Simulation"]


class Simulation:
    """Runs schedules, one seed after the other.

    Attributes:
        steps: How often what was done, by its name.
        schedules: How many were run.
        redelivered: Messages that the simulated brokers sent again.
    """

    def __init__(self) -> None:
        self.steps: Counter[str] = Counter()
        self.schedules = 0
        self.redelivered = 0

    def run(self, seed: int) -> None:
        """Run the schedule of a seed.

        Raises:
            AssertionError: A rule was broken; it tells by which steps, as few as will do.
        """
        steps = schedule(seed)
        world = run(seed, steps)
        if world.ledger.violations:
            steps = shrink(seed, steps)
            lines = (f"seed {seed} breaks a rule; shrunk to:", *steps, *run(seed, steps).ledger.violations)
            raise AssertionError("\n  ".join(map(str, lines)))
        self.schedules += 1
        self.steps.update(step.what for step in steps)
        self.redelivered += world.broker.redelivered
