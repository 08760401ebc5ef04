"""Shrinking: fewer and fewer steps, as long as a rule is still broken."""

from collections.abc import Sequence

from tests.faults.simulation.steps import Step
from tests.faults.simulation.world import run

__all__ = ["shrink"]


def shrink(seed: int, steps: Sequence[Step]) -> list[Step]:
    """Leave out what is not needed for a rule to be broken.

    Args:
        seed: Of the chances.
        steps: A schedule with which a rule is broken.

    Returns:
        A schedule of which no step can be left out.
    """
    kept = list(steps)
    size = len(kept)
    while size:
        for start in range(0, len(kept), size):
            fewer = kept[:start] + kept[start + size :]
            if run(seed, fewer).ledger.violations:
                kept = fewer
                break
        else:
            size //= 2
    return kept
